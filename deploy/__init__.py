"""The stack in containers, and the check that runs it."""

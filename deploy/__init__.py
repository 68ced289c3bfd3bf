"""The stack in containers, the scripts of its services, and the check that runs it (`deploy.check`)."""

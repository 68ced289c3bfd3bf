"""A history: what is recorded of one card, merchant or device, and what is visible of it."""

"""Histories: the records of one card, merchant or device, how they are kept, and what is visible of them."""

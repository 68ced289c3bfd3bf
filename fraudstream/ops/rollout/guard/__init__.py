"""The guard: watches canaries and promotions by what the topics say, and acts by commands."""

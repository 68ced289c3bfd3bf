"""Statistics of a canary: first bad events counted per card, tests that may be looked at all the time, the ladder."""

"""Model artifacts, their scores and decisions, and who is live."""

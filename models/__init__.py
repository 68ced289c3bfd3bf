"""Model artifacts, their scores and decisions, and which model is live."""

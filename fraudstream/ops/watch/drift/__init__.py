"""Watching a live model: drift of its features, scores and decisions, and its precision, estimated and matured."""

"""Decisions joined with the labels that came for them: what reports about outcomes are computed of."""

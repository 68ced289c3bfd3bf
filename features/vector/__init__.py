"""Computes the feature vectors of a batch from its histories."""

"""Histories of cards, merchants and devices, and the features that are computed from them."""

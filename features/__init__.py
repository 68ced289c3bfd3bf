"""Histories of cards and merchants, and the features that are functions of them."""

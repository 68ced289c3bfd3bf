"""Modules of features: drafted from a file, checked, and what their rows cost."""

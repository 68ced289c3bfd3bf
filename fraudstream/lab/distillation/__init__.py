"""Distillation: a small model that learns another model's scores, and what it costs and saves."""

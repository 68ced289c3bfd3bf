"""A simulated card population with fraud, and the truth about it, made from a `Plan` and a numpy generator."""

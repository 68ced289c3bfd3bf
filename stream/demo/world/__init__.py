"""An invented card population with fraud in it, for the demo: what it did, and the truth about it.

Everything follows from a `Plan` and a numpy generator; nothing here knows the time, a topic or a model.
"""

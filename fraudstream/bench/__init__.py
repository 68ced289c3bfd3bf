"""Measurements: the stages of a batch, a worker from outside, histories, repair, tracing and the shadow."""

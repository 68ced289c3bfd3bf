"""Rebuild lost histories from Kafka, automatically or on an operator's request, and decide while Redis is away."""

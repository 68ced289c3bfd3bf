"""Metrics and traces: the only package that imports OpenTelemetry."""

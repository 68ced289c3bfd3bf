"""What can be seen of a worker from outside: traces and metrics; the only place that knows OpenTelemetry."""

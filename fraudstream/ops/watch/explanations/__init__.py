"""Reasons for alerts: a process that reads valid scores and writes `explanation/1` beside the stream."""

"""The documented place of the rule of valid scores before it had a distribution of its own, `fraudstream-client`."""

from fraudstream_client.validity import Standing, ValidScores, log_and_offset, place_of, trace_headers, trace_of

__all__ = ["Standing", "ValidScores", "log_and_offset", "place_of", "trace_headers", "trace_of"]

"""Decisions made over again, in batch, by the very functions of the stream: on a file, or on a range of the topics."""

"""A transactions file (parquet, CSV), read as the stream would read the same values."""

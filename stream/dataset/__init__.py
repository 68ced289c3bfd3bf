"""Transactions files (parquet, CSV): checked and read by the same rules as the stream's records, or sent as such."""

"""Transactions files (parquet, CSV): read by the same rules as the stream's records, sent, or filled into histories."""

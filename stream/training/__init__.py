"""From a file of past transactions to an artifact in the repository, over the very functions that the stream runs."""

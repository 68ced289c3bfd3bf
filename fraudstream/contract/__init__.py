"""What others may rely on, as data: each topic with its records, keys, headers and rights, and the documents of it."""

"""How cost grows: with trees, features, records of a history, partitions, cards and workers; and memory with time."""

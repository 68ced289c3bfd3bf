"""From the histories of a batch to its feature vectors."""

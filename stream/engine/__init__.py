"""Record batches in from Kafka, and out to it: what Faust and its client do for a worker."""

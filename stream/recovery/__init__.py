"""Lost histories are put together again from Kafka: a worker's partitions, or at an operator's word."""

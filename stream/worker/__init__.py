"""The worker: one process of a consumer group, from its start to its drain."""

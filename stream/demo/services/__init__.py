"""Services that come as wheels, for the demo: a Kafka-compatible broker and a Redis. No worker depends on them."""

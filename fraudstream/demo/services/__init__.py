"""Services from wheels, for the demo: a Kafka-compatible broker and a Redis. A worker does not depend on them."""

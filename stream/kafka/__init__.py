"""Kafka as this service uses it: clients, topics, consuming and publishing in batches, and decision offsets."""

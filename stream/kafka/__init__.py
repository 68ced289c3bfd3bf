"""Kafka as this service uses it: clients, topics, batches in, acknowledged batches out, and where decisions stand."""

"""Kafka as this service uses it: clients, topics, and what brokers say of them. It knows no score."""

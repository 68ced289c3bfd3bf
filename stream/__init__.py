"""The worker: transactions in from Kafka, one decision each out; and the tools around it."""

"""Incidents: what went wrong, found in the topics, told on a topic of its own and by a webhook."""

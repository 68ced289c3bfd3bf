"""Histories on a Redis server or Redis Cluster: how they are stored, and whether they are complete."""

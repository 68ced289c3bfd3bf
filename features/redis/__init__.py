"""Histories on a Redis server or Cluster: what is kept there, how, and whether all of it is there."""

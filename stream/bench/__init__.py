"""What it costs: microseconds by stage in one process, and throughput and latency of a worker from outside.

Figures of a shared machine are worth little alone; every command measures its parts in one run.
"""

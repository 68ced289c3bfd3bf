"""`fraudstream bench …`: measure on the Kafka and Redis of the settings, on topics and keys of its own."""

import click

from stream.cli.lazy import CommandSource, LazyGroup

COMMANDS = {
    "features": CommandSource(
        "stream.cli.bench_histories:features",
        "Histories against sorted sets and counters: CPU of Redis and of Python per event, and bytes; some minutes.",
    ),
    "memory": CommandSource(
        "stream.cli.bench_histories:memory",
        "Bytes of one history by its records a month, exact and paned, and what a payment costs that reads it.",
    ),
    "repair": CommandSource(
        "stream.cli.bench_histories:repair",
        "How fast histories that Redis lost are put together again, by one worker and by two, and what a month takes.",
    ),
    "servers": CommandSource(
        "stream.cli.bench_histories:servers",
        "Microseconds per event of appending and reading histories, on the settings' Redis and on others, in turns.",
    ),
    "shadow": CommandSource(
        "stream.cli.bench_decisions:shadow",
        "No challenger, one, one 100 ms slower, and one that raises: what decisions notice, alternating in one run.",
    ),
    "stages": CommandSource(
        "stream.cli.bench_decisions:stages",
        "Microseconds per event of each stage, at batches of 1, 32 and 256; the extra `train` has to be installed.",
    ),
    "tracing": CommandSource(
        "stream.cli.bench_decisions:tracing",
        "Traces off, of 1 % and of all payments: throughput and latency, alternating in one run.",
    ),
    "worker": CommandSource(
        "stream.cli.bench_decisions:worker",
        "Throughput from backlog, latency at fixed rates, memory, and the gaps of a start and of a SIGKILL.",
    ),
}


@click.group(cls=LazyGroup, sources=COMMANDS)
def bench() -> None:
    """Measure what it costs here."""

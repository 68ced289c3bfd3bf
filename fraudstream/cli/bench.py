"""`fraudstream bench`: measurements on the Kafka and Redis of the settings, with topics and keys of their own."""

import click

from fraudstream.cli.lazy import CommandSource, LazyGroup

COMMANDS = {
    "batches": CommandSource(
        "fraudstream.cli.bench_histories:batches",
        "Measure CPU and memory of batches of payments at one merchant with a long history, and of ordinary ones.",
    ),
    "canary": CommandSource(
        "fraudstream.cli.bench_decisions:canary",
        "Measure CPU of a decision at a canary of 1, 10 and 50 % against none, alternating, and a model's memory.",
    ),
    "checks": CommandSource(
        "fraudstream.cli.bench_checks:checks",
        "Measure nanoseconds a byte of each check of input with its worst input; exits with 1 if one is not linear.",
    ),
    "codecs": CommandSource(
        "fraudstream.cli.bench_sizes:codecs",
        "Measure bytes and CPU of a score by codec, at batches of 1, 8, 64 and 512; needs neither Kafka nor Redis.",
    ),
    "compression": CommandSource(
        "fraudstream.cli.bench_sizes:compression",
        "Measure bytes of a score on disk, CPU and latency of workers that compress with each codec, alternating.",
    ),
    "experiments": CommandSource(
        "fraudstream.cli.bench_experiments:experiments",
        "Simulate experiments with known truth: false winners, and how long a difference takes; takes minutes.",
    ),
    "explanations": CommandSource(
        "fraudstream.cli.bench_explanations:explanations",
        "Measure reasons: microseconds of a row by the depth of trees, and milliseconds from score to explanation.",
    ),
    "features": CommandSource(
        "fraudstream.cli.bench_histories:features",
        "Compare histories with sorted sets and counters: CPU of Redis and Python per event, and bytes; takes minutes.",
    ),
    "guards": CommandSource(
        "fraudstream.cli.bench_guards:guards",
        "Simulate canaries with known truth: when their guards notice, and how often without cause; takes minutes.",
    ),
    "handbook": CommandSource(
        "fraudstream.cli.bench_handbook:handbook",
        "Train and test by the protocol of a public handbook, on every split of FILE, beside its published figures.",
    ),
    "load": CommandSource(
        "fraudstream.cli.bench_load:load",
        "Measure latency, what waits and recovery in an open loop, at one rate after another, past the limit.",
    ),
    "memory": CommandSource(
        "fraudstream.cli.bench_histories:memory",
        "Measure the bytes of a history by its records a month, exact and paned, and the cost of reading it.",
    ),
    "pauses": CommandSource(
        "fraudstream.cli.bench_load:pauses",
        "Measure how long decisions pause while a worker joins, and while one leaves after SIGTERM, in turns.",
    ),
    "repair": CommandSource(
        "fraudstream.cli.bench_histories:repair",
        "Measure how fast one worker and two rebuild histories that Redis lost, and estimate the time for a month.",
    ),
    "scaling": CommandSource(
        "fraudstream.cli.bench_load:scaling",
        "Start and drain workers as an autoscaler would, by the lag, through a day of load; restart, upgrade them.",
    ),
    "servers": CommandSource(
        "fraudstream.cli.bench_histories:servers",
        "Measure microseconds per event of appending and reading histories, on this Redis and others, in turns.",
    ),
    "shadow": CommandSource(
        "fraudstream.cli.bench_decisions:shadow",
        "Measure the effect on decisions of no challenger, one, one 100 ms slower, and one that raises, alternating.",
    ),
    "sizes": CommandSource(
        "fraudstream.cli.bench_sizes:sizes",
        "Measure bytes of a record on disk for each topic, of histories in Redis, and of a worker's memory.",
    ),
    "stages": CommandSource(
        "fraudstream.cli.bench_decisions:stages",
        "Measure microseconds per event of each stage, at batches of 1, 32 and 256; needs the extra `train`.",
    ),
    "tracing": CommandSource(
        "fraudstream.cli.bench_decisions:tracing",
        "Measure throughput and latency with traces off, of 1 % and of all payments, alternating in one run.",
    ),
    "verdicts": CommandSource(
        "fraudstream.cli.bench_verdicts:verdicts",
        "Simulate verdicts with known truth: what is said of challengers, and after how many days; takes minutes.",
    ),
    "watch": CommandSource(
        "fraudstream.cli.bench_watch:watch",
        "Simulate live models with known truth: false alarms of drift a year, and when one is found; takes minutes.",
    ),
    "worker": CommandSource(
        "fraudstream.cli.bench_decisions:worker",
        "Measure throughput from a backlog, latency at fixed rates, memory, and the gaps after a start and a SIGKILL.",
    ),
}


@click.group(cls=LazyGroup, sources=COMMANDS)
def bench() -> None:
    """Measure what the parts cost on this machine."""

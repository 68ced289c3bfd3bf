"""`python -m benchmarks COMMAND`: what parts cost, on the Kafka and Redis of the settings, and worlds with known truth.

`fraudstream bench` measures whole workers, which users do on their machines; these are for whoever changes the code.
"""

import click

from fraudstream.cli.lazy import CommandSource, LazyGroup

COMMANDS = {
    "batches": CommandSource(
        "benchmarks.commands.histories:batches",
        "Measure CPU and memory of batches at one merchant or of one card with a long history, and of ordinary ones.",
    ),
    "canary": CommandSource(
        "benchmarks.commands.decisions:canary",
        "Measure CPU of a decision at a canary of 1, 10 and 50 % against none, alternating, and a model's memory.",
    ),
    "checks": CommandSource(
        "benchmarks.commands.checks:checks",
        "Measure nanoseconds a byte of each check of input with its worst input; exits with 1 if one is not linear.",
    ),
    "codecs": CommandSource(
        "benchmarks.commands.sizes:codecs",
        "Measure bytes and CPU of a score by codec, at batches of 1, 8, 64 and 512; needs neither Kafka nor Redis.",
    ),
    "compression": CommandSource(
        "benchmarks.commands.sizes:compression",
        "Measure bytes of a score on disk, CPU and latency of workers that compress with each codec, alternating.",
    ),
    "events": CommandSource(
        "benchmarks.commands.sizes:events",
        "Measure bytes and CPU of a score as a CloudEvent and as none, in turns; needs neither Kafka nor Redis.",
    ),
    "experiments": CommandSource(
        "benchmarks.commands.experiments:experiments",
        "Simulate experiments with known truth: false winners, and how long a difference takes; takes minutes.",
    ),
    "explanations": CommandSource(
        "benchmarks.commands.explanations:explanations",
        "Measure reasons: microseconds of a row by the depth of trees, and milliseconds from score to explanation.",
    ),
    "guards": CommandSource(
        "benchmarks.commands.guards:guards",
        "Simulate canaries with known truth: when their guards notice, and how often without cause; takes minutes.",
    ),
    "handbook": CommandSource(
        "benchmarks.commands.handbook:handbook",
        "Train and test by the protocol of a public handbook, on every split of FILE, beside its published figures.",
    ),
    "memory": CommandSource(
        "benchmarks.commands.histories:memory",
        "Measure the bytes of a history by its records a month, exact and paned, and the cost of reading it.",
    ),
    "neighbours": CommandSource(
        "benchmarks.commands.decisions:neighbours",
        "Measure how long payments wait while another partition is attacked; exits with 1 if they wait too long.",
    ),
    "pauses": CommandSource(
        "benchmarks.commands.decisions:pauses",
        "Measure how long decisions pause while a worker joins, and while one leaves after SIGTERM, in turns.",
    ),
    "repair": CommandSource(
        "benchmarks.commands.histories:repair",
        "Measure how fast one worker and two rebuild histories that Redis lost, and estimate the time for a month.",
    ),
    "servers": CommandSource(
        "benchmarks.commands.histories:servers",
        "Measure microseconds per event of appending and reading histories, on this Redis and others, in turns.",
    ),
    "shadow": CommandSource(
        "benchmarks.commands.decisions:shadow",
        "Measure the effect on decisions of no challenger, one, one 100 ms slower, and one that raises, alternating.",
    ),
    "sizes": CommandSource(
        "benchmarks.commands.sizes:sizes",
        "Measure bytes of a record on disk for each topic, of histories in Redis, and of a worker's memory.",
    ),
    "stages": CommandSource(
        "benchmarks.commands.decisions:stages",
        "Measure microseconds per event of each stage, at batches of 1, 32 and 256; needs the extra `train`.",
    ),
    "synccfd": CommandSource(
        "benchmarks.commands.synccfd:synccfd",
        "Measure what declared distances are worth on payments that the package synccfd draws; takes minutes.",
    ),
    "tracing": CommandSource(
        "benchmarks.commands.decisions:tracing",
        "Measure throughput and latency with traces off, of 1 % and of all payments, alternating in one run.",
    ),
    "verdicts": CommandSource(
        "benchmarks.commands.verdicts:verdicts",
        "Simulate verdicts with known truth: what is said of challengers, and after how many days; takes minutes.",
    ),
    "watch": CommandSource(
        "benchmarks.commands.watch:watch",
        "Simulate live models with known truth: false alarms of drift a year, and when one is found; takes minutes.",
    ),
}


@click.group(cls=LazyGroup, sources=COMMANDS)
def main() -> None:
    """Measure what the parts cost on this machine, and simulate worlds with known truth."""


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")

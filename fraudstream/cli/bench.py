"""`fraudstream bench`: what workers do on the Kafka and Redis of the settings, with topics and keys of their own."""

import click

from fraudstream.cli.lazy import CommandSource, LazyGroup

COMMANDS = {
    "load": CommandSource(
        "fraudstream.cli.bench_load:load",
        "Measure latency, what waits and recovery in an open loop, at one rate after another, past the limit.",
    ),
    "scaling": CommandSource(
        "fraudstream.cli.bench_load:scaling",
        "Start and drain workers as an autoscaler would, by the lag, through a day of load; restart, upgrade them.",
    ),
    "worker": CommandSource(
        "fraudstream.cli.bench_worker:worker",
        "Measure throughput from a backlog, latency at fixed rates, memory, and the gaps after a start and a SIGKILL.",
    ),
}
MOVED = frozenset(
    {
        "batches",
        "canary",
        "checks",
        "codecs",
        "compression",
        "experiments",
        "explanations",
        "guards",
        "handbook",
        "memory",
        "pauses",
        "repair",
        "servers",
        "shadow",
        "sizes",
        "stages",
        "tracing",
        "verdicts",
        "watch",
    }
)
"""What measures parts, or simulates; it needs a checkout."""


class BenchGroup(LazyGroup):
    """Names the place of a command that has moved."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; exit with 2 and its place if it has moved."""
        if cmd_name in MOVED:
            ctx.fail(f"`bench {cmd_name}` has moved: `python -m benchmarks {cmd_name} …` in a checkout")
        return super().get_command(ctx, cmd_name)


@click.group(cls=BenchGroup, sources=COMMANDS)
def bench() -> None:
    """Measure what workers do on this machine."""

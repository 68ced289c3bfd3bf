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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name.

        Raises:
            click.UsageError: there is none, or it has moved.
        """
        if args[0] in MOVED:
            ctx.fail(f"`bench {args[0]}` has moved: `python -m benchmarks {args[0]} …` in a checkout")
        return super().resolve_command(ctx, args)


@click.group(cls=BenchGroup, sources=COMMANDS)
def bench() -> None:
    """Measure what workers do on this machine."""

"""`python -m benchmarks checks`: the worst cost of each check of input."""

import click
from rich.markup import escape
from rich.table import Table

from fraudstream.cli.output import json_option, say
from fraudstream.console import terminal
from fraudstream.terminal import echo


@click.command()
@click.option(
    "--search", type=click.FloatRange(0), default=0.0, help="Seconds for each check to look for a worse input."
)
@json_option
def checks(search: float, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure nanoseconds a byte of each check of input with its worst input; exits with 1 if one is not linear."""
    from benchmarks.parts.checks import CHECKS, measure  # noqa: PLC0415 - nothing else needs it
    from benchmarks.parts.checks import search as look  # noqa: PLC0415

    lines = [measure(check) for check in CHECKS]
    worse = {check.name: look(check, search) for check in CHECKS} if search else {}
    if as_json:
        facts = [line._asdict() | {"ratio": line.ratio, "linear": line.is_linear} for line in lines]
        say(as_json, {"lines": facts, "found": worse}, "")
    else:
        table = Table("check", "worst input", "ns a byte", "at KiB", "ns a byte", "at KiB", "ratio")
        for line in lines:
            small, large = (f"{size // 1024:,}" for size in (line.small_bytes, line.large_bytes))
            ratio = f"{line.ratio:.1f}" + ("" if line.is_linear else ", not linear")
            table.add_row(
                line.check, escape(line.worst), f"{line.small_ns:.1f}", small, f"{line.large_ns:.1f}", large, ratio
            )
        terminal().print(table)
        for name, (unit, ns) in worse.items():
            echo(f"{name}: {ns:.1f} ns a byte at 16 KiB by {unit}")
    raise SystemExit(not all(line.is_linear for line in lines))

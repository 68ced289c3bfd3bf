"""`python -m benchmarks.worlds`: every promise in every world as one table, and our figures beside strikeone's.

It ends with 1 if a measured figure breaks its promise by more than chance explains, or if strikeone disagrees.
"""

import importlib.util
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.worlds.drift_worlds import DRIFT_WORLDS
from benchmarks.worlds.foreign import Agreement, compare_with_strikeone
from benchmarks.worlds.guard_worlds import GUARD_WORLDS
from benchmarks.worlds.promise import Bound, Finding, Promise, World, finding, random_of
from benchmarks.worlds.split_worlds import SPLIT_WORLDS
from benchmarks.worlds.verdict_worlds import VERDICT_WORLDS

WORLDS: tuple[World, ...] = (*GUARD_WORLDS, *VERDICT_WORLDS, *SPLIT_WORLDS, *DRIFT_WORLDS)
STRIKEONE = "strikeone"
_SEEDS = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_MOST_SEEDS = 1_000


class _Seeds(click.ParamType):
    """One seed, or the first and the last of several."""

    name = "A-B"

    def convert(self, value: str | range, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """Return the seeds."""
        if isinstance(value, range):
            return value
        found = _SEEDS.fullmatch(value)
        seeds = range(0) if found is None else range(int(found[1]), int(found[2] or found[1]) + 1)
        if not 0 < len(seeds) <= _MOST_SEEDS:
            self.fail(f"{value!r} is not a seed such as 4, or at most {_MOST_SEEDS:,} such as 1-3", param, ctx)
        return seeds


def chosen(only: Sequence[str]) -> list[World]:
    """Return the worlds whose name or part has one of the texts in it, all without any.

    Raises:
        click.UsageError: a text is in none of them.
    """
    for text in only:
        if not any(_has(world, text) for world in WORLDS):
            raise click.UsageError(f"--only {text}: no world has that in its name; there are: {_names()}")
    return [world for world in WORLDS if not only or any(_has(world, text) for text in only)]


def _has(world: World, text: str) -> bool:
    return text in world.name or text == world.part


def _names() -> str:
    return "; ".join(world.name for world in WORLDS)


def measure(worlds: Sequence[World], seeds: range, runs: int | None) -> Iterator[Finding]:
    """Draw the runs of each world for each seed, say on standard error how far it is, and yield what was found."""
    for number, world in enumerate(worlds, 1):
        began, each = time.monotonic(), world.runs if runs is None else runs
        drawn = [world.draw(random_of(seed, world, run)) for seed in seeds for run in range(each)]
        seconds = time.monotonic() - began
        click.echo(f"{number} of {len(worlds)}: {world.name}, {len(drawn):,} runs in {seconds:,.0f} s", err=True)
        columns = np.array(drawn, np.float64).T
        for promise, values in zip(world.promises, columns, strict=True):
            yield finding(world, promise, values)


HEADINGS = ("world", "what is looked at", "promised", "measured", "error", "runs", "")
"""The error is the Monte Carlo standard error of what was measured."""
_LEAST_WIDTH = 150
_WIDTHS = (44, 30, 18, 8, 8, 5, 6)


def cells(found: Finding) -> tuple[str, ...]:
    """Return the row of a finding, by `HEADINGS`."""
    promise = found.promise
    words = {Bound.NONE: "nothing", Bound.UNBIASED: f"mean {_text(promise, promise.figure)}"}
    promised = words.get(promise.bound, f"{promise.bound} {_text(promise, promise.figure)}")
    kept = "" if promise.bound is Bound.NONE else "kept" if found.kept else "BROKEN"
    measured, error = _text(promise, found.measured), _text(promise, found.error)
    return found.world.name, promise.what, promised, measured, error, f"{found.runs:,}", kept


def _text(promise: Promise, value: float) -> str:
    if promise.bound is Bound.MEDIAN:
        return f"{value:,.4g}" if value < 1_000 else f"{value:,.0f}"  # noqa: PLR2004 - a number of cards
    return f"{100 * value:.3g} %" if promise.bound is Bound.UNBIASED else f"{100 * value:.1f} %"


def promises_table(findings: Sequence[Finding]) -> Table:
    """Return a table with a row for each finding; a world is named, and what is peculiar about it, in its first row."""
    table, shown = Table(), None
    for heading, width in zip(HEADINGS, _WIDTHS, strict=True):
        table.add_column(heading, min_width=width)
    for found in findings:
        name, *rest = cells(found)
        about = f"{name}\n[dim]{found.world.peculiar}[/dim]" if found.world is not shown else ""
        table.add_row(about, *rest, style="red" if not found.kept else None)
        shown = found.world
    return table


def _agreements_table(agreements: Sequence[Agreement]) -> Table:
    table = Table("figure", "fraudstream", STRIKEONE, "")
    for one in agreements:
        table.add_row(one.figure, f"{one.ours:.10f}", f"{one.theirs:.10f}", "equal" if one.is_equal else "DIFFERS")
    return table


def _markdown(findings: Sequence[Finding]) -> str:
    lines = ["| " + " | ".join(HEADINGS) + " |", "| --- " * len(HEADINGS) + "|"]
    shown = None
    for found in findings:
        name, *rest = cells(found)
        about = f"**{name}**: {found.world.peculiar}" if found.world is not shown else ""
        lines.append(f"| {about} | " + " | ".join(rest) + " |")
        shown = found.world
    return "\n".join(lines)


def _facts(seeds: range, findings: Sequence[Finding], agreements: Sequence[Agreement]) -> dict[str, object]:
    lines = [
        {"world": found.world.name, "part": found.world.part, "peculiar": found.world.peculiar}
        | found.promise._asdict()
        | {"runs": found.runs, "measured": found.measured, "error": found.error, "kept": found.kept}
        for found in findings
    ]
    foreign = [one._asdict() | {"equal": one.is_equal} for one in agreements]
    return {"seeds": list(seeds), "findings": lines, STRIKEONE: foreign}


def _agreements(python: Path | None) -> list[Agreement]:
    """Compare with strikeone where it is installed, or say how to have it.

    Raises:
        click.ClickException: it cannot be run with the Python that is stated.
    """
    if python is None and importlib.util.find_spec(STRIKEONE) is None:
        click.echo(
            f"{STRIKEONE} is not installed here, so scores are not compared: install it in an environment of its own, "
            "and state its Python with --strikeone",
            err=True,
        )
        return []
    try:
        return compare_with_strikeone(Path(sys.executable) if python is None else python)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("--seeds", type=_Seeds(), default="1-3", show_default=True, help="The same seeds, the same figures.")
@click.option("--runs", type=click.IntRange(1), help="Of each world and seed; by default what suits the world.")
@click.option("--only", multiple=True, metavar="TEXT", help="Worlds with this in their name, or of this part.")
@click.option(
    "--strikeone",
    "python",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The Python of an environment with strikeone, a foreign evaluator.",
)
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures to this file.")
def main(
    *, seeds: range, runs: int | None, only: tuple[str, ...], python: Path | None, markdown: bool, file: Path | None
) -> None:
    """Measure what is promised in worlds with known truth; takes some ten minutes on an idle machine."""
    findings, agreements = list(measure(chosen(only), seeds, runs)), _agreements(python)
    if markdown:
        click.echo(_markdown(findings))
    else:
        console = Console()
        Console(width=max(console.width, _LEAST_WIDTH)).print(promises_table(findings))
    if agreements:
        Console().print(_agreements_table(agreements))
    if file is not None:
        file.write_text(json.dumps(_facts(seeds, findings, agreements), indent=1) + "\n", encoding="utf-8")
    broken = [found for found in findings if not found.kept]
    wrong = [one for one in agreements if not one.is_equal]
    if broken or wrong:
        click.echo(f"{len(broken)} promises are broken, {len(wrong)} figures differ from {STRIKEONE}'s", err=True)
        raise SystemExit(1)


if __name__ == "__main__":
    main()

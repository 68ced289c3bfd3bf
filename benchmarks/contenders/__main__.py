"""`python -m benchmarks.contenders COMMAND`: what users would write instead, measured beside fraudstream in one run."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.contenders.figures import HALF, ContenderFigures, RoundFigures, as_json, table
from benchmarks.contenders.floor import measure_floor
from benchmarks.contenders.harness import SEARCH_STEPS, ContenderRun
from benchmarks.contenders.model import make_model
from benchmarks.contenders.registry import CONTENDERS, LIMITS, ON_EVERY_LINE, OURS
from benchmarks.contenders.report import WIDTH, plot_command, table_command
from benchmarks.contenders.scorers import Payment
from benchmarks.contenders.steps import TRACING, collecting, steps_of, summary
from benchmarks.contenders.task import Line
from features.vector.sets import load_sets
from fraudstream.bench.payments import PublishedPayment, payments
from models.repository import Repository
from stream.errors import StreamError
from stream.settings import Settings, read_settings

_WARM_UP = 500
_KILL_RATE = 200.0
_KILL_PAYMENTS = 3_000
_MOST_A_SECOND = 8_000
_SEED = 11
QUESTIONS = ("backlog", "latency", "capacity", "kill")


@dataclass(frozen=True)
class Plan:
    """What is asked of each contender, and how long.

    Attributes:
        questions: of `QUESTIONS`.
        rates: payments a second for `latency`, beside half of the capacity where that is measured.
        seconds: of each rate, and of each test of the capacity.
        backlog: payments.
    """

    questions: frozenset[str]
    rates: tuple[float, ...]
    seconds: float
    backlog: int

    def of(self, name: str) -> "Plan":
        """Return what is asked of one contender: those that copy decide nothing, so no capacity is searched for."""
        return replace(self, questions=self.questions - {"capacity"}) if name in LIMITS else self

    @property
    def payments(self) -> int:
        """How many one round takes at most, if nobody decides more than `_MOST_A_SECOND`."""
        searched = _MOST_A_SECOND * self.seconds * (SEARCH_STEPS + 1) if "capacity" in self.questions else 0
        return int(_WARM_UP + self.backlog + _KILL_PAYMENTS + sum(self.rates) * self.seconds + searched)


class Names(click.ParamType):
    """Reads names separated by commas, each of some that are known."""

    name = "names"

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, or fail with those that are known."""
        names = tuple(one.strip() for one in str(value).split(","))
        if unknown := [one for one in names if one not in self._known]:
            self.fail(f"{unknown[0]!r} is none of {', '.join(self._known)}", param, ctx)
        return names


model_option = click.option(
    "--model", "digest", required=True, help="Digest of a model of FRAUDSTREAM_MODELS; `model` makes one."
)
only_option = click.option("--only", type=Names(tuple(CONTENDERS)), default=",".join(CONTENDERS), help="Contenders.")


@click.group()
def main() -> None:
    """Measure contenders on the Kafka and the Redis of the settings (FRAUDSTREAM_BROKERS, FRAUDSTREAM_REDIS_URL)."""


main.add_command(table_command)
main.add_command(plot_command)


@main.command()
@click.option("--payments", "count", type=click.IntRange(1_000), default=20_000, show_default=True, help="To train on.")
def model(count: int) -> None:
    """Train the model of the measurement into FRAUDSTREAM_MODELS, and print its digest; always the same one."""
    some = [Payment(one.key, one.value) for one in payments(count, _SEED)]
    click.echo(make_model(Repository(read_settings(os.environ).models), load_sets("").newest, some))


@main.command()
@model_option
@only_option
@click.option(
    "--line", "lines", type=Names([one.value for one in Line]), default="same,own", help="What is held equal."
)
@click.option("--ask", type=Names(QUESTIONS), default=",".join(QUESTIONS), help="What is measured.")
@click.option("--rate", "rates", type=float, multiple=True, default=(100.0, 1000.0), help="Payments a second.")
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="Of each rate.")
@click.option("--backlog", type=click.IntRange(100), default=20_000, show_default=True, help="Payments that wait.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="In turns over all contenders.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything to this file.")
def run(digest: str, only: tuple[str, ...], rounds: int, file: Path | None, **asked: Any) -> None:  # noqa: ANN401 - click's options
    """Measure each contender in turns, and print a table."""
    settings = read_settings(os.environ)
    lines = [Line(one) for one in asked["lines"]]
    plan = Plan(frozenset(asked["ask"]), asked["rates"], asked["seconds"], asked["backlog"])
    supply = payments(plan.payments, _SEED)
    found = [ContenderFigures(name, line) for name in only for line in lines_of(name, lines)]
    console = Console(stderr=True)
    for number in range(rounds):
        for figures in found:
            console.print(f"round {number + 1}: {CONTENDERS[figures.contender].title}, {figures.line}", style="dim")
            done = RoundFigures()
            try:
                with ContenderRun(settings, figures.contender, digest, figures.line) as one:
                    _measure(one, done, plan.of(figures.contender), iter(supply))
            except StreamError as error:
                done.failed = str(error)
                console.print(f"  {error}", style="red")
            figures.rounds.append(done)
            if file is not None:
                file.write_bytes(as_json(found, _about(digest, plan)))
    Console(width=WIDTH).print(table(found).rich())


def lines_of(name: str, lines: Sequence[Line]) -> Sequence[Line]:
    """Return on which lines a contender is measured: ours and those that copy have one, whatever is held equal."""
    return lines[:1] if name in ON_EVERY_LINE else lines


def _measure(one: ContenderRun, done: RoundFigures, plan: Plan, supply: Iterator[PublishedPayment]) -> None:
    """Ask one contender all questions, and keep the answers as they come."""

    def take(count: float) -> list[PublishedPayment]:
        return list(islice(supply, max(1, int(count))))

    one.warm_up(take(_WARM_UP))
    if "latency" in plan.questions:
        for rate in plan.rates:
            done.rates[f"{rate:g}"] = one.at_rate(take(rate * plan.seconds), rate)
    if plan.questions & {"backlog", "capacity"}:
        done.backlog = one.backlog(take(plan.backlog))
    if done.backlog and "capacity" in plan.questions:
        done.capacity = one.capacity(take, done.backlog.per_second, plan.seconds)
        if half := done.capacity / 2:
            done.rates[HALF] = one.at_rate(take(half * plan.seconds), half)
    if "kill" in plan.questions:
        done.kill = one.after_kill(take(_KILL_PAYMENTS), _KILL_RATE)


def _about(digest: str, plan: Plan) -> dict[str, object]:
    return {
        "model": digest,
        "questions": sorted(plan.questions),
        "seconds": plan.seconds,
        "backlog": plan.backlog,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.platform(),
    }


@main.command()
@model_option
@only_option
@click.option("--payments", "count", type=click.IntRange(10), default=2_000, show_default=True)
def equal(digest: str, only: tuple[str, ...], count: int) -> None:
    """Compare the scores of all contenders with ours, on one partition: with equal features they have equal bits."""
    settings, some = read_settings(os.environ), payments(count, _SEED)
    shown = Table("contender", "scores", "equal to the bit")
    wrong = 0
    try:
        ours = _scores(settings, OURS, digest, some)
        for name in only:
            if name not in ON_EVERY_LINE:
                theirs = _scores(settings, name, digest, some)
                same = sum(theirs.get(key) == value for key, value in ours.items())
                wrong += len(ours) - same
                shown.add_row(CONTENDERS[name].title, f"{len(theirs):,}", f"{same:,} of {len(ours):,}")
    except StreamError as error:
        raise click.ClickException(str(error)) from error
    Console().print(shown)
    raise SystemExit(1 if wrong else 0)


class _Score(msgspec.Struct):
    transaction_id: str
    score: float
    decision: str


def _scores(
    settings: Settings, name: str, digest: str, some: Sequence[PublishedPayment]
) -> dict[str, tuple[float, str]]:
    with ContenderRun(settings, name, digest, Line.SAME, partitions=1) as one:
        one.warm_up(some)
        read = (msgspec.json.decode(value, type=_Score) for value in one.scores.values.values())
        return {score.transaction_id: (score.score, score.decision) for score in read}


@main.command()
@model_option
@click.option("--rate", "rates", type=float, multiple=True, default=(100.0, 500.0, 1000.0), help="Payments a second.")
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="Of each rate.")
def steps(digest: str, rates: tuple[float, ...], seconds: float) -> None:
    """Follow single payments through our worker: how long each step takes, as medians and 95th percentiles."""
    settings = read_settings(os.environ)
    supply = iter(payments(int(_WARM_UP + sum(rates) * seconds), _SEED))
    shown = Table("step, ms", *(f"at {rate:g}/s: median, p95" for rate in rates))
    columns: list[list[tuple[str, float, float]]] = []
    with collecting() as (endpoint, spans):
        os.environ.update(TRACING | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        with ContenderRun(settings, OURS, digest, Line.OWN) as one:
            one.warm_up(list(islice(supply, _WARM_UP)))
            for rate in rates:
                followed = one.follow(list(islice(supply, int(rate * seconds))), rate)
                columns.append(summary(steps_of(followed, spans.batches())))
    for found in zip(*columns, strict=True):
        shown.add_row(found[0][0], *(f"{middle:.2f}, {late:.2f}" for _, middle, late in found))
    Console().print(shown)


@main.command()
@model_option
@click.option("--payments", "count", type=click.IntRange(1_000), default=20_000, show_default=True)
def floor(digest: str, count: int) -> None:
    """Measure decode, features, prediction and encoding on arrays in memory: the least that a decision costs."""
    models = read_settings(os.environ).models
    some = [Payment(one.key, one.value) for one in payments(count, _SEED)]
    shown = Table("payments in a batch", "CPU of a payment, µs")
    for line in _floors(models, digest, some):
        shown.add_row(*line)
    Console().print(shown)


def _floors(models: str, digest: str, some: Sequence[Payment]) -> Iterator[tuple[str, str]]:
    for line in measure_floor(models, digest, some):
        yield str(line.batch), f"{line.us:,.1f}"


if __name__ == "__main__":
    main()

"""`python -m benchmarks canary | neighbours | pauses | shadow | stages | tracing`: decisions by a stored model."""

import asyncio
import shlex
from typing import Any

import click
from rich.table import Table

from fraudstream.cli.arguments import ModelParam
from fraudstream.cli.bench_worker import model_option, model_or_refuse
from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import Command, json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from guards.shares import share_text


@click.command()
@model_option
@json_option
@needs("train", "duckdb")
def stages(name: str, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure microseconds per event of each stage, at batches of 1, 32 and 256; needs the extra `train`."""
    from benchmarks.parts.stages import measure_stages  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    found = asyncio.run(
        measure_stages(settings, features_or_refuse(settings.features), model_or_refuse(settings, name))
    )
    table = Table("µs per event", *(f"batch {size}" for size in found))
    for stage in next(iter(found.values())):
        table.add_row(stage, *(f"{times[stage]:.1f}" for times in found.values()))
    if as_json:
        say(as_json, {"us_per_event": {str(size): times for size, times in found.items()}}, "")
    else:
        terminal().print(table)


@click.command()
@model_option
@click.option("--canary", "beside", type=ModelParam(), required=True, help="The canary's model; may be the same.")
@json_option
@needs("train", "duckdb")
def canary(name: str, beside: str, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure CPU of a decision at a canary of 1, 10 and 50 % against none, alternating, and a model's memory."""
    from benchmarks.parts.canary import SHARES_BP, measure_canary, measure_model_mib  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    models = model_or_refuse(settings, name), model_or_refuse(settings, beside)
    lines = asyncio.run(measure_canary(settings, features_or_refuse(settings.features), models))
    model_mib = measure_model_mib(lambda: model_or_refuse(settings, beside))
    if as_json:
        found = {str(line.batch): {str(share): us for share, us in line.us_a_decision.items()} for line in lines}
        say(as_json, {"us_a_decision_by_share_bp": found, "model_mib": model_mib}, "")
        return
    table = Table("batch", "µs, none", *(f"at {share_text(one)} (times)" for one in SHARES_BP[1:]))
    for line in lines:
        none, *shares = line.us_a_decision.values()
        table.add_row(str(line.batch), f"{none:.1f}", *(f"{us:.1f} ({us / none:.2f})" for us in shares))
    terminal().print(table, f"memory of the canary's model: {model_mib:.1f} MiB")


def effort_options(function: Command) -> Command:
    """Add the options for the size of a measurement."""
    for option in (
        click.option("--rounds", type=click.IntRange(1, 50), default=5, show_default=True),
        click.option("--backlog", type=click.IntRange(1), default=15_000, show_default=True, help="Records to drain."),
        click.option(
            "--rate", type=click.FloatRange(1), default=500.0, show_default=True, help="Of the open-loop run."
        ),
        click.option(
            "--seconds", type=click.IntRange(1, 600), default=8, show_default=True, help="Of the open-loop run."
        ),
        json_option,
    ):
        function = option(function)
    return function


@click.command()
@model_option
@effort_options
@needs("train", "duckdb")
def tracing(name: str, as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Measure throughput and latency with traces off, of 1 % and of all payments, alternating in one run."""
    from benchmarks.parts.variants import collector, tracing_variants  # noqa: PLC0415 - it needs an extra

    with collector() as endpoint:
        measure_variants(name, tracing_variants(endpoint), effort, as_json)


@click.command()
@model_option
@click.option("--challenger", required=True, help="The model in the shadow.")
@effort_options
@needs("train", "duckdb")
def shadow(name: str, challenger: str, as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Measure the effect on decisions of no challenger, one, one 100 ms slower, and one that raises, alternating."""
    from benchmarks.parts.variants import shadow_variants  # noqa: PLC0415 - it needs an extra

    measure_variants(name, shadow_variants(model_or_refuse(settings_or_refuse(), challenger).digest), effort, as_json)


def measure_variants(name: str, variants: Any, effort: dict[str, Any], as_json: bool) -> None:  # noqa: ANN401, FBT001 - the type needs an extra
    """Measure variants in turns and print their medians and ratios."""
    from benchmarks.parts.variants import AlternatingEffort, alternate, summarise  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    with Refusals(settings):
        rounds = asyncio.run(
            alternate(settings, model_or_refuse(settings, name).digest, variants, AlternatingEffort(**effort))
        )
    found = summarise(rounds)
    if as_json:
        say(as_json, {"medians": found, "rounds": rounds}, "")
        return
    table = Table(f"medians of {effort['rounds']} rounds", *found)
    for figure in next(iter(found.values())):
        table.add_row(figure, *(f"{figures[figure]:,.2f}" for figures in found.values()))
    terminal().print(table)


@click.command()
@model_option
@click.option(
    "--workers", type=click.IntRange(2, 64), default=2, show_default=True, help="How many run after one has joined."
)
@click.option("--moves", type=click.IntRange(1, 1000), default=8, show_default=True, help="Joins, and as many leaves.")
@click.option("--rate", type=click.FloatRange(1), default=200.0, show_default=True, help="Payments a second.")
@click.option(
    "--partitions", type=click.IntRange(1, 1000), default=12, show_default=True, help="Of the measurement's topics."
)
@click.option("--command", default="", metavar="COMMAND", help="A worker of another version, in place of this one's.")
@json_option
@needs("train", "duckdb")
def pauses(name: str, command: str, as_json: bool, **plan: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Measure how long decisions pause while a worker joins, and while one leaves after SIGTERM, in turns."""
    from benchmarks.parts.pauses import PausesPlan, measure_pauses  # noqa: PLC0415 - it needs an extra

    def tell(line: str) -> None:
        console.print(line, style="dim", highlight=False)

    settings, console = settings_or_refuse(), terminal(stderr=True)
    digest = model_or_refuse(settings, name).digest
    with Refusals(settings):
        made = PausesPlan(**plan, command=tuple(shlex.split(command)))
        figures = asyncio.run(measure_pauses(settings, digest, made, tell))
    if as_json:
        found = figures._asdict() | {"moves": [one._asdict() for one in figures.moves]}
        say(as_json, found | {"summaries": [one._asdict() for one in figures.summaries()]}, "")
        return
    table = Table("move", "count", "median pause of the worst partition, ms", "worst, ms", "above 500 ms")
    for one in figures.summaries():
        table.add_row(one.kind, str(one.moves), f"{one.median_ms:,.0f}", f"{one.worst_ms:,.0f}", str(one.above_500_ms))
    terminal().print(table)
    terminal().print(f"{figures.payments:,} payments, {figures.lost} lost, {figures.twice} decided twice")


@click.command()
@model_option
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    help="unpacking, card, cards, digits, objects, or hour, which takes minutes; repeatable. All but hour by default.",
)
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True, help="Of all attacks, in turns.")
@click.option(
    "--seconds", type=click.FloatRange(1, 600), default=10.0, show_default=True, help="Before an attack, and from then."
)
@json_option
@needs("train", "duckdb")
def neighbours(name: str, attacks: tuple[str, ...], rounds: int, seconds: float, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure how long payments wait while another partition is attacked; exits with 1 if they wait too long."""
    from benchmarks.parts.neighbours import ATTACKS, LONG, measure_neighbours, medians  # noqa: PLC0415 - an extra

    if unknown := set(attacks) - set(ATTACKS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: the attacks are {', '.join(ATTACKS)}")
    settings, lines = settings_or_refuse(), list[Any]()
    digest = model_or_refuse(settings, name).digest
    with Refusals(settings):
        for _ in range(rounds):
            for attack in attacks or (one for one in ATTACKS if one != LONG):
                lines.append(asyncio.run(measure_neighbours(settings, digest, attack, seconds)))
                click.echo(f"{lines[-1]}", err=True)
    shown = medians(lines)
    if as_json:
        say(as_json, {"medians": [line._asdict() for line in shown], "rounds": [line._asdict() for line in lines]}, "")
    else:
        table = Table(
            "attack", "p50 ms", "during", "p95 ms", "during", "records", "answered", "after s", "MiB", "holds"
        )
        for line in shown:
            figures = (line.before[0], line.during[0], line.before[1], line.during[1])
            cells = (
                *(f"{ms:,.0f}" for ms in figures),
                f"{line.records:,}",
                f"{line.answered:,}",
                f"{line.seconds:.0f}",
                f"{line.resident_mib[0]:.0f}, {line.resident_mib[1]:.0f}",
            )
            table.add_row(line.attack, *cells, "yes" if line.holds else "NO")
        terminal().print(table)
    if not all(line.holds for line in shown):
        raise SystemExit(1)

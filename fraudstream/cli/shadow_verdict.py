"""`fraudstream shadow verdict`: may the challenger be promoted? PROMOTE, HOLD or REJECT, and the gate that decided."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fraudstream.cli.arguments import BudgetParam, ModelParam, MomentParam
from fraudstream.cli.commands import refused_arguments
from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import ReadingProgress
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.report_file import report_option, write_report
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.outcomes.costs import parse_cost
from fraudstream.ops.rollout.outcomes.first_days import CARD_DAYS
from fraudstream.ops.rollout.outcomes.maturity import MATURITY_DAYS
from fraudstream.ops.rollout.verdict.gates import VerdictWord
from fraudstream.ops.rollout.verdict.page import state_verdict
from fraudstream.ops.rollout.verdict.reader import VerdictScope, read_verdict
from fraudstream.ops.rollout.verdict.report import VerdictReport, judge_challenger
from fraudstream.ops.rollout.verdict.terms import VerdictOptions, known_currency
from models.arms import parse_share
from models.errors import InvalidShareError
from stream.contract.money import parse_daily_amount
from stream.settings import Settings

_LONGEST_DAYS = 3_650.0
_Command = Callable[..., Any]


class CurrencyParam(click.ParamType):
    """Reads the code of a currency, such as EUR."""

    name = "currency"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the code in capitals, or fail with what was expected."""
        try:
            return known_currency(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class CostParam(click.ParamType):
    """Reads `EUR 2.00 + 5%` as a currency, a fixed sum and a share of the amount."""

    name = "cost"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - a pair
        """Return the currency and the cost, or fail with what was expected."""
        try:
            return value if isinstance(value, tuple) else parse_cost(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class AmountParam(click.ParamType):
    """Reads `EUR 500` as a currency and minor units."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - a pair
        """Return both, or fail with what was expected."""
        try:
            currency, minor = value if isinstance(value, tuple) else parse_daily_amount(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if minor < 1:
            self.fail(f"{value}: it must be above 0", param, ctx)
        return currency, minor


class CardsParam(click.ParamType):
    """Reads `10%` as basis points of the cards; 100% is all of them."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return basis points, or fail with what was expected."""
        try:
            return value if isinstance(value, int) else parse_share(str(value))
        except InvalidShareError as error:
            self.fail(str(error), param, ctx)


_DAYS = click.FloatRange(0, _LONGEST_DAYS, min_open=True)
_OPTIONS: tuple[Callable[[_Command], _Command], ...] = (
    click.option("--since", "since_ms", type=MomentParam(), metavar="TIME",
                 help="Decisions from then on; by default since the model came into the shadow."),
    click.option("--currency", type=CurrencyParam(), help="Of the payments that count; default: the most frequent."),
    click.option("--k", "cards_a_day", type=click.IntRange(1), default=100, show_default=True,
                 help="Cards that are investigated each day, for card precision."),
    click.option("--maturity-days", type=_DAYS, default=MATURITY_DAYS, show_default=True,
                 help="An unlabelled payment counts as genuine after so many days."),
    click.option("--card-days", type=_DAYS, default=CARD_DAYS, show_default=True,
                 help="A card counts once, with its payments of so many days from its first on."),
    click.option("--alpha", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True,
                 help="The probability of a wrong PROMOTE, at most."),
    click.option("--review-cost", "review", type=CostParam(), multiple=True,
                 help="What a review costs, e.g. 'EUR 3.00'; repeat it for each currency."),
    click.option("--decline-cost", "decline", type=CostParam(), multiple=True,
                 help="What a wrong decline costs, e.g. 'EUR 2.00 + 5%'."),
    click.option("--cap", "caps", type=AmountParam(), multiple=True,
                 help="A card's difference of loss counts up to this, e.g. 'EUR 500'."),
    click.option("--label-share", type=BudgetParam(), default="100%", show_default=True,
                 help="Of all frauds, the share that is ever labelled."),
    click.option("--least-labels", type=BudgetParam(), default="80%", show_default=True,
                 help="Of the frauds that scores let expect, at least so many must be labelled; 0%: no matter."),
    click.option("--least-coverage", type=BudgetParam(), default="99%", show_default=True,
                 help="Of the decisions, at least so many must have been compared."),
    click.option("--alerts-per-day", type=click.FloatRange(0), help="What your team can work on; default: live's own "
                 "and --alert-tolerance more."),
    click.option("--alert-tolerance", type=BudgetParam(), default="10%", show_default=True, help="See there."),
    click.option("--row-us", type=click.FloatRange(0, min_open=True),
                 help="The most processor time for a row of the model, in microseconds; default: no budget."),
    click.option("--cards", "cards_bp", type=CardsParam(), default="100%", show_default=True,
                 help="Read this share of the cards, always the same ones, where all do not fit into memory."),
)  # fmt: skip


def verdict_options(function: _Command) -> _Command:
    """Add the options that say on what terms a challenger is judged."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command("verdict")
@click.option(
    "--digest",
    type=ModelParam(),
    metavar="MODEL",
    help="A model that is or was in the shadow; by default the present one.",
)
@verdict_options
@report_option()
@json_option
def verdict_command(
    digest: str | None,
    page: Path | None,
    as_json: bool,  # noqa: FBT001 - click's flag
    **options: Any,  # noqa: ANN401 - click's options
) -> None:
    """Say whether the challenger may be promoted: PROMOTE, HOLD or REJECT, and the gate that decided.

    Decisions, comparisons and labels are read from the topics. PROMOTE means that it loses less money than the live
    model, which may be looked at every day without ever being wrong with more than the probability --alpha. What
    cannot be known yet is HOLD. Exits with 0 for PROMOTE, else with 1.
    """
    settings = settings_or_refuse()
    found = verdict_or_refuse(settings, digest, options)
    stated = state_verdict(found)
    if page is not None:
        write_report(page, stated.html)
    if as_json:
        say(as_json, found.facts() | stated.facts(), "")
    else:
        terminal().print(on_terminal(stated))
    if found.verdict is not VerdictWord.PROMOTE:
        raise SystemExit(1)


def verdict_or_refuse(settings: Settings, digest: str | None, options: dict[str, Any]) -> VerdictReport:
    """Read the topics and return the verdict; exit with 1 if that is impossible, with 2 if options contradict."""
    stated = dict(options)
    scope = VerdictScope(digest, stated.pop("since_ms"), stated["maturity_days"], stated.pop("cards_bp"))
    if not 0 < stated["label_share"] <= 1:
        raise click.BadParameter("it must be above 0%", param_hint="--label-share")
    money = {name: dict(stated.pop(name)) for name in ("review", "decline", "caps")}
    wanted = VerdictOptions(stated.pop("currency"), **money, others=stated)
    with Refusals(settings):
        read = asyncio.run(read_verdict(settings, scope, ReadingProgress().show))
    with refused_arguments():
        return judge_challenger(read, wanted)


def default_options() -> dict[str, Any]:
    """Return the values of the options of a verdict where none is given."""
    values = verdict_command.make_context("verdict", []).params
    return {name: value for name, value in values.items() if name not in ("digest", "page", "as_json")}

"""`fraudstream split report`: an experiment's arms side by side with their outcomes, and who wins."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from fraudstream.cli.arguments import BudgetParam, MomentParam
from fraudstream.cli.cost_options import cost_options, stated_costs
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import ReadingProgress
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.report_file import report_option, write_report
from fraudstream.cli.settings import settings_for_arms_or_refuse
from fraudstream.cli.shadow_verdict import CardsParam
from fraudstream.console import terminal
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.experiments.facts import facts
from fraudstream.ops.rollout.experiments.page import state_split
from fraudstream.ops.rollout.experiments.report import ExperimentChoice, ExperimentReport, ReadingPlan, read_report
from fraudstream.ops.rollout.experiments.terms import ALERTS_A_DAY, ALPHA, ExperimentTerms
from fraudstream.ops.rollout.outcomes.costs import StatedCosts
from fraudstream.ops.rollout.outcomes.first_days import CARD_DAYS
from fraudstream.ops.rollout.outcomes.maturity import MATURITY_DAYS, MaturityTerms
from fraudstream.ops.rollout.outcomes.reader import ReadPayments
from fraudstream_client.arms import WHOLE_BP
from stream.clock import now_ms
from stream.code_version import code_version
from stream.errors import ReportError
from stream.settings import Settings


@click.group(cls=CommandGroup)
def split() -> None:
    """See what became of the cards of an experiment, and which arm wins."""


@split.command("report")
@click.option(
    "--experiment", type=click.IntRange(1), metavar="REVISION", help="The one that began with it; by default the last."
)
@click.option(
    "--since", "since_ms", type=MomentParam(), help="The one that ran then, or began next (RFC 3339, or milliseconds)."
)
@cost_options
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=ALPHA,
    show_default=True,
    help="The probability of ever naming a winner that is none.",
)
@click.option(
    "--card-days",
    type=click.FloatRange(0, min_open=True),
    default=CARD_DAYS,
    show_default=True,
    help="How many days of a card are one observation.",
)
@click.option(
    "--maturity-days",
    type=click.FloatRange(0),
    default=MATURITY_DAYS,
    show_default=True,
    help="After so many days without a label a payment that was not declined is genuine.",
)
@click.option(
    "--k",
    "alerts_a_day",
    type=click.IntRange(1),
    default=ALERTS_A_DAY,
    show_default=True,
    help="Cards that are investigated each day, of all arms together, for card precision.",
)
@click.option(
    "--label-share",
    type=BudgetParam(),
    default="100%",
    show_default=True,
    help="Of all frauds, the share that is ever labelled: where arms are compared, each counts for the others.",
)
@click.option(
    "--cards",
    "cards_bp",
    type=CardsParam(),
    default="100%",
    show_default=True,
    help="Read this share of the cards, always the same ones, where all do not fit into memory.",
)
@report_option()
@json_option
def report_command(as_json: bool, page: Path | None, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Compare the arms of an experiment by what became of their cards; it may be looked at at any time.

    State alpha, days and costs before the first look, and keep them: what is promised holds for these alone.
    """
    settings = settings_for_arms_or_refuse()
    if options["experiment"] is not None and options["since_ms"] is not None:
        raise click.UsageError("--experiment and --since both say which experiment; give one")
    if not options["label_share"]:
        raise click.BadParameter("it must be above 0%", param_hint="--label-share")
    wish = ReportWish(
        options["currency"],
        stated_costs(options),
        options["alpha"],
        options["card_days"],
        options["maturity_days"],
        options["alerts_a_day"],
        options["cards_bp"],
        options["label_share"],
    )
    found = _report_or_refuse(settings, ExperimentChoice(options["experiment"], options["since_ms"]), wish)
    stated = state_split(found, now_ms(), code_version())
    if page is not None:
        write_report(page, stated.html)
    if as_json:
        say(as_json, facts(found) | stated.facts(), "")
    else:
        terminal().print(on_terminal(stated))


class ReportWish(NamedTuple):
    """What somebody wants an experiment to be judged by; the currency is by default that of most payments."""

    currency: str | None = None
    costs: StatedCosts = StatedCosts()
    alpha: float = ALPHA
    card_days: float = CARD_DAYS
    maturity_days: float = MATURITY_DAYS
    alerts_a_day: int = ALERTS_A_DAY
    cards_bp: int = WHOLE_BP
    label_share: float = 1.0

    @property
    def plan(self) -> ReadingPlan:
        """How the experiment is read."""
        return ReadingPlan(self.terms, self.maturity_days, self.cards_bp)

    def terms(self, read: ReadPayments) -> ExperimentTerms:
        """Return the terms, now that the currencies of the payments are known.

        Raises:
            ReportError: no payment is in the currency, or costs are stated for others alone.
        """
        codes = read.names.currencies
        currency = self.currency or codes[int(np.bincount(read.rows["currency"]).argmax())]
        if currency not in codes:
            raise ReportError(f"no payment of the experiment is in {currency}; they are in {', '.join(sorted(codes))}")
        try:
            costs, cap_minor = self.costs.of(currency)
        except ValueError as error:
            raise ReportError(str(error)) from error
        maturity = MaturityTerms(read.latest_ms, self.maturity_days)
        return ExperimentTerms(
            maturity,
            codes.index(currency),
            costs,
            cap_minor,
            self.alpha,
            self.card_days,
            self.alerts_a_day,
            self.label_share,
        )


def _report_or_refuse(settings: Settings, choice: ExperimentChoice, wish: ReportWish) -> ExperimentReport:
    with Refusals(settings):
        return asyncio.run(read_report(settings, choice, wish.plan, ReadingProgress().show))

"""The report of an experiment: its arms, how they stand, and whether the experiment itself is sound."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.experiments.cards import CardLosses, card_losses
from fraudstream.ops.rollout.experiments.comparison import Standings
from fraudstream.ops.rollout.experiments.figures import ArmFigures, arm_figures
from fraudstream.ops.rollout.experiments.ratio import SampleRatio, sample_ratio
from fraudstream.ops.rollout.experiments.span import Experiment, choose_experiment, experiments_of
from fraudstream.ops.rollout.experiments.standings import standings_of
from fraudstream.ops.rollout.experiments.terms import ExperimentTerms
from fraudstream.ops.rollout.outcomes.columns import PaymentRows, ValidPayment
from fraudstream.ops.rollout.outcomes.maturity import MATURITY_DAYS
from fraudstream.ops.rollout.outcomes.reader import Progress, ReadingScope, ReadPayments, read_payments
from fraudstream_client.arms import WHOLE_BP
from metrics.bootstrap import BootstrapPlan
from models.arms import Split
from stream.control.client import read_events
from stream.errors import ReportError
from stream.settings import Settings

CLOCKS_MS = 60_000
"""The judge's clock and the brokers' may differ by this much."""
RATIO_ALPHA = 0.01
"""Of the test of the sample ratio."""
DRAWS = 1_000
"""Of the bootstrap."""

MakeTerms = Callable[[ReadPayments], ExperimentTerms]
"""Returns what the experiment is judged by, when its currencies and its last payment are known."""


class ReadingPlan(NamedTuple):
    """How an experiment is read: what makes its terms, the maturity in days, and the share of the cards in 0.01 %."""

    make_terms: MakeTerms
    maturity_days: float = MATURITY_DAYS
    cards_bp: int = WHOLE_BP


class ExperimentChoice(NamedTuple):
    """Which experiment is reported: by the revision that began it, or the one that ran at a time or began next."""

    revision: int | None = None
    since_ms: int | None = None


class ExperimentReport(NamedTuple):
    """What a report says.

    Attributes:
        experiment: what it is about.
        terms: what it was computed by.
        currencies: the codes that indexes stand for.
        figures: of each arm.
        losses: the cards that are final, and those that are not.
        standings: how the arms stand by them.
        ratio: whether cards are divided as the shares say.
        excluded: payments of excluded cards, which are in no figure.
        misassigned: decisions whose arm is not the one that the card's bucket says, which should not exist; they are in
            no figure.
        cards_bp: the share of the cards that was read.
    """

    experiment: Experiment
    terms: ExperimentTerms
    currencies: tuple[str, ...]
    figures: tuple[ArmFigures, ...]
    losses: CardLosses
    standings: Standings
    ratio: SampleRatio
    excluded: int
    misassigned: int
    cards_bp: int = WHOLE_BP

    @property
    def currency(self) -> str:
        """The code of the currency in which arms are compared."""
        return self.currencies[self.terms.currency]

    @property
    def winner(self) -> str | None:
        """The arm that won; None while none has, or if the cards are not divided as the shares say."""
        return None if self.ratio.breached or self.misassigned else self.standings.winner


async def read_report(
    settings: Settings, choice: ExperimentChoice, plan: ReadingPlan, progress: Progress
) -> ExperimentReport:
    """Read an experiment of the settings' deployment from the topics, and report on it.

    Args:
        settings: the brokers and the deployment.
        choice: which experiment.
        plan: how it is read.
        progress: told how much was read.

    Raises:
        ReportError: there is no such experiment, or it decided nothing yet.
        OtherHashKeyError: its excluded cards are not known here.
        ControlLogError: the event log has lost records.
        aiokafka.errors.KafkaError: the brokers do not answer, or a topic is missing.
    """
    chosen = choose_experiment(experiments_of(settings.deployment, await read_events(settings)), *choice)
    chosen.split.exclude.require_key()
    sieve = ArmSieve(chosen)
    since_ms = max(chosen.since_ms - CLOCKS_MS, 0)
    scope = ReadingScope(since_ms, plan.maturity_days, plan.cards_bp, published_only=True)
    read = await read_payments(settings, scope, sieve.takes, progress)
    if not len(read.rows):
        raise ReportError(
            f"the experiment of revision {chosen.first} has decided no payment yet, or none is held still"
        )
    rows = placed(read.rows, read.names.arms, chosen)
    return report_of(rows, chosen, plan.make_terms(read), tuple(read.names.currencies))._replace(
        excluded=sieve.excluded, misassigned=sieve.misassigned, cards_bp=plan.cards_bp
    )


class ArmSieve:
    """Takes the decisions of an experiment, and counts what is in no figure: excluded cards, and cards in other arms.

    Attributes:
        excluded: decisions about excluded cards.
        misassigned: decisions whose arm is not that of the card's bucket.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.excluded = 0
        self.misassigned = 0
        self._experiment = experiment
        self._everyone = Split(experiment.split.arms, experiment.split.salt)

    def takes(self, payment: ValidPayment) -> bool:
        """Tell whether a decision is in the report."""
        score, experiment = payment.score, self._experiment
        if not experiment.holds(score.revision):
            return False
        if score.card_id in experiment.split.exclude:
            self.excluded += 1
            return False
        (arm,) = self._everyone.arms_of([score.card_id])
        self.misassigned += score.arm != arm
        return score.arm == arm


def placed(rows: PaymentRows, names: list[str], experiment: Experiment) -> PaymentRows:
    """Return rows whose `arm` is the place among the arms of the experiment, not among `names`."""
    places = {arm.name: place for place, arm in enumerate(experiment.arms)}
    found = rows.copy()
    found["arm"] = np.array([places.get(name, -1) for name in names], np.int16)[rows["arm"]]
    return found[found["arm"] >= 0]


def report_of(
    rows: PaymentRows,
    experiment: Experiment,
    terms: ExperimentTerms,
    currencies: tuple[str, ...],
    plan: BootstrapPlan | None = None,
) -> ExperimentReport:
    """Return the report of an experiment's payments.

    Args:
        rows: of cards that are not excluded; `arm` is the place among the arms.
        experiment: what it is about.
        terms: what it is judged by.
        currencies: the codes that indexes stand for.
        plan: of the bootstrap.
    """
    arms = experiment.arms
    ended_ms = None if experiment.until_ms is None else int(rows["occurred_ms"].max(initial=0))
    losses = card_losses(rows, terms, ended_ms)
    return ExperimentReport(
        experiment,
        terms,
        currencies,
        arm_figures(rows, arms, terms, plan or BootstrapPlan(draws=DRAWS, confidence=1 - terms.alpha)),
        losses,
        standings_of(losses, arms, experiment.models, terms),
        sample_ratio(rows, arms, RATIO_ALPHA),
        excluded=0,
        misassigned=0,
    )

"""What an experiment is judged by, stated before it begins: alpha, which payments of a card count, costs and caps."""

from dataclasses import dataclass

from fraudstream.ops.rollout.outcomes.first_days import CARD_DAYS
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS, MaturityTerms
from metrics.errors import MeasureInputError
from metrics.intervals import check_alpha
from metrics.money import CostMatrix

ALPHA = 0.05
"""The probability with which a report ever names a winner that is none."""
ALERTS_A_DAY = 100
"""Cards that are investigated each day, of all arms together."""


@dataclass(frozen=True, slots=True)
class ExperimentTerms:
    """What a report is computed by. Choose it before the first look, and keep it: it is part of what alpha promises.

    Attributes:
        maturity: until when outcomes are looked at, and how old a payment is that counts as genuine.
        currency: the index of the currency in which arms are compared.
        costs: what decisions cost in it.
        cap_minor: a card's loss counts up to this amount where arms are compared, in minor units.
        alpha: of all comparisons together.
        card_days: payments of a card count in so many days from its first payment in the experiment.
        alerts_a_day: cards that are investigated each day; each arm has its share of them.
        label_share: the share of frauds that is ever labelled; where arms are compared, an approved one counts 1/share
            times.
    """

    maturity: MaturityTerms
    currency: int
    costs: CostMatrix
    cap_minor: int
    alpha: float = ALPHA
    card_days: float = CARD_DAYS
    alerts_a_day: int = ALERTS_A_DAY
    label_share: float = 1.0

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        least = {"cap_minor": 1, "alerts_a_day": 1, "card_days": 0}
        problems = [
            f"{name}: {getattr(self, name)}, expected at least {low}"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        if not 0 < self.label_share <= 1:
            problems.append(f"label_share: {self.label_share:g}, expected above 0 and at most 1")
        if problems:
            raise MeasureInputError(f"terms of an experiment: {'; '.join(problems)}")

    @property
    def card_ms(self) -> int:
        """How long a card is observed, in milliseconds."""
        return round(self.card_days * DAY_MS)

    @property
    def wait_ms(self) -> int:
        """How long after its first payment a card is final, in milliseconds."""
        return self.card_ms + self.maturity.as_of_ms - self.maturity.old_ms

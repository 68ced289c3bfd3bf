"""What decisions cost in money: losses by a cost matrix, savings, and the share of fraud money that was alerted.

All amounts are integers in minor units of one currency, and all sums are exact. Currencies are never summed: a report
has one `MoneySums` for each. A share of an amount is rounded to the nearest minor unit, halves up, payment by payment;
nothing else is rounded, so every total equals the sum over its payments.

A missed fraud costs its amount, as in Bahnsen, Aouada, Stojanovic and Ottersten, Feature engineering strategies for
credit card fraud detection (2016). A review is assumed to find whether the payment is fraud, so it stops a fraud.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from metrics.columns import Bools, Flags, Floats, Ints, check_lengths, exact_sum, ratios
from metrics.errors import MeasureInputError

Codes = NDArray[np.integer[Any]]

WHOLE_BP = 10_000
MOST_MINOR = 10**12
"""The largest amount of a payment, and of a fixed cost."""


class DecisionCode(IntEnum):
    """A decision on a payment as a number, mildest first; `review` and `decline` are alerts."""

    APPROVE = 0
    REVIEW = 1
    DECLINE = 2


def decision_pairs(first: Codes, second: Codes) -> Iterator[tuple[DecisionCode, DecisionCode, Bools]]:
    """Yield each pair of decisions about the same payments that occurs, the mildest of the first side first.

    Args:
        first: a `DecisionCode` of each payment, of shape (n,).
        second: likewise, of the other side.

    Yields:
        both decisions, and which payments have them.
    """
    pairs = first.astype(np.int64) * len(DecisionCode) + second
    for pair in np.unique(pairs).tolist():
        one, other = divmod(pair, len(DecisionCode))
        yield DecisionCode(one), DecisionCode(other), pairs == pair


def amounts_by_currency(currency: Codes, amount_minor: Ints, currencies: Sequence[str]) -> dict[str, int]:
    """Sum up amounts exactly, by currency in alphabetical order; one without a payment is left out.

    Args:
        currency: the place of each payment's currency in `currencies`, of shape (n,).
        amount_minor: of shape (n,).
        currencies: the names.
    """
    sums = {currencies[at]: exact_sum(amount_minor[currency == at]) for at in np.unique(currency).tolist()}
    return dict(sorted(sums.items()))


class PricedRows(NamedTuple):
    """Labelled payments of one currency, of shape (n,): a `DecisionCode`, whether it is fraud, the amount."""

    decisions: Codes
    fraud: Flags
    amounts_minor: Ints

    def checked(self) -> Self:
        """Return the rows themselves.

        Raises:
            MeasureInputError: columns differ in length, a decision is none, or an amount is out of range.
        """
        check_lengths(**self._asdict())
        if not np.isin(self.decisions, list(DecisionCode)).all():
            raise MeasureInputError("decisions: each must be 0 (approve), 1 (review) or 2 (decline)")
        if len(self.amounts_minor) and not 0 <= self.amounts_minor.min() <= self.amounts_minor.max() <= MOST_MINOR:
            raise MeasureInputError(f"amounts_minor: each must be from 0 to {MOST_MINOR} minor units")
        return self


class LossColumn(IntEnum):
    """The columns of `CostMatrix.table`, in minor units."""

    LOSS = 0
    """The loss of the decision."""
    REVIEW_ALL = 1
    """The loss if everything were reviewed."""
    DECLINE_ALL = 2
    """The loss if everything were declined."""
    FRAUD = 3
    """The amount of a fraud, else 0; it is the loss if everything were approved."""
    STOPPED = 4
    """The amount of a fraud with an alert, else 0."""


@dataclass(frozen=True, slots=True)
class CostMatrix:
    """What a decision costs, in one currency.

    An approved fraud costs its amount, an approved genuine payment and a declined fraud nothing. A review costs a fixed
    sum and a share of the amount, whatever it finds; so does a decline of a genuine payment. Shares are in units of
    0.01 %.
    """

    review_fixed_minor: int
    review_share_bp: int
    decline_fixed_minor: int
    decline_share_bp: int

    def __post_init__(self) -> None:
        fixed = {"review_fixed_minor": self.review_fixed_minor, "decline_fixed_minor": self.decline_fixed_minor}
        shares = {"review_share_bp": self.review_share_bp, "decline_share_bp": self.decline_share_bp}
        problems = [f"{name} {one} is not from 0 to {MOST_MINOR}" for name, one in fixed.items() if not _is_minor(one)]
        problems += [
            f"{name} {one} is not from 0 to {WHOLE_BP} (0.01 % each)"
            for name, one in shares.items()
            if not 0 <= one <= WHOLE_BP
        ]
        if problems:
            raise MeasureInputError(f"cost matrix: {'; '.join(problems)}")

    def review(self, amounts_minor: Ints) -> Ints:
        """Return what a review of each payment costs."""
        return _cost(amounts_minor, self.review_fixed_minor, self.review_share_bp)

    def wrong_decline(self, amounts_minor: Ints) -> Ints:
        """Return what a decline of each payment costs if it is genuine."""
        return _cost(amounts_minor, self.decline_fixed_minor, self.decline_share_bp)

    def losses(self, rows: PricedRows) -> Ints:
        """Return the loss of each decision, of shape (n,).

        Raises:
            MeasureInputError: the rows are invalid; see `PricedRows.checked`.
        """
        return self.table(rows)[:, LossColumn.LOSS]

    def table(self, rows: PricedRows) -> Ints:
        """Return the columns of `LossColumn` for each row, of shape (n, 5): what savings are computed of.

        Raises:
            MeasureInputError: the rows are invalid; see `PricedRows.checked`.
        """
        decisions, fraud, amounts = rows.checked()
        is_fraud = fraud.astype(np.bool_)
        at_stake = np.where(is_fraud, amounts, 0)
        approved = decisions == DecisionCode.APPROVE
        reviewed, declined = self.review(amounts), np.where(is_fraud, 0, self.wrong_decline(amounts))
        loss = np.where(approved, at_stake, np.where(decisions == DecisionCode.REVIEW, reviewed, declined))
        return np.column_stack((loss, reviewed, declined, at_stake, np.where(approved, 0, at_stake)))


def _is_minor(amount: int) -> bool:
    return 0 <= amount <= MOST_MINOR


def _cost(amounts_minor: Ints, fixed_minor: int, share_bp: int) -> Ints:
    return fixed_minor + (amounts_minor * share_bp + WHOLE_BP // 2) // WHOLE_BP


@dataclass(frozen=True, slots=True)
class MoneySums:
    """Sums in minor units of one currency over labelled payments: the columns of `LossColumn`."""

    loss_minor: int
    review_all_minor: int
    decline_all_minor: int
    fraud_minor: int
    stopped_minor: int

    @classmethod
    def zero(cls) -> Self:
        """Return the sums of no payments."""
        return cls(0, 0, 0, 0, 0)

    @classmethod
    def of(cls, rows: PricedRows, costs: CostMatrix) -> Self:
        """Sum up payments of one currency.

        Raises:
            MeasureInputError: the rows are invalid; see `PricedRows.checked`.
        """
        return cls(*(exact_sum(column) for column in costs.table(rows).T))

    def merge(self, other: Self) -> Self:
        """Return the sums of the payments of both, which are of the same currency."""
        return type(self)(
            self.loss_minor + other.loss_minor,
            self.review_all_minor + other.review_all_minor,
            self.decline_all_minor + other.decline_all_minor,
            self.fraud_minor + other.fraud_minor,
            self.stopped_minor + other.stopped_minor,
        )

    @property
    def lost_minor(self) -> int:
        """The money of approved frauds."""
        return self.fraud_minor - self.stopped_minor

    @property
    def trivial_loss_minor(self) -> int:
        """The loss of the cheapest policy that looks at no payment: approve, review or decline everything."""
        return min(self.fraud_minor, self.review_all_minor, self.decline_all_minor)

    @property
    def savings(self) -> float | None:
        """1 - loss / loss of the cheapest trivial policy; None where that loses nothing.

        1 is perfect, 0 no better than that policy, below 0 worse. From Bahnsen et al. (2016), who have two decisions
        and so two trivial policies.
        """
        return 1 - self.loss_minor / self.trivial_loss_minor if self.trivial_loss_minor else None

    @property
    def value_detection_rate(self) -> float | None:
        """The share of fraud money with an alert; None without fraud money."""
        return self.stopped_minor / self.fraud_minor if self.fraud_minor else None


def savings_of(sums: Floats) -> Floats:
    """Return savings of many sums of `CostMatrix.table`, of shape (..., 5), for a bootstrap; NaN where undefined."""
    loss, review_all, decline_all, fraud = (sums[..., column] for column in list(LossColumn)[:4])
    trivial = np.minimum(np.minimum(review_all, decline_all), fraud)
    return 1 - ratios(loss, trivial)

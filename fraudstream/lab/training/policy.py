"""What policy is asked for, and what is made of it on payments: thresholds, costs, rules, expected volume.

It takes columns, so that it does not matter which part of which data they are. Thresholds and volumes count all
payments, as live ones have no labels yet; only labelled ones tell what is caught, and whether scores are probabilities.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS
from features.history.store import Ints
from fraudstream.lab.training.calibrators import log_loss
from fraudstream.lab.training.evaluation import choose_policy
from fraudstream.lab.training.request import PolicyWish, Shares, UnusableModelError
from fraudstream_client.outputs import Decision
from metrics.alerts import AlertCounts
from metrics.calibration import calibration_error, equal_counts, reliability
from models.cost_policy import CostPolicy
from models.list_rules import RuleSet
from models.policy import Floats, Payments, Policy
from models.times import format_time
from models.volume import AlertBudget, Allowance, ExpectedVolume

LARGEST_ERROR = 0.05
"""Of the expected calibration error among alerts by costs, beyond what chance alone gives."""
_ALERTS_IN_A_BIN = 100
_MOST_BINS = 10
_CALIBRATE = "calibrate it on later payments (`--calibration`), or use `--policy fixed` or `--policy budget`"


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """n payments by time, with scores: `fraud` is 1, 0, or -1 without a label; `currency` holds codes in ASCII."""

    scores: Floats
    fraud: NDArray[np.int8]
    occurred_ms: Ints
    amount_minor: Ints
    currency: NDArray[np.bytes_]

    def __len__(self) -> int:
        """Return n."""
        return len(self.scores)

    @property
    def days(self) -> float:
        """How many days the payments span, from the first one on."""
        return float(self.occurred_ms[-1] - self.occurred_ms[0] + 1) / DAY_MS

    @property
    def labelled(self) -> "ScoredPart":
        """The payments that have a label."""
        rows = self.fraud >= 0
        return ScoredPart(
            self.scores[rows], self.fraud[rows], self.occurred_ms[rows], self.amount_minor[rows], self.currency[rows]
        )

    @property
    def payments(self) -> Payments:
        """What a policy reads of the payments; cards, merchants and countries, which rules read, are left out."""
        count = len(self)
        codes = [one.decode() for one in self.currency.tolist()]
        return Payments([""] * count, [""] * count, [None] * count, self.amount_minor, codes)


class ChosenPolicy(NamedTuple):
    """What a manifest says of a policy."""

    policy: Policy
    costs: CostPolicy | None
    rules: RuleSet | None
    volume: ExpectedVolume


def fit_policy(
    wish: PolicyWish, part: ScoredPart, otherwise: Policy | Shares, measured_on: ScoredPart | None = None
) -> ChosenPolicy:
    """Make the policy that is asked for of the scores of a part.

    Whether the scores are probabilities, and the expected volume, is measured on another part, by default the same.
    `otherwise` are the thresholds, or the shares that give them, where neither thresholds nor a budget is asked for;
    with costs they decide what has none.

    Raises:
        UnusableModelError: costs are asked for, and the scores are no probabilities, or no payment has costs.
    """
    policy, measured = _thresholds(wish, part, otherwise), measured_on or part
    if wish.costs is not None:
        require_calibrated(wish.costs, policy, measured.labelled)
    volume = expected_volume(policy, wish.costs, measured, wish.budget)
    return ChosenPolicy(policy, wish.costs, wish.rules, volume)


def _thresholds(wish: PolicyWish, part: ScoredPart, otherwise: Policy | Shares) -> Policy:
    if wish.thresholds is not None:
        return wish.thresholds
    if wish.budget is not None:
        return within_budget(part.scores, part.days, wish.budget)
    return otherwise if isinstance(otherwise, Policy) else choose_policy(part.scores, *otherwise)


def within_budget(scores: Floats, days: float, budget: AlertBudget) -> Policy:
    """Return the lowest thresholds that keep the alerts and the declines among n scores within their budgets.

    Equal scores get the same decision, so of some that do not all fit none is taken. Declines never exceed alerts.
    """
    review = _lowest_within(scores, days, budget.alerts)
    return Policy(review, max(review, _lowest_within(scores, days, budget.declines)))


def _lowest_within(scores: Floats, days: float, allowance: Allowance) -> float:
    """Return the lowest threshold that at most so many scores reach; above all of them if even one is too many."""
    most = allowance.most(len(scores), days)
    if most >= len(scores):
        return 0.0
    # the first score that does not fit any more; all that are equal to it do not fit either
    beyond = float(np.partition(scores, len(scores) - 1 - most)[len(scores) - 1 - most])
    above = scores[scores > beyond]
    return float(above.min()) if len(above) else float(np.nextafter(beyond, np.inf))


def said_by(policy: Policy, costs: CostPolicy | None, part: ScoredPart) -> NDArray[np.int8]:
    """Return the decisions of a policy on n payments as 0 (approve), 1 (review) and 2 (decline)."""
    if costs is None:
        return decision_codes(part.scores, policy).astype(np.int8)
    order = list(Decision)
    return np.array([order.index(one) for one in costs.decide(part.scores, part.payments, policy)], np.int8)


def decision_codes(scores: Floats, policy: Policy) -> Ints:
    """Return the decision of each score by thresholds alone, as `metrics.money.DecisionCode`."""
    return np.searchsorted(np.array([policy.review_at, policy.decline_at]), scores, side="right").astype(np.int64)


def alert_measures(chosen: ChosenPolicy, part: ScoredPart) -> dict[str, float]:
    """Return the metrics that depend on which payments are alerts; `evaluation.measure` has the others.

    The rates are of all payments, recall and precision of the labelled ones.
    """
    labelled = part.labelled
    counts = AlertCounts.of(labelled.fraud, said_by(chosen.policy, chosen.costs, labelled) > 0)
    return {
        "alert_rate": chosen.volume.alert_share,
        "decline_rate": chosen.volume.decline_share,
        "recall_at_review": counts.recall or 0.0,
        "precision_at_review": counts.precision or 0.0,
    }


def expected_volume(
    policy: Policy, costs: CostPolicy | None, part: ScoredPart, budget: AlertBudget | None
) -> ExpectedVolume:
    """Return the volume of a policy on a part, of at least one payment."""
    severity = said_by(policy, costs, part)
    alerts, days = severity > 0, part.occurred_ms // DAY_MS
    each = np.bincount((days - days[0])[alerts]) if alerts.any() else np.zeros(1, np.int64)
    return ExpectedVolume(
        since=format_time(int(part.occurred_ms[0])),
        until=format_time(int(part.occurred_ms[-1])),
        payments=len(part),
        review_share=float((severity == 1).mean()),
        decline_share=float((severity == 2).mean()),  # noqa: PLR2004 - as `said_by` says
        alerts_a_day=float(alerts.sum() / max(part.days, 1.0)),
        busiest_day=int(each.max()),
        budget=budget,
    )


def require_calibrated(costs: CostPolicy, otherwise: Policy, part: ScoredPart) -> None:
    """Refuse to decide by costs with scores of labelled payments that are no probabilities.

    Their log loss must be below that of the constant that every payment is fraud with the part's fraud rate, and among
    the alerts that the costs give, the expected calibration error must not exceed `LARGEST_ERROR` and what chance gives
    a calibrated model on as many alerts.

    Raises:
        UnusableModelError: they are none, or none of the payments has costs.
    """
    known = np.isin(part.currency, [code.encode() for code in costs.costs])
    if not known.any():
        stated = ", ".join(sorted(costs.costs))
        raise UnusableModelError(
            f"none of the payments that it is measured on is in {stated}, so nothing shows that costs are right for "
            "this model: state the costs of the currencies that occur, or give vectors with amount_minor and currency"
        )
    rate = float(part.fraud.mean())
    found, constant = log_loss(part.fraud, part.scores), log_loss(part.fraud, np.full(len(part), rate))
    if found >= constant:
        raise UnusableModelError(
            f"a policy by cost needs probabilities, and this model is not calibrated: its log loss is {found:.5f} on "
            f"{len(part):,} payments, and {constant:.5f} if it always said {rate:.3%}: {_CALIBRATE}"
        )
    alerts = said_by(otherwise, costs, part) > 0
    if alerts.any():
        _require_small_error(part.scores[alerts], part.fraud[alerts])


def _require_small_error(scores: Floats, fraud: NDArray[np.int8]) -> None:
    bins = int(np.clip(len(scores) // _ALERTS_IN_A_BIN, 1, _MOST_BINS))
    table = reliability(fraud, scores, equal_counts(scores, bins))
    error, chance = calibration_error(table) or 0.0, _error_by_chance(scores, bins)
    if error > LARGEST_ERROR + chance:
        expected, found = float(scores.sum()), int(fraud.sum())
        raise UnusableModelError(
            f"a policy by cost needs probabilities, and this model is not calibrated among its {len(scores):,} alerts: "
            f"they should hold {expected:.0f} frauds and hold {found}, the calibration error is {error:.3f}, at most "
            f"{LARGEST_ERROR:g} + {chance:.3f} by chance: {_CALIBRATE}"
        )


def _error_by_chance(scores: Floats, bins: int) -> float:
    """Return about the expected calibration error of n calibrated scores: E|N(0, s)| = s sqrt(2 / pi) in each bin."""
    parts = np.array_split(np.sort(scores), bins)
    return float(sum(np.sqrt(2 / np.pi * np.sum(one * (1 - one))) for one in parts) / len(scores))

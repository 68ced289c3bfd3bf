"""Our figures of alerts and rankings beside those of strikeone, a foreign evaluator, on the same exported scores.

strikeone (Apache 2.0, by another author) counts a card's first fraud as we do, from Nguyen et al. 2022. It runs in an
environment of its own, since it needs pandas, and reads a CSV. Where its figures are defined otherwise, the arguments
are chosen so that both mean the same:

- its budget of alerts is one for all days together, so ours gets one day; ours of each day is given to it as alerts;
- its card precision blocks nobody, ours blocks a found card for two weeks: here for one day, after which it is free;
- its costs have no fixed sum, and the amounts are whole hundreds so that ours round nothing.
"""

import csv
import json
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metrics.alerts import AlertCounts, ScoredRows, alerts_at_budget, first_frauds, first_hit_recall
from metrics.card_precision import card_precision
from metrics.columns import Bools, Floats, Ints
from metrics.money import CostMatrix, DecisionCode, MoneySums, PricedRows
from metrics.ranking import average_precision, roc_auc

SCRIPT = Path(__file__).with_name("strikeone_figures.py")
CARDS, DAYS, SEED = 1_200, 21, 32
BUDGETS = (5, 20, 50)
"""Alerts a day."""
DECLINE_SHARE_BP = 500
_DAY_S, _BEGIN_DAY = 86_400, 20_454
_COMPROMISED, _MOST_FRAUDS = 0.06, 6
_WITHIN_S = 60
"""The frauds of a card come within a minute, so that some have the same second."""
_TOLERANCE = 1e-9
_DECLINE_AT = 0.5
_NEVER_MINOR = 10**9
"""A review costs so much that reviewing everything is never the cheapest policy, which strikeone does not know."""


class ScoredCards(NamedTuple):
    """Payments of shape (n,) in the order of time: the card, seconds since 1970, minor units, the score, the truth."""

    card: Ints
    second: Ints
    amount_minor: Ints
    score: Floats
    fraud: Bools

    @property
    def day(self) -> Ints:
        """The UTC day as a number."""
        return self.second // _DAY_S


class Agreement(NamedTuple):
    """A figure by both."""

    figure: str
    ours: float
    theirs: float

    @property
    def is_equal(self) -> bool:
        """Whether they differ by rounding alone."""
        return abs(self.ours - self.theirs) <= _TOLERANCE


def draw_scored(random: np.random.Generator) -> ScoredCards:
    """Draw payments of which a compromised card has several frauds, some within the same second."""
    card = np.repeat(np.arange(CARDS), random.poisson(12, CARDS))
    bad = np.flatnonzero(random.random(CARDS) < _COMPROMISED)
    bad_card = np.repeat(bad, random.integers(1, _MOST_FRAUDS + 1, len(bad)))
    whole = DAYS * _DAY_S
    second = random.integers(whole, size=len(card))
    begins = random.integers(whole - _WITHIN_S, size=CARDS)
    bad_second = begins[bad_card] + random.integers(_WITHIN_S, size=len(bad_card))
    cards, seconds = np.concatenate((card, bad_card)), np.concatenate((second, bad_second))
    fraud = np.arange(len(cards)) >= len(card)
    score = 1 / (1 + np.exp(-random.normal(np.where(fraud, 0.5, -2.5), 1.5)))
    amount = random.integers(1, 500, len(cards)) * 100
    order = np.argsort(seconds, kind="stable")
    seconds += _BEGIN_DAY * _DAY_S
    return ScoredCards(cards[order], seconds[order], amount[order], score[order], fraud[order])


def export(scored: ScoredCards, file: Path) -> None:
    """Write a line for each payment, with whether it is an alert at each budget of alerts a day."""
    alerts = [alerts_at_budget(scored.day, scored.score, budget) for budget in BUDGETS]
    declined = scored.score >= _DECLINE_AT
    names = ("payment", *scored._fields, "day", "declined", *(f"alert_{budget}" for budget in BUDGETS))
    columns = (np.arange(len(scored.card)), *scored, scored.day, declined, *alerts)
    with file.open("w", encoding="utf-8", newline="") as written:
        writer = csv.writer(written)
        writer.writerow(names)
        for row in zip(*(column.tolist() for column in columns), strict=True):
            writer.writerow([int(value) if isinstance(value, bool) else value for value in row])


def our_figures(scored: ScoredCards) -> dict[str, float | None]:
    """Return the figures by the code of `fraudstream evaluate`, by name."""
    days, score, fraud = scored.day, scored.score, scored.fraud
    first = first_frauds(scored.card, scored.second * 1_000, fraud)
    found = {
        "cases: cards with fraud": float(first.sum()),
        "average precision": average_precision(fraud, score),
        "ROC AUC": roc_auc(fraud, score),
        "savings of declines": _savings(scored),
    }
    span_days = float(scored.second.max() - scored.second.min()) / _DAY_S
    rows = ScoredRows(days, scored.card, score, fraud)
    for budget in BUDGETS:
        of_day = alerts_at_budget(days, score, budget)
        of_all = alerts_at_budget(np.zeros(len(days), np.int64), score, int(budget * span_days))
        counts = AlertCounts.of(fraud, of_all)
        found |= {
            f"first-hit recall, {budget} a day": first_hit_recall(first, of_day),
            f"first-hit recall, {budget} a day in the mean": first_hit_recall(first, of_all),
            f"recall, {budget} a day in the mean": counts.recall,
            f"precision, {budget} a day in the mean": counts.precision,
            f"card precision, {budget} a day": card_precision(rows, budget, blocked_days=1).mean,
        }
    return found


def _savings(scored: ScoredCards) -> float | None:
    decisions = np.where(scored.score >= _DECLINE_AT, DecisionCode.DECLINE, DecisionCode.APPROVE)
    costs = CostMatrix(_NEVER_MINOR, 0, 0, DECLINE_SHARE_BP)
    return MoneySums.of(PricedRows(decisions, scored.fraud, scored.amount_minor), costs).savings


def compare_with_strikeone(python: Path) -> list[Agreement]:
    """Export simulated scores, let strikeone evaluate them with another Python, and compare the figures.

    Raises:
        RuntimeError: strikeone cannot be run with that Python.
    """
    scored = draw_scored(np.random.default_rng(SEED))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scores.csv"
        export(scored, file)
        theirs = _run(python, file)
    ours = our_figures(scored)
    return [Agreement(name, np.nan if (one := ours[name]) is None else one, theirs[name]) for name in ours]


def _run(python: Path, file: Path) -> dict[str, float]:
    """Return what strikeone computes of exported scores, by our names."""
    arguments = [str(python), str(SCRIPT), str(file), str(DECLINE_SHARE_BP), *map(str, BUDGETS)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603 - the user's own Python
    if done.returncode:
        raise RuntimeError(f"strikeone cannot be run by {python}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found

"""Verdicts whose pages have something in every part: cards by the hundred, of two models, with frauds and declines."""

import numpy as np

from fraudstream.ops.rollout.verdict.report import VerdictReport, judge_challenger
from fraudstream.ops.rollout.verdict.swaps import RowTimeReport
from fraudstream.ops.rollout.verdict.terms import VerdictOptions
from shadow.history import WorkerReports
from support.outcome_cases import Payment
from support.verdict_cases import OPTIONS, Compared, read_of

_FRAUD_SHARE = 0.1


def compared_world(cards: int, skill: float, seed: int = 1) -> list[Compared]:
    """Return payments of so many cards, of which the challenger finds the share `skill` of frauds, and live a half."""
    generator = np.random.default_rng(seed)
    found = []
    for card in range(cards):
        first = float(generator.uniform(0, 60))
        for place in range(int(generator.integers(1, 4))):
            fraud = bool(generator.random() < _FRAUD_SHARE)
            sides = tuple(
                _said(generator, hit if fraud else 0.02, "review" if place else "decline") for hit in (0.5, skill)
            )
            found.append(_compared(generator, (f"c-{card}", f"t-{card}-{place}"), (first + place, fraud), sides))
    return sorted(found, key=lambda one: one.payment.day)


def _said(generator: np.random.Generator, share: float, alert: str) -> str:
    return alert if generator.random() < share else "approve"


def _compared(
    generator: np.random.Generator, names: tuple[str, str], outcome: tuple[float, bool], sides: tuple[str, ...]
) -> Compared:
    (card, name), (day, fraud), (live, challenger) = names, outcome, sides
    lot = live == "decline" and generator.random() < _FRAUD_SHARE
    decided = "approve" if lot else live
    known = fraud and decided != "decline"
    score = 0.7 if live != "approve" else 0.05
    payment = Payment(
        card,
        day,
        live,
        decided,
        True if known else None,
        day + float(generator.exponential(6)),
        int(generator.integers(500, 90_000)),
        score,
        _FRAUD_SHARE if live == "decline" else None,
        name,
    )
    return Compared(payment, challenger, 0.8 if challenger != "approve" else 0.04)


def example(cards: int = 600, skill: float = 0.9, options: VerdictOptions = OPTIONS) -> VerdictReport:
    """Return the verdict on such a world, in which one worker measured the challenger."""
    compared = compared_world(cards, skill)
    read = read_of(compared, row_times=(RowTimeReport(21.5, "w-1"),), reports=WorkerReports())
    return judge_challenger(read, options)

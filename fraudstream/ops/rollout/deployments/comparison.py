"""The comparison of two deployments: their decisions about the same payments over a stretch of time.

Decisions are joined by the place of their transaction, in each partition between the first and the last that both sides
decided in the stretch: so a deployment that lags is compared on what it has decided, and its lag is told elsewhere.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.deployments.decision_columns import DECISIONS, ROW, Rows, collect_decisions
from metrics.drift import stability_of_scores
from metrics.money import amounts_by_currency, decision_pairs
from models.times import format_time
from stream.kafka.topics import SCORES, silent_scores
from stream.settings import Settings

MOST_COMPARED = 200_000
"""So many decisions of each deployment are read, the newest of the stretch."""
Floats = NDArray[np.float64]


class DecisionChange(msgspec.Struct, frozen=True):
    """Payments that the publishing deployment decided as `before`, and the silent one as `after`.

    `amounts` has their sum by currency, in minor units.
    """

    before: str
    after: str
    events: int
    amounts: dict[str, int]


class ScoreShift(msgspec.Struct, frozen=True):
    """How the scores of the silent deployment differ from the published ones, where both are numbers.

    `stability_index` is the population stability index over the deciles of the published scores: below 0.1 little
    has moved, above 0.25 much. All is None without a score on both sides.
    """

    scores: int
    mean: float | None = None
    mean_absolute: float | None = None
    largest: float | None = None
    stability_index: float | None = None


class DecisionTimes(msgspec.Struct, frozen=True):
    """Milliseconds from a transaction's timestamp to its decision: half, and 99 of 100, took no longer."""

    p50: float | None
    p99: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How the decisions of a silent deployment differ from those published since a time.

    `compared` payments were decided by both, the others between the first and the last that both decided by one.
    `changed` of those compared were decided differently. `passed_over` counts decisions of the time that were not
    read, since there are more than `MOST_COMPARED`.
    """

    since: str
    until: str
    published: str
    silent: str
    compared: int
    only_published: int
    only_silent: int
    passed_over: int
    changed: int
    changes: tuple[DecisionChange, ...]
    amounts: dict[str, int]
    changed_amounts: dict[str, int]
    scores: ScoreShift
    latency_published: DecisionTimes
    latency_silent: DecisionTimes

    def short(self) -> dict[str, Any]:
        """Return what belongs into the evidence of a command, which may not be large."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return facts | {"changes": facts["changes"][:_MOST_CHANGES]}


_MOST_CHANGES = 9
"""There are no more pairs of different decisions than 6; a later version may know more decisions."""


class TimeSpan(NamedTuple):
    """The time of a comparison, in epoch milliseconds."""

    since_ms: int
    until_ms: int


async def compare(published: Settings, silent: Settings, span: TimeSpan) -> Comparison:
    """Compare what two deployments decided since a time: `published` is that which publishes.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer, or the topic of a deployment is missing.
    """
    currencies = list[str]()
    # One after the other: the error of one would leave the other's connections open.
    theirs = await collect_decisions(
        silent, silent.topic(silent_scores(silent).name), span.since_ms, MOST_COMPARED, currencies
    )
    ours = await collect_decisions(published, published.topic(SCORES.name), span.since_ms, MOST_COMPARED, currencies)
    joined = join(ours.rows(), theirs.rows())
    names = (published.deployment, silent.deployment)
    return comparison_of(joined, currencies, names, span, max(ours.passed_over, theirs.passed_over))


class Joined(NamedTuple):
    """Decisions of both deployments, row by row about the same payment; and how many only one of them has."""

    published: Rows
    silent: Rows
    only_published: int
    only_silent: int


def join(published: Rows, silent: Rows) -> Joined:
    """Join decisions by partition and place, where both sides have decided; each is sorted by these."""
    pairs = [_join_partition(*_of(partition, published, silent)) for partition in np.unique(silent["partition"])]
    return Joined(
        np.concatenate([np.empty(0, ROW), *(pair.published for pair in pairs)]),
        np.concatenate([np.empty(0, ROW), *(pair.silent for pair in pairs)]),
        sum(pair.only_published for pair in pairs),
        sum(pair.only_silent for pair in pairs),
    )


def _of(partition: int, *sides: Rows) -> list[Rows]:
    return [rows[rows["partition"] == partition] for rows in sides]


def _join_partition(published: Rows, silent: Rows) -> Joined:
    """Join the decisions of one partition between the first and the last that both sides have reached."""
    if not len(published) or not len(silent):
        return Joined(published[:0], silent[:0], 0, 0)
    low = max(published["place"][0], silent["place"][0])
    high = min(published["place"][-1], silent["place"][-1])
    left, right = (rows[(rows["place"] >= low) & (rows["place"] <= high)] for rows in (published, silent))
    _, at_left, at_right = np.intersect1d(left["place"], right["place"], assume_unique=True, return_indices=True)
    return Joined(left[at_left], right[at_right], len(left) - len(at_left), len(right) - len(at_right))


def comparison_of(
    joined: Joined, currencies: Sequence[str], names: tuple[str, str], span: TimeSpan, passed_over: int
) -> Comparison:
    """Return the figures of joined decisions; `names` are the deployment that publishes and the silent one."""
    published, silent, only_published, only_silent = joined
    differs = published["decision"] != silent["decision"]
    return Comparison(
        since=format_time(span.since_ms),
        until=format_time(span.until_ms),
        published=names[0],
        silent=names[1],
        compared=len(published),
        only_published=only_published,
        only_silent=only_silent,
        passed_over=passed_over,
        changed=int(differs.sum()),
        changes=_changes(published[differs], silent[differs], currencies),
        amounts=_amounts(published, currencies),
        changed_amounts=_amounts(published[differs], currencies),
        scores=score_shift(published["score"], silent["score"]),
        latency_published=_times(published["latency_ms"]),
        latency_silent=_times(silent["latency_ms"]),
    )


def _changes(published: Rows, silent: Rows, currencies: Sequence[str]) -> tuple[DecisionChange, ...]:
    """Return the pairs of different decisions, the most frequent first."""
    found = [
        DecisionChange(DECISIONS[before], DECISIONS[after], int(chosen.sum()), _amounts(published[chosen], currencies))
        for before, after, chosen in decision_pairs(published["decision"], silent["decision"])
    ]
    return tuple(sorted(found, key=lambda change: -change.events))


def _amounts(rows: Rows, currencies: Sequence[str]) -> dict[str, int]:
    return amounts_by_currency(rows["currency"], rows["amount_minor"], currencies)


def score_shift(published: Floats, silent: Floats) -> ScoreShift:
    """Return how scores differ, row by row and as distributions; NaN stands for no score."""
    both = ~(np.isnan(published) | np.isnan(silent))
    if not both.any():
        return ScoreShift(0)
    before, after = published[both], silent[both]
    difference = after - before
    return ScoreShift(
        len(before),
        float(difference.mean()),
        float(np.abs(difference).mean()),
        float(np.abs(difference).max()),
        stability_of_scores(before, after),
    )


def _times(latencies_ms: NDArray[np.int64]) -> DecisionTimes:
    if not len(latencies_ms):
        return DecisionTimes(None, None)
    p50, p99 = np.quantile(latencies_ms, (0.5, 0.99)).tolist()
    return DecisionTimes(p50, p99)

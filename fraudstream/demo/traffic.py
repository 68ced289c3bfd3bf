"""The simulated transactions and labels as records to publish: the last days of the history, then the live ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import msgspec
import numpy as np

from fraudstream.demo.plan import DemoPlan
from fraudstream.demo.world.rows import DAY_MS, Pattern
from fraudstream.demo.world.world import Plan, World, simulate
from fraudstream.demo.world.writing import labels, live
from fraudstream.lab.dataset.injector import ScheduledRecord
from models.times import format_time
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.settings import Settings

_encode = msgspec.json.Encoder().encode


def simulate_plan(plan: DemoPlan, now_ms: int) -> World:
    """Simulate the plan's population: history and live days, the last of them before today's midnight in UTC."""
    days = Plan.ending_before(now_ms, plan.history_days, plan.live_days)
    simulated = replace(days, cards=plan.cards, merchants=plan.merchants, fraud_share=plan.fraud_share)
    return simulate(np.random.default_rng(plan.seed), simulated)


def as_of(world: World, days_before: int) -> World:
    """Return the same world with its history cut so many days earlier, with the labels known then."""
    history_days = world.plan.history_days - days_before
    plan = replace(world.plan, history_days=history_days, live_days=world.plan.live_days + days_before)
    return replace(world, plan=plan, cut=int(np.searchsorted(world.rows.occurred_ms, plan.live_start_ms)))


def until_transaction(items: Iterator[ScheduledRecord], count: int) -> Iterator[ScheduledRecord]:
    """Yield items up to and including `count` transactions; labels between them are not counted."""
    for item in items:
        yield item
        count -= not item.shares_slot
        if count <= 0:
            return


class Traffic:
    """What is published, in order; `patterns` has the truth about each transaction that has been yielded."""

    def __init__(self, world: World, plan: DemoPlan, settings: Settings) -> None:
        """Begin `plan.warm_days` before the end of the history."""
        self.patterns: dict[str, Pattern] = {}
        self.simulated_at = ""
        """When the last yielded transaction occurred, in simulated time."""
        self.labels = 0
        """How many labels have been yielded."""
        self._world = world
        self._transactions, self._labels = settings.topic(TRANSACTIONS.name), settings.topic(LABELS.name)
        begin = as_of(world, plan.warm_days)
        self.warm_count = world.cut - begin.cut
        self._begin_ms = begin.plan.live_start_ms
        self._stream = live(begin)

    def warm(self) -> Iterator[ScheduledRecord]:
        """Yield the transactions of the last days of the history."""
        for entry in islice(self._stream, self.warm_count):
            yield self._transaction(entry.transaction, entry.pattern)

    def warm_labels(self) -> Iterator[ScheduledRecord]:
        """Yield the labels that were known of them by the end of the history."""
        return self._reports(self._begin_ms, self._world.plan.live_start_ms)

    def live(self) -> Iterator[ScheduledRecord]:
        """Yield the live transactions; each label follows the first transaction after its report."""
        start_ms = self._world.plan.live_start_ms
        reports = labels(self._world, start_ms, start_ms + self._world.plan.live_days * DAY_MS)
        report = next(reports, None)
        for entry in self._stream:
            yield self._transaction(entry.transaction, entry.pattern)
            while report is not None and report["labelled_at"] <= entry.transaction["occurred_at"]:
                if self._is_on_topic(report["occurred_at"]):
                    yield self._label(report)
                report = next(reports, None)

    def _reports(self, from_ms: int, until_ms: int) -> Iterator[ScheduledRecord]:
        for report in labels(self._world, from_ms, until_ms):
            if self._is_on_topic(report["occurred_at"]):
                yield self._label(report)

    def _is_on_topic(self, occurred_at: str) -> bool:
        """Tell whether a transaction of this time was published; the texts have the same length and zone."""
        return occurred_at >= format_time(self._begin_ms)

    def _transaction(self, transaction: dict[str, object], pattern: Pattern) -> ScheduledRecord:
        name = str(transaction["transaction_id"])
        self.patterns[name] = pattern
        self.simulated_at = str(transaction["occurred_at"])
        return ScheduledRecord(self._transactions, str(transaction["card_id"]).encode(), _encode(transaction), name)

    def _label(self, report: dict[str, object]) -> ScheduledRecord:
        self.labels += 1
        return ScheduledRecord(self._labels, str(report["card_id"]).encode(), _encode(report), "", shares_slot=True)

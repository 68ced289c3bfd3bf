"""Read a deployment's decisions and their labels from the topics of scores and of outcomes, as columns.

Both are read as streams. What is kept of a payment takes some 90 bytes; a share of the cards can be read instead of
all, always the same ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.outcomes.columns import (
    MOST_ROWS,
    ColumnNames,
    PaymentCollector,
    PaymentRows,
    ValidPayment,
    joined,
    last_of_each,
)
from fraudstream.ops.rollout.outcomes.labels import LabelCollector, LabelRows
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS, MATURITY_DAYS
from fraudstream_client.arms import WHOLE_BP
from stream.kafka.topics import OUTCOMES, SCORES, decision_topics
from stream.readers import read_scores
from stream.scan import EARLIER_SCORES, scan_topic
from stream.settings import Settings

Progress = Callable[[str, float], None]
"""Called with the topic that is read, and the share of it that has been."""
Choice = Callable[[ValidPayment], bool]
"""Tells whether a report is about a decision."""
_EARLIER_MATURITIES = 2
"""Labels are read from so many times the maturity before the stretch, for the maturity curve."""


class ReadingScope(NamedTuple):
    """What is read.

    Attributes:
        since_ms: decisions from then on, by their Kafka timestamps.
        maturity_days: how long before that labels are read, twice.
        cards_bp: of this share of the cards, in 0.01 %; see `fraudstream.ops.rollout.outcomes.labels.is_sampled`.
        most: so many payments at most.
        published_only: whether silent decisions are left out: what came of a payment is not their doing.
    """

    since_ms: int
    maturity_days: float = MATURITY_DAYS
    cards_bp: int = WHOLE_BP
    most: int = MOST_ROWS
    published_only: bool = False

    @property
    def labels_since_ms(self) -> int:
        """From when on labels are read, by their Kafka timestamps."""
        return max(0, self.since_ms - round(_EARLIER_MATURITIES * self.maturity_days * DAY_MS))


class ReadPayments(NamedTuple):
    """What was read.

    Attributes:
        rows: the payments that were chosen, with their labels; one for each, by card and time.
        names: what their indexes stand for.
        labels: the label that counts of each payment, chosen or not.
        latest_ms: the time of the latest payment or label of the deployment that was read; 0 if none was.
        void: void scores that were read.
    """

    rows: PaymentRows
    names: ColumnNames
    labels: LabelRows
    latest_ms: int
    void: int


async def read_payments(
    settings: Settings, stretch: ReadingScope, choose: Choice, progress: Progress = lambda _topic, _share: None
) -> ReadPayments:
    """Read the decisions of the settings' deployment that a report is about, and join the labels.

    Around a hand-over, a payment may be decided silently and again on `scores`; what is on `scores` counts.

    Raises:
        ReportError: the payments are too many.
        aiokafka.errors.KafkaError: the brokers do not answer, or a topic is missing.
    """
    decisions = DecisionReader(settings, stretch, choose)
    for topic in [settings.topic(SCORES.name)] if stretch.published_only else await decision_topics(settings):
        await decisions.read(topic, progress)
    labels, topic = LabelCollector(settings.deployment, stretch.cards_bp), settings.topic(OUTCOMES.name)
    async with scan_topic(settings, topic, stretch.labels_since_ms) as outcomes:
        async for records, share in outcomes.read():
            labels.add(record.value for record in records)
            progress(topic, share)
    known = labels.rows()
    latest_ms = max(decisions.latest_ms, int(known["labelled_ms"].max(initial=0)))
    return ReadPayments(joined(decisions.rows(), known), decisions.names, known, latest_ms, decisions.void)


class DecisionReader:
    """Reads the decisions of a deployment, topic by topic: its silent ones first, then those on `scores`."""

    def __init__(self, settings: Settings, stretch: ReadingScope, choose: Choice) -> None:
        self.names = ColumnNames()
        self.latest_ms = 0
        self.void = 0
        self._settings = settings
        self._stretch = stretch
        self._choose = choose
        self._parts: list[PaymentRows] = []

    async def read(self, topic: str, progress: Progress) -> None:
        """Read a topic of scores.

        Raises:
            ReportError: the payments are too many.
            aiokafka.errors.KafkaError: the brokers do not answer, or the topic is missing.
        """
        stretch, before = self._stretch, sum(map(len, self._parts))
        collector = PaymentCollector(self._settings.deployment, self.names, stretch.cards_bp, stretch.most - before)
        published: list[int] = []
        async with scan_topic(self._settings, topic, stretch.since_ms, EARLIER_SCORES) as scan:
            async for records, share in scan.read():
                valid = collector.valid(read_scores(records), scan.first[records[0].partition]) if records else []
                self.latest_ms = max([self.latest_ms, *(one.occurred_ms for one in valid)])
                collector.keep(one for one in valid if self._choose(one))
                if before and topic == self._settings.topic(SCORES.name):
                    published += [one.payment for one in valid]
                progress(topic, share)
        self._supersede(np.array(published, np.uint64))
        self._parts.append(collector.rows())
        self.void += collector.void

    def _supersede(self, published: NDArray[np.uint64]) -> None:
        """Remove silent decisions about payments that the deployment has published decisions about."""
        if len(published):
            self._parts = [part[~np.isin(part["payment"], published)] for part in self._parts]

    def rows(self) -> PaymentRows:
        """Return the chosen decisions, one for each payment, by card and time."""
        return (
            last_of_each(np.concatenate(self._parts)) if self._parts else PaymentCollector("", ColumnNames(), 0).rows()
        )

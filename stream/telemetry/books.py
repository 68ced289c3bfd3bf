"""From facts to sums: what has been counted in this process, for whoever asks.

Everything is added up once a batch in plain Python; `meters` hands the sums to OpenTelemetry when it asks for them.
Nothing here knows OpenTelemetry.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import assert_never

from features.history.store import LabelStatus
from models.policy import Decision
from stream.clock import Stage
from stream.contract.codes import DeadLetterCode
from stream.contract.outputs import DecidedBy
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.scoring.encode import HISTORY_INCOMPLETE, Scored
from stream.scoring.facts import Compared, Decided, Fact, LabelsApplied, Missed, Reapplied, Retried, VoidFound
from stream.scoring.score import LIVE_MODEL_FAILED, NO_MODEL
from stream.settings import Settings
from stream.telemetry.catalogue import CATALOGUE, MetricName
from stream.telemetry.kinds import Kind
from stream.telemetry.tallies import Tally

Values = tuple[str, ...]
"""The values of a metric's attributes, in the catalogue's order."""


Gauges = Mapping[MetricName, Callable[[], Mapping[Values, float]]]
"""What each gauge shows now, and each counter that a part of the worker keeps itself, by the values of its attributes.

Asked by whatever thread collects: it must only read."""


class Books:
    """The sums of one process. Counters that can be named beforehand stand at 0, so that their first step is seen."""

    def __init__(self, settings: Settings) -> None:
        self._deadline_ms = settings.deadline_ms
        self._transactions = settings.topic(TRANSACTIONS.name)
        self._labels = settings.topic(LABELS.name)
        self._counts: dict[MetricName, Counter[Values]] = {
            name: Counter() for name, metric in CATALOGUE.items() if metric.kind is Kind.COUNTER
        }
        self._tallies: dict[MetricName, dict[Values, Tally]] = {
            name: {} for name, metric in CATALOGUE.items() if metric.kind is Kind.HISTOGRAM
        }
        for name, values in _known(self._transactions, self._labels):
            self._counts[name][values] = 0

    def tell(self, fact: Fact) -> None:
        """Count a fact."""
        match fact:
            case Decided():
                self._decided(fact)
            case LabelsApplied():
                self._labelled(fact)
            case Compared():
                self._compared(fact)
            case Retried():
                self._counts["fraudstream.retries"][fact.topic, fact.error] += 1
            case VoidFound():
                self._counts["fraudstream.void_scores"][()] += fact.count
            case Reapplied():
                self._counts["fraudstream.history.reapplied"][(fact.topic,)] += fact.count
            case Missed():
                self._counts["fraudstream.shadow.missed"][(fact.reason,)] += fact.count
            case _:
                assert_never(fact)

    def counted(self, name: MetricName) -> Mapping[Values, int]:
        """Return a counter's sums."""
        return self._counts[name].copy()

    def tallied(self, name: MetricName) -> Mapping[Values, Tally]:
        """Return a histogram's tallies."""
        return self._tallies[name].copy()

    def _decided(self, fact: Decided) -> None:
        counts, scored = self._counts, fact.scored
        self._dead(fact)
        self._stages(fact.stages)
        counts["fraudstream.repeated"][()] += fact.repeated
        counts["fraudstream.unknown_fields"][(self._transactions,)] += fact.unknown
        if not len(scored):
            return
        counts["fraudstream.decisions"].update((one.decision, one.decided_by) for one in scored.judgements)
        counts["fraudstream.degraded"].update((reason,) for one in scored.judgements for reason in one.degraded)
        counts["fraudstream.dropped_fields"].update((field,) for fields in scored.dropped for field in fields)
        amounts = counts["fraudstream.decided.amount"]
        for judgement, transaction in zip(scored.judgements, scored.transactions, strict=True):
            amounts[transaction.currency, judgement.decision] += transaction.amount_minor
        self._tally("fraudstream.batch.size").add([len(scored)])
        self._latencies(scored)

    def _latencies(self, scored: Scored) -> None:
        """Count latencies, and what was late in events and money; a producer's clock that is ahead makes none below 0.

        A batch whose slowest is in time has no late one.
        """
        self._tally("fraudstream.latency").add([max(0, ms) / 1000 for ms in scored.latencies_ms])
        if max(scored.latencies_ms) <= self._deadline_ms:
            return
        missed = self._counts["fraudstream.deadline.missed_amount"]
        for ms, transaction in zip(scored.latencies_ms, scored.transactions, strict=True):
            if ms > self._deadline_ms:
                self._counts["fraudstream.deadline.misses"][()] += 1
                missed[(transaction.currency,)] += transaction.amount_minor

    def _labelled(self, fact: LabelsApplied) -> None:
        self._dead(fact)
        self._counts["fraudstream.labels"].update((status.value,) for status in fact.statuses)
        self._counts["fraudstream.unknown_fields"][(self._labels,)] += fact.unknown

    def _compared(self, fact: Compared) -> None:
        counts = self._counts
        counts["fraudstream.shadow.compared"][()] += len(fact.live)
        self._tally("fraudstream.shadow.score_shift").add(fact.shifts)
        decided = zip(fact.live, fact.challenger, fact.amounts_minor, fact.currencies, strict=True)
        for live, challenger, amount_minor, currency in decided:
            if live is not challenger:
                counts["fraudstream.shadow.decisions_changed"][live, challenger] += 1
                counts["fraudstream.shadow.changed_amount"][currency, live, challenger] += amount_minor

    def _dead(self, fact: Decided | LabelsApplied) -> None:
        if fact.dead:
            self._counts["fraudstream.dead_letters"].update((one.record.topic, one.code) for one in fact.dead)

    def _stages(self, stages: Iterable[Stage]) -> None:
        for stage in stages:
            self._tally("fraudstream.stage.duration", stage.name).add([(stage.end_ns - stage.start_ns) / 1e9])

    def _tally(self, name: MetricName, *values: str) -> Tally:
        tallies = self._tallies[name]
        tally = tallies.get(values)
        if tally is None:
            tally = tallies[values] = Tally(CATALOGUE[name].bounds)
        return tally


def _known(transactions: str, labels: str) -> Iterator[tuple[MetricName, Values]]:
    """Name the series that can be named before anything happens."""
    plain = (name for name, metric in CATALOGUE.items() if metric.kind is Kind.COUNTER and not metric.attributes)
    yield from ((name, ()) for name in plain)
    yield from (("fraudstream.decisions", pair) for pair in product(Decision, DecidedBy))
    yield from (("fraudstream.dead_letters", pair) for pair in product((transactions, labels), DeadLetterCode))
    yield from (("fraudstream.degraded", (reason,)) for reason in (HISTORY_INCOMPLETE, LIVE_MODEL_FAILED, NO_MODEL))
    yield from (("fraudstream.history.reapplied", (topic.name,)) for topic in (TRANSACTIONS, LABELS))
    yield from (("fraudstream.labels", (status.value,)) for status in LabelStatus)
    yield from (("fraudstream.unknown_fields", (topic,)) for topic in (transactions, labels))
    yield from (("fraudstream.shadow.missed", (reason,)) for reason in ("skipped", "failed"))

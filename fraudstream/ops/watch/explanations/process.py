"""The loop of `fraudstream explain`: read alerts, load their models, explain, publish, commit.

A commit follows the acknowledged write of what it covers. So each alert has an explanation, and one that is written
twice, after a crash or a rebalance, says the same but for the time.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

from features.reasons import ReasonTable
from fraudstream.ops.folds.run import LoopTerms, note_trouble, run_fold
from fraudstream.ops.watch.explanations.alerts import Alert, ReadPart, ReadProgress
from fraudstream.ops.watch.explanations.explain import explain
from fraudstream.ops.watch.explanations.first_look import require_features_of
from fraudstream.ops.watch.explanations.gauges import ExplanationGauges
from fraudstream.ops.watch.explanations.models import ModelShelf
from fraudstream.ops.watch.explanations.reader import AlertReader, group_of
from fraudstream.ops.watch.explanations.writes import ExplainedPart, ExplanationWrites
from fraudstream_client.validity import trace_headers
from models.loading import Model
from stream.clock import now_ms
from stream.control.trusted_models import trusted_repository
from stream.engine.publisher import Publisher
from stream.engine.tracing import Attributes, OperationTracing, kafka_attributes
from stream.kafka.topics import EXPLANATIONS, SCORES
from stream.scoring.facts import AlertsExplained, FactListener, VoidFound
from stream.settings import Settings

log = logging.getLogger("fraudstream.explanations")

_WAIT_MS = 50
_SLICE = 64
"""So many alerts are explained and written together: half a second of TreeSHAP on a large model."""


class _AlertSlice(NamedTuple):
    """Alerts that are explained together, by partition, and the models of those that a model decided."""

    taken: Mapping[int, Sequence[Alert]]
    models: Mapping[str, Model]

    @property
    def alerts(self) -> list[Alert]:
        """All of them, partition by partition."""
        return [alert for some in self.taken.values() for alert in some]


class AlertExplainer:
    """Explains a deployment's alerts until it is told to stop.

    Args:
        settings: the deployment's.
        table: the reason codes.
        since_ms: from when alerts are explained where nothing was; None: all that are still there.
        emit: is told of what was explained.
        operations: traces each alert in the trace of its payment.

    Attributes:
        gauges: what its metrics show.
        trouble: why it does not explain now, in words; None if it does.
    """

    def __init__(
        self,
        settings: Settings,
        table: ReasonTable,
        since_ms: int | None,
        emit: FactListener,
        operations: OperationTracing,
    ) -> None:
        self.gauges = ExplanationGauges()
        self.trouble: str | None = "it has not joined its group yet"
        self._settings = settings
        self._table = table
        self._since_ms = since_ms
        self._emit = emit
        self._operations = operations
        self._shelf = ModelShelf(trusted_repository(settings))
        self._publisher = Publisher(settings)
        self._writes = ExplanationWrites(self._publisher, settings.topic(EXPLANATIONS.name))
        self._waiting: dict[int, ReadPart] = {}
        self._done: dict[int, ReadProgress] = {}
        self._number = -1
        self._looked = False
        self._reader: AlertReader | None = None
        self._terms = LoopTerms(
            log,
            "alerts are not explained",
            "alerts are explained",
            retry_seconds=1.0,
            keep_seconds=settings.commit_interval,
            troubles=(),
        )
        self._stopping = False

    def stop(self) -> None:
        """End after the alerts in work."""
        self._stopping = True

    def reasons(self) -> list[str]:
        """Return why it cannot explain all alerts now; empty if it can."""
        missing = [f"alerts of model {digest[:12]} wait: {why}" for digest, why in self._shelf.missing.items()]
        return [*([] if self.trouble is None else [self.trouble]), *missing]

    async def run(self) -> None:
        """Explain until `stop`; where Kafka does not answer, or refuses, try again.

        Raises:
            SettingsError: the alerts of the deployment carry no features.
        """
        try:
            await run_fold(self._settings, self, self._terms, lambda: self._stopping)
        finally:
            self._writes.drop()
            await self._publisher.stop()

    async def connect(self, stack: AsyncExitStack) -> AlertReader:
        """Connect; `stack` disconnects.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
        """
        self._begin_anew(-1)
        await self._publisher.start()
        self._reader = await stack.enter_async_context(AlertReader(self._settings, self._since_ms, lambda: self._done))
        return self._reader

    def _begin_anew(self, number: int) -> None:
        """Forget what waits: it belongs to another process now, or is read again from the commits."""
        self._number, self._waiting, self._done = number, {}, {}
        self._writes.drop()

    async def turn(self, reader: AlertReader) -> bool:
        """Read what is new, and explain some of what waits; return whether all that was explained is written."""
        if not self._looked and reader.membership.own:
            require_features_of(self._settings, await reader.look_ahead())
            self._looked = reader.number == reader.membership.number
        piece = await self._next_slice()
        fetched = await reader.fetch(0 if piece.taken else _WAIT_MS, self._waiting.keys())
        if reader.number != self._number:
            self._begin_anew(reader.number)
            piece = _AlertSlice({}, {})
        self._waiting |= fetched
        for partition, count in reader.take_void().items():
            self._emit(VoidFound(partition, count))
        written = await self._writes.write(await self._explained(piece))
        self._finish(written)
        self._advance(written)
        self.gauges.show(reader.lag, self._waiting, reader.lost, reader.unreadable)
        if self._writes.failures:
            note_trouble(self, self._terms, "; ".join(why for _, why in sorted(self._writes.failures.items())))
        return reader.is_settled and not self._writes.failures

    async def keep(self) -> None:
        """Commit how far it has explained.

        Raises:
            aiokafka.errors.KafkaError: the coordinator does not respond.
        """
        if self._reader is not None:
            await self._reader.commit(self._done)
            self._done = {}

    async def _next_slice(self) -> _AlertSlice:
        """Take the first alerts that wait in each partition that may be written, up to one whose model is not here."""
        free = {number: part.alerts for number, part in self._waiting.items() if self._writes.may_write(number)}
        share = max(1, _SLICE // max(1, len(free)))
        first = {number: alerts[:share] for number, alerts in free.items()}
        wanted = {
            alert.score.model.digest for some in first.values() for alert in some if alert.score.model is not None
        }
        self._shelf.forget_missing(wanted)
        models = await self._shelf.models(wanted)
        taken = {number: _until_missing(some, models) for number, some in first.items()}
        return _AlertSlice({number: some for number, some in taken.items() if some}, models)

    async def _explained(self, piece: _AlertSlice) -> dict[int, ExplainedPart]:
        """Explain a slice, and begin the trace of each alert."""
        if not piece.taken:
            return {}
        traces = [self._operations.begin("explain", trace_headers(alert.headers)) for alert in piece.alerts]
        scores = [alert.score for alert in piece.alerts]
        try:
            found = await asyncio.to_thread(explain, self._table, scores, piece.models, now_ms())
        except BaseException as error:
            for trace in traces:
                trace.failed(type(error).__name__)
            raise
        parts, at = dict[int, ExplainedPart](), 0
        for number, some in piece.taken.items():
            parts[number] = ExplainedPart(some, found[at : at + len(some)], traces[at : at + len(some)])
            at += len(some)
        return parts

    def _finish(self, written: Mapping[int, ExplainedPart]) -> None:
        """Tell of explanations that are written."""
        if not written:
            return
        at_ms = now_ms()
        delays_ms = [max(0, at_ms - alert.written_ms) for part in written.values() for alert in part.alerts]
        outcomes = [one.outcome for part in written.values() for one in part.found]
        self._emit(AlertsExplained(outcomes, delays_ms))
        for part in written.values():
            self._end_traces(part, len(outcomes))

    def _end_traces(self, part: ExplainedPart, batch_size: int) -> None:
        shared = kafka_attributes("process", self._settings.topic(SCORES.name))
        for alert, one, trace in zip(part.alerts, part.found, part.traces, strict=True):
            model: Attributes = (
                {} if one.explanation.digest is None else {"fraudstream.model.digest": one.explanation.digest}
            )
            own: Attributes = {
                "messaging.destination.partition.id": str(alert.score.source.partition),
                "messaging.kafka.offset": alert.before.offset,
                "messaging.consumer.group.name": group_of(self._settings),
                "fraudstream.batch.size": batch_size,
                "fraudstream.outcome": one.outcome.value,
            }
            trace.done(shared | model | own)

    def _advance(self, written: Mapping[int, ExplainedPart]) -> None:
        """Note how far each partition is: up to its first alert that is not known to be written."""
        for number, part in list(self._waiting.items()):
            if number in written:
                del part.alerts[: len(written[number].alerts)]
            self._done[number] = part.alerts[0].before if part.alerts else part.after
            if not part.alerts:
                del self._waiting[number]


def _until_missing(alerts: Sequence[Alert], models: Mapping[str, Model]) -> Sequence[Alert]:
    """Return the first alerts, up to one whose model is not here: explanations come in the order of the scores."""
    missing = (
        at for at, one in enumerate(alerts) if one.score.model is not None and one.score.model.digest not in models
    )
    return alerts[: next(missing, len(alerts))]

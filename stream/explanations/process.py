"""The loop of `fraudstream explain`: read alerts, load their models, explain, publish, commit.

A commit follows the acknowledged write of what it covers. So each alert has an explanation, and one that is written
twice, after a crash or a rebalance, says the same but for the time.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from aiokafka.errors import KafkaError

from features.reason_codes import VERSION
from features.reasons import ReasonTable
from models.loading import Model
from stream.clock import now_ms
from stream.consumer import trace_headers
from stream.control.trusted_models import trusted_repository
from stream.errors import PublishError
from stream.explanations.alerts import Alert, ReadPart, ReadProgress
from stream.explanations.explain import Explained, explain
from stream.explanations.first_look import require_features_of
from stream.explanations.gauges import ExplanationGauges
from stream.explanations.models import ModelShelf
from stream.explanations.reader import AlertReader, group_of
from stream.kafka.client import explain_error
from stream.kafka.publisher import Destination, Outgoing, Publisher
from stream.kafka.stray import given_up_as_error
from stream.kafka.topics import EXPLANATIONS, SCORES
from stream.kafka.tracing import Attributes, OperationTrace, OperationTracing, kafka_attributes
from stream.scoring.facts import AlertsExplained, FactListener, VoidFound
from stream.settings import Settings

log = logging.getLogger("fraudstream.explanations")

CODES_HEADER = "reason-codes"
"""The header of an explanation that says by which version of the table of codes it was made."""
_WAIT_MS = 50
_RETRY_SECONDS = 1.0
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
        self._topic = settings.topic(EXPLANATIONS.name)
        self._shelf = ModelShelf(trusted_repository(settings))
        self._publisher = Publisher(settings)
        self._waiting: dict[int, ReadPart] = {}
        self._done: dict[int, ReadProgress] = {}
        self._number = -1
        self._looked = False
        self._commit_at = 0.0
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
            while not self._stopping:
                try:
                    await self._connected()
                except KafkaError as error:
                    self._note_trouble(await explain_error(self._settings, error))
                    await asyncio.sleep(_RETRY_SECONDS)
        finally:
            await self._publisher.stop()

    def _note_trouble(self, said: str) -> None:
        if said != self.trouble:
            log.warning("alerts are not explained, retrying: %s", said)
        self.trouble = said

    async def _connected(self) -> None:
        self._waiting, self._done, self._number = {}, {}, -1
        with given_up_as_error():
            await self._publisher.start()
            async with AlertReader(self._settings, self._since_ms) as reader:
                while not self._stopping:
                    await self._turn(reader)
                await reader.commit(self._done)

    async def _turn(self, reader: AlertReader) -> None:
        """Read what is new, and explain some of what waits."""
        if not self._looked and reader.membership.own:
            require_features_of(self._settings, await reader.look_ahead())
            self._looked = reader.number == reader.membership.number
        piece = await self._next_slice()
        fetched = await reader.fetch(0 if piece.taken else _WAIT_MS, self._waiting.keys())
        if reader.number != self._number:  # what waited belongs to another process now, or is read again
            self._number, self._waiting, self._done, piece = reader.number, {}, {}, _AlertSlice({}, {})
        self._waiting |= fetched
        for partition, count in reader.take_void().items():
            self._emit(VoidFound(partition, count))
        try:
            await self._explain(piece)
            await self._commit(reader)
        except PublishError as error:
            self._note_trouble(str(error))
            await asyncio.sleep(_RETRY_SECONDS)
            return
        if self.trouble is not None and reader.is_settled:
            log.info("alerts are explained")
            self.trouble = None
        self.gauges.show(reader.lag, self._waiting, reader.lost)

    async def _next_slice(self) -> _AlertSlice:
        """Take the first alerts that wait in each partition, up to the first one whose model is not here."""
        share = max(1, _SLICE // max(1, len(self._waiting)))
        first = {number: part.alerts[:share] for number, part in self._waiting.items()}
        wanted = {
            alert.score.model.digest for some in first.values() for alert in some if alert.score.model is not None
        }
        self._shelf.forget_missing(wanted)
        models = await self._shelf.models(wanted)
        taken = {number: _until_missing(some, models) for number, some in first.items()}
        return _AlertSlice({number: some for number, some in taken.items() if some}, models)

    async def _explain(self, piece: _AlertSlice) -> None:
        """Explain and publish a slice, and note how far each partition is.

        Raises:
            PublishError: not all explanations were acknowledged; the slice still waits.
        """
        if piece.taken:
            scores = [alert.score for alert in piece.alerts]
            traces = [self._operations.begin("explain", trace_headers(alert.headers)) for alert in piece.alerts]
            try:
                found = await asyncio.to_thread(explain, self._table, scores, piece.models, now_ms())
                await self._publish(piece, found, traces)
            except BaseException as error:
                for trace in traces:
                    trace.failed(type(error).__name__)
                raise
            self._finish(piece, found, traces)
        self._advance(piece)

    async def _publish(self, piece: _AlertSlice, found: Sequence[Explained], traces: Sequence[OperationTrace]) -> None:
        written = iter(zip(piece.alerts, found, traces, strict=True))
        outputs: dict[Destination, list[Outgoing]] = {}
        for number, some in piece.taken.items():
            outputs[self._topic, number] = [_outgoing(*next(written)) for _ in some]
        await self._publisher.publish(outputs)

    def _finish(self, piece: _AlertSlice, found: Sequence[Explained], traces: Sequence[OperationTrace]) -> None:
        """Tell of explanations that are written."""
        at_ms = now_ms()
        delays_ms = [max(0, at_ms - alert.written_ms) for alert in piece.alerts]
        self._emit(AlertsExplained([one.outcome for one in found], delays_ms))
        shared = kafka_attributes("process", self._settings.topic(SCORES.name))
        for alert, one, trace in zip(piece.alerts, found, traces, strict=True):
            model: Attributes = (
                {} if one.explanation.digest is None else {"fraudstream.model.digest": one.explanation.digest}
            )
            own: Attributes = {
                "messaging.destination.partition.id": str(alert.score.source.partition),
                "messaging.kafka.offset": alert.before.offset,
                "messaging.consumer.group.name": group_of(self._settings),
                "fraudstream.batch.size": len(found),
                "fraudstream.outcome": one.outcome.value,
            }
            trace.done(shared | model | own)

    def _advance(self, piece: _AlertSlice) -> None:
        """Note how far each partition is."""
        for number, part in list(self._waiting.items()):
            del part.alerts[: len(piece.taken.get(number, ()))]
            self._done[number] = part.alerts[0].before if part.alerts else part.after
            if not part.alerts:
                del self._waiting[number]

    async def _commit(self, reader: AlertReader) -> None:
        now = asyncio.get_running_loop().time()
        if self._done and now >= self._commit_at:
            await reader.commit(self._done)
            self._done, self._commit_at = {}, now + self._settings.commit_interval


def _until_missing(alerts: Sequence[Alert], models: Mapping[str, Model]) -> Sequence[Alert]:
    """Return the first alerts, up to one whose model is not here: explanations come in the order of the scores."""
    missing = (
        at for at, one in enumerate(alerts) if one.score.model is not None and one.score.model.digest not in models
    )
    return alerts[: next(missing, len(alerts))]


def _outgoing(alert: Alert, one: Explained, trace: OperationTrace) -> Outgoing:
    headers = (*trace_headers(trace.headers), (CODES_HEADER, str(VERSION).encode()))
    value = msgspec.json.encode(one.explanation)
    return Outgoing(alert.score.source.offset, alert.key, value, headers, alert.score.transaction_id)

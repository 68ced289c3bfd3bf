"""Spans of sampled records and of their batches, with W3C's trace context read from and written into Kafka headers.

A record's span continues its producer's trace, and the record's answer continues that span. A batch has a trace of its
own, linked with its sampled records' spans; a batch of one has none: the record's span has the stages. A context that
cannot be parsed is forwarded as it came and its record is not traced: a producer's mistake may cost a trace, never a
payment.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AnyValue

from features.redis.urls import first_host
from stream.card_numbers import card_numbers
from stream.clock import Stage
from stream.contract.backfill import backfill_mark
from stream.kafka.batches import Record
from stream.kafka.dead_letters import DeadLetter
from stream.kafka.publisher import Headers
from stream.kafka.topics import LABELS, OUTCOMES, PREDICTIONS, SCORES, TRANSACTIONS
from stream.kafka.tracing import Attributes, kafka_attributes, sent_attributes
from stream.scoring.facts import Decided, LabelsApplied, PredictionsApplied
from stream.scoring.tracing import BatchTrace, NoTracing
from stream.settings import Settings

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_LENGTH = 55
"""Of a `traceparent` of version 00; a longer one is of a later version."""
_MAX_LENGTH = 512
_EVEN = frozenset(b"02468ace")
"""Last digits of the trace flags without the flag `sampled`."""
_extract = TraceContextTextMapPropagator().extract
MAX_LINKS = 128
"""The default limit of links a span, of the SDK and of collectors."""

_UNTRACED = NoTracing()
_ROOT = Context()
_NO_ROOTS = "ParentBased{root:AlwaysOffSampler"
_OBSERVE = "observe"
_PUBLISH = "publish"

Place = tuple[int, int]


def traceparent_of(headers: Headers) -> bytes | None:
    """Return the value of the first `traceparent`; None if there is none."""
    for name, value in headers:
        if name == TRACEPARENT:
            return value or b""
    return None


def is_unsampled(traceparent: bytes) -> bool:
    """Tell cheaply whether a `traceparent` is flagged as not sampled, or is too short to be one."""
    return len(traceparent) < _LENGTH or traceparent[_LENGTH - 1] in _EVEN


def context_of(headers: Headers) -> Context | None:
    """Parse the context in a record's headers; None if there is none, two, or one that cannot be parsed.

    A `tracestate` with a card number in it is dropped, since traces show it; so is one of more than 512 characters, in
    however many headers.
    """
    parents = [value for name, value in headers if name == TRACEPARENT]
    if len(parents) != 1 or not _parsable(parents[0]):
        return None
    carrier = {TRACEPARENT: [(parents[0] or b"").decode()]}
    states = [value.decode() for name, value in headers if name == TRACESTATE and value and _parsable(value)]
    joined = ",".join(states)
    if states and len(joined) <= _MAX_LENGTH and next(card_numbers(joined.encode()), None) is None:
        carrier[TRACESTATE] = states
    context = _extract(carrier, Context())
    return context if get_current_span(context).get_span_context().is_valid else None


def child_context(parent: SpanContext) -> Context:
    """Return the context in which a span's children begin."""
    return set_span_in_context(NonRecordingSpan(parent), Context())


def with_traceparent(headers: Headers, span: SpanContext) -> Headers:
    """Return headers with a span as their `traceparent`, replacing the one that they have."""
    text = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}".encode()
    if any(name == TRACEPARENT for name, _ in headers):
        return tuple((name, text if name == TRACEPARENT else value) for name, value in headers)
    return (*headers, (TRACEPARENT, text))


def _parsable(value: bytes | None) -> bool:
    return value is not None and len(value) <= _MAX_LENGTH and value.isascii()


class TraceIds(RandomIdGenerator):
    """Random ids; the next trace's id can be drawn beforehand, to ask a sampler before a span is created."""

    def __init__(self) -> None:
        self._drawn: int | None = None

    def draw(self) -> int:
        """Draw the next trace's id."""
        self._drawn = super().generate_trace_id()
        return self._drawn

    def generate_trace_id(self) -> int:
        """Return the id that was drawn before, once; otherwise a new one."""
        drawn, self._drawn = self._drawn, None
        return super().generate_trace_id() if drawn is None else drawn


class Tracers(NamedTuple):
    """`sampling` asks the configured sampler; `always` is for spans that belong to a sampled one."""

    sampling: Tracer
    always: Tracer
    sampler: Sampler
    ids: TraceIds
    """The ids of `sampling`."""


class Route(NamedTuple):
    """An input topic and the topic of its answers: names without prefix for spans, and what spans say of both."""

    source: str
    answer: str
    answer_topic: str
    group: str
    redis: Attributes


@dataclass(slots=True)
class SampledRecord:
    """A sampled record in progress; `sending` exists once the headers of its answer have been asked for."""

    record: Record
    span: Span
    sending: Span | None = None

    @property
    def context(self) -> SpanContext:
        """The record's own span."""
        return self.span.get_span_context()


class BatchTracer:
    """Begins the trace of a batch; one without a sampled record is `NoTracing`."""

    def __init__(self, tracers: Tracers, settings: Settings) -> None:
        self._tracers = tracers
        self._flag_decides = isinstance(tracers.sampler, ParentBased)
        self._roots = not tracers.sampler.get_description().startswith(_NO_ROOTS)
        self._routes = {
            settings.topic(source): Route(source, answer, settings.topic(answer), settings.group, _redis(settings))
            for source, answer in (
                (TRANSACTIONS.name, SCORES.name),
                (LABELS.name, OUTCOMES.name),
                (PREDICTIONS.name, OUTCOMES.name),
            )
        }

    def begin(self, records: Sequence[Record]) -> BatchTrace:
        """Begin the trace of one attempt at these records, all of one topic."""
        sampled: list[SampledRecord] = []
        for record in records:
            parent = traceparent_of(record.headers)
            if parent is None:
                context = _ROOT if self._roots and self._wants_root() else None
            else:
                context = None if self._flag_decides and is_unsampled(parent) else context_of(record.headers)
            if context is not None:
                self._add(sampled, record, context)
        if not sampled:
            return _UNTRACED
        return SampledBatchTrace(self._tracers.always, self._routes[records[0].topic], sampled, len(records))

    def _wants_root(self) -> bool:
        """Ask the sampler about a record without a context; costs half of a span that is not recorded."""
        ids = self._tracers.ids
        return self._tracers.sampler.should_sample(_ROOT, ids.draw(), "process").decision is Decision.RECORD_AND_SAMPLE

    def _add(self, sampled: list[SampledRecord], record: Record, context: Context) -> None:
        route = self._routes[record.topic]
        span = self._tracers.sampling.start_span(f"process {route.source}", context, SpanKind.CONSUMER)
        if span.is_recording():
            sampled.append(SampledRecord(record, span))
            _set(span, _consumed(record, route))


class SampledBatchTrace:
    """One attempt at a batch of `size` records, of which `sampled` are traced."""

    def __init__(self, tracer: Tracer, route: Route, sampled: Sequence[SampledRecord], size: int) -> None:
        self._tracer = tracer
        self._route = route
        self._sampled: Mapping[Place, SampledRecord] = {_place(one.record): one for one in sampled}
        self._size = size
        self._redis_called = True
        self._batch = self._begin_batch() if size > 1 else None
        for one in sampled:
            _set(one.span, {"fraudstream.batch.size": size})
            if self._batch is not None:
                one.span.add_link(self._batch.get_span_context())

    def headers(self, record: Record) -> Headers:
        """Return the record's headers with the span of its answer as their context."""
        sampled = self._sampled.get(_place(record))
        if sampled is None:
            return record.headers
        if sampled.sending is None:
            name = f"send {self._route.answer}"
            sampled.sending = self._tracer.start_span(name, child_context(sampled.context), SpanKind.PRODUCER)
            _set(sampled.sending, sent_attributes(self._route.answer_topic, record.partition))
        return with_traceparent(record.headers, sampled.sending.get_span_context())

    def decided(self, fact: Decided) -> None:
        """End the spans, each with its record's result."""
        self._redis_called = not fact.stopgap
        revision: Attributes = {"fraudstream.revision": fact.revision}
        results = _dead_letters(fact.dead)
        for record, judgement in zip(fact.scored.records, fact.scored.judgements, strict=True):
            if _place(record) in self._sampled:
                results[_place(record)] = revision | {
                    "fraudstream.arm": judgement.arm,
                    "fraudstream.model.digest": fact.digest if judgement.model is None else judgement.model.digest,
                    "fraudstream.outcome": "decided",
                    "fraudstream.decision": judgement.decision,
                    "fraudstream.decided_by": judgement.decided_by,
                    "fraudstream.degraded": judgement.degraded,
                }
                if judgement.overruled is not None:
                    results[_place(record)]["fraudstream.overruled"] = judgement.overruled.by
        for sampled in self._sampled.values():
            if backfill_mark(sampled.record.headers) is not None:
                results.setdefault(_place(sampled.record), {"fraudstream.outcome": "backfilled"})
        self._end(results, "repeated" if fact.repeated else "given_up", fact.stages)

    def predicted(self, fact: PredictionsApplied) -> None:
        """End the spans, each with its prediction's status."""
        self._applied(fact)

    def labelled(self, fact: LabelsApplied) -> None:
        """End the spans, each with its label's status."""
        self._applied(fact)

    def _applied(self, fact: LabelsApplied | PredictionsApplied) -> None:
        results = _dead_letters(fact.dead)
        for record, status in zip(fact.records, fact.statuses, strict=True):
            results[_place(record)] = {"fraudstream.outcome": status.value}
        self._end(results, "given_up", fact.stages)

    def failed(self, error: BaseException) -> None:
        """End the spans as errors, with the error's class alone: its text may quote a payment."""
        for span in self._spans():
            _set(span, {"error.type": type(error).__name__})
            span.set_status(Status(StatusCode.ERROR))
            span.end()

    def compared(self, records: Sequence[Record], digest: str, stage: Stage) -> None:
        """Add the challenger's time to the traces of the records that it scored."""
        attributes: Attributes = {"fraudstream.model.digest": digest, "fraudstream.batch.size": len(records)}
        if self._batch is not None:
            self._add_span("score shadow", self._batch.get_span_context(), stage, attributes)
        for record in records:
            sampled = self._sampled.get(_place(record))
            if sampled is not None:
                self._add_span("score shadow", sampled.context, stage, attributes)

    def _begin_batch(self) -> Span:
        links = [Link(one.context) for one in self._sampled.values()][:MAX_LINKS]
        span = self._tracer.start_span("process batch", _ROOT, SpanKind.CONSUMER, links=links)
        topic = next(iter(self._sampled.values())).record.topic
        _set(span, kafka_attributes("process", topic) | {"messaging.consumer.group.name": self._route.group})
        _set(span, {"messaging.batch.message_count": self._size, "fraudstream.batch.size": self._size})
        return span

    def _end(self, results: Mapping[Place, Attributes], otherwise: str, stages: Iterable[Stage]) -> None:
        times = tuple(_joined(stages))
        end_ns = times[-1].end_ns if times else None
        for sampled in self._sampled.values():
            _set(sampled.span, results.get(_place(sampled.record), {"fraudstream.outcome": otherwise}))
            for stage in times:
                if self._batch is None or stage.name in (_OBSERVE, "score"):
                    self._add_stage(stage, sampled)
            if sampled.sending is not None:
                sampled.sending.end(end_ns)
            sampled.span.end(end_ns)
        if self._batch is not None:
            for stage in times:
                self._add_span(stage.name, self._batch.get_span_context(), stage, self._of(stage))
            self._batch.end(end_ns)

    def _add_stage(self, stage: Stage, sampled: SampledRecord) -> None:
        """Add a stage to a record's own trace; the span of its answer already stands for publishing."""
        if stage.name == _PUBLISH and sampled.sending is not None:
            return
        name = "score live" if stage.name == "score" else stage.name
        self._add_span(name, sampled.context, stage, self._of(stage))

    def _of(self, stage: Stage) -> Attributes:
        if stage.name == _OBSERVE and self._redis_called:
            return self._route.redis | ({"db.operation.batch.size": self._size} if self._size > 1 else {})
        return {}

    def _add_span(self, name: str, parent: SpanContext, stage: Stage, attributes: Attributes) -> None:
        kind = SpanKind.CLIENT if "db.system.name" in attributes else SpanKind.INTERNAL
        span = self._tracer.start_span(name, child_context(parent), kind, start_time=stage.start_ns)
        _set(span, attributes)
        span.end(stage.end_ns)

    def _spans(self) -> Iterator[Span]:
        for sampled in self._sampled.values():
            if sampled.sending is not None:
                yield sampled.sending
            yield sampled.span
        if self._batch is not None:
            yield self._batch


def _dead_letters(dead: Iterable[DeadLetter]) -> dict[Place, Attributes]:
    """Return the result of each dead letter, with its code."""
    return {_place(letter.record): {"fraudstream.outcome": "dead_letter", "error.type": letter.code} for letter in dead}


def _place(record: Record) -> Place:
    return record.partition, record.offset


def _set(span: Span, attributes: Attributes) -> None:
    span.set_attributes(cast("Mapping[str, AnyValue]", attributes))


def _consumed(record: Record, route: Route) -> Attributes:
    return kafka_attributes("process", record.topic) | {
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.consumer.group.name": route.group,
    }


def _redis(settings: Settings) -> Attributes:
    """Describe the Redis server without the login in its URL; of several, the first one in the URL."""
    attributes: Attributes = {"db.system.name": "redis", "db.operation.name": "EVALSHA"}
    host = first_host(settings.redis_url)
    if host:
        attributes["server.address"] = host
    return attributes


def _joined(stages: Iterable[Stage]) -> Iterator[Stage]:
    """Join stages of the same name, as in a batch that was decided record by record."""
    joined: dict[str, Stage] = {}
    for stage in stages:
        first = joined.setdefault(stage.name, stage)
        joined[stage.name] = first._replace(end_ns=stage.end_ns)
    return iter(joined.values())

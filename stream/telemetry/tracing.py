"""Journeys as spans: each sampled record's own way, and the batch's work once beside it.

A record's span continues the trace of its producer, and the headers of its answer continue that span. A batch has a
trace of its own, linked with those of its sampled records; a batch of one has none, its stages are the record's.
Whether tracing is on is for `setup` to say.

A record's trace context: from its headers, and into the headers of what answers it.

Kafka's headers carry W3C's `traceparent` and `tracestate`. Whatever cannot be read is left as it came, and its record
has no trace here: a producer's mistake may cost a trace, never a payment.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast
from urllib.parse import urlsplit

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

from features.redis.topology import is_cluster, seeds
from stream.clock import Stage
from stream.kafka.batches import Record
from stream.kafka.dead_letters import DeadLetter
from stream.kafka.publisher import Headers
from stream.kafka.topics import LABELS, OUTCOMES, SCORES, TRANSACTIONS
from stream.kafka.tracing import Attributes, kafka_attributes, sent_attributes
from stream.redaction import card_numbers
from stream.scoring.facts import Decided, LabelsApplied
from stream.scoring.tracing import BatchTrace, NoTracing
from stream.settings import Settings

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_LENGTH = 55
"""Of a `traceparent` of version 00; a longer one is of a later version."""
_LONGEST = 512
_EVEN = frozenset(b"02468ace")
_extract = TraceContextTextMapPropagator().extract
MOST_LINKS = 128
"""What the SDK keeps of a span's links, and collectors by default."""

_UNTRACED = NoTracing()
_ROOT = Context()
_NO_ROOTS = "ParentBased{root:AlwaysOffSampler"
_OBSERVE = "observe"
_PUBLISH = "publish"

Place = tuple[int, int]


def parent_of(headers: Headers) -> bytes | None:
    """Return the value of the first `traceparent`, None where there is none."""
    for name, value in headers:
        if name == TRACEPARENT:
            return value or b""
    return None


def says_unsampled(traceparent: bytes) -> bool:
    """Tell cheaply that a header asks for no trace, or is too short to be one."""
    return len(traceparent) < _LENGTH or traceparent[_LENGTH - 1] in _EVEN


def context_of(headers: Headers) -> Context | None:
    """Read the context that a record's headers carry; None where they carry none that can be read, or two.

    A state that holds a card number is not taken along: states are shown in traces.
    """
    parents = [value for name, value in headers if name == TRACEPARENT]
    if len(parents) != 1 or not _legible(parents[0]):
        return None
    carried = {TRACEPARENT: [(parents[0] or b"").decode()]}
    states = [value.decode() for name, value in headers if name == TRACESTATE and value and _legible(value)]
    if states and next(card_numbers(",".join(states).encode()), None) is None:
        carried[TRACESTATE] = states
    context = _extract(carried, Context())
    return context if get_current_span(context).get_span_context().is_valid else None


def within(span: SpanContext) -> Context:
    """Return the context in which a span's children begin."""
    return set_span_in_context(NonRecordingSpan(span), Context())


def carrying(headers: Headers, span: SpanContext) -> Headers:
    """Return headers with a span as their `traceparent`, in the place of the one that they have."""
    text = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}".encode()
    if any(name == TRACEPARENT for name, _ in headers):
        return tuple((name, text if name == TRACEPARENT else value) for name, value in headers)
    return (*headers, (TRACEPARENT, text))


def _legible(value: bytes | None) -> bool:
    return value is not None and len(value) <= _LONGEST and value.isascii()


class Ids(RandomIdGenerator):
    """Random ids; that of the next trace can be drawn beforehand, so that a sampler is asked before a span is made."""

    def __init__(self) -> None:
        self._drawn: int | None = None

    def draw(self) -> int:
        """Draw the next trace's id."""
        self._drawn = super().generate_trace_id()
        return self._drawn

    def generate_trace_id(self) -> int:
        """Return the id that was drawn, once; else a new one."""
        drawn, self._drawn = self._drawn, None
        return super().generate_trace_id() if drawn is None else drawn


class Tracers(NamedTuple):
    """`chosen` asks the sampler that the environment names; `always` is for what belongs to something sampled."""

    chosen: Tracer
    always: Tracer
    sampler: Sampler
    ids: Ids
    """Those of `chosen`."""


class Route(NamedTuple):
    """What comes in and what answers it: names without prefix for spans, the answer's full topic, who asks."""

    source: str
    answer: str
    answer_topic: str
    group: str
    redis: Attributes


@dataclass(slots=True)
class SampledRecord:
    """A sampled record under way; `sending` is there once its answer has asked for headers."""

    record: Record
    span: Span
    sending: Span | None = None

    @property
    def context(self) -> SpanContext:
        """The record's own span."""
        return self.span.get_span_context()


class BatchTracer:
    """Begins journeys of which some records are sampled; others are the untraced journey."""

    def __init__(self, tracers: Tracers, settings: Settings) -> None:
        self._tracers = tracers
        self._flag_decides = isinstance(tracers.sampler, ParentBased)
        self._roots = not tracers.sampler.get_description().startswith(_NO_ROOTS)
        self._routes = {
            settings.topic(source): Route(source, answer, settings.topic(answer), settings.group, _redis(settings))
            for source, answer in ((TRANSACTIONS.name, SCORES.name), (LABELS.name, OUTCOMES.name))
        }

    def begin(self, records: Sequence[Record]) -> BatchTrace:
        """Begin an attempt at these records, all of one topic."""
        sampled: list[SampledRecord] = []
        for record in records:
            parent = parent_of(record.headers)
            if parent is None:
                context = _ROOT if self._roots and self._wants_root() else None
            else:
                context = None if self._flag_decides and says_unsampled(parent) else context_of(record.headers)
            if context is not None:
                self._add(sampled, record, context)
        if not sampled:
            return _UNTRACED
        return SampledBatchTrace(self._tracers.always, self._routes[records[0].topic], sampled, len(records))

    def _wants_root(self) -> bool:
        """Ask the sampler about a record that no trace came with; half the price of a span that is not recorded."""
        ids = self._tracers.ids
        return self._tracers.sampler.should_sample(_ROOT, ids.draw(), "process").decision is Decision.RECORD_AND_SAMPLE

    def _add(self, sampled: list[SampledRecord], record: Record, context: Context) -> None:
        route = self._routes[record.topic]
        span = self._tracers.chosen.start_span(f"process {route.source}", context, SpanKind.CONSUMER)
        if span.is_recording():
            sampled.append(SampledRecord(record, span))
            _say(span, _consumed(record, route))


class SampledBatchTrace:
    """One attempt at a batch of `size` records, of which `sampled` are traced."""

    def __init__(self, tracer: Tracer, route: Route, sampled: Sequence[SampledRecord], size: int) -> None:
        self._tracer = tracer
        self._route = route
        self._sampled: Mapping[Place, SampledRecord] = {_place(one.record): one for one in sampled}
        self._size = size
        self._asked_redis = True
        self._batch = self._begin_batch() if size > 1 else None
        for one in sampled:
            _say(one.span, {"fraudstream.batch.size": size})
            if self._batch is not None:
                one.span.add_link(self._batch.get_span_context())

    def headers(self, record: Record) -> Headers:
        """Return the record's headers, with the span of its answer as their context."""
        traveller = self._sampled.get(_place(record))
        if traveller is None:
            return record.headers
        if traveller.sending is None:
            name = f"send {self._route.answer}"
            traveller.sending = self._tracer.start_span(name, within(traveller.context), SpanKind.PRODUCER)
            _say(traveller.sending, sent_attributes(self._route.answer_topic, record.partition))
        return carrying(record.headers, traveller.sending.get_span_context())

    def decided(self, fact: Decided) -> None:
        """End it: every record with what it came to."""
        self._asked_redis = not fact.stopgap
        who: Attributes = {"fraudstream.revision": fact.revision, "fraudstream.model.digest": fact.digest}
        came_to = _died(fact.dead)
        for record, judgement in zip(fact.scored.records, fact.scored.judgements, strict=True):
            if _place(record) in self._sampled:
                came_to[_place(record)] = who | {
                    "fraudstream.outcome": "decided",
                    "fraudstream.decision": judgement.decision,
                    "fraudstream.decided_by": judgement.decided_by,
                    "fraudstream.degraded": judgement.degraded,
                }
        self._end(came_to, "repeated" if fact.repeated else "given_up", fact.stages)

    def labelled(self, fact: LabelsApplied) -> None:
        """End it: every label with its status."""
        came_to = _died(fact.dead)
        for record, status in zip(fact.records, fact.statuses, strict=True):
            came_to[_place(record)] = {"fraudstream.outcome": status.value}
        self._end(came_to, "given_up", fact.stages)

    def failed(self, error: BaseException) -> None:
        """End it as an error, by the error's class: its text may quote a payment."""
        for span in self._spans():
            _say(span, {"error.type": type(error).__name__})
            span.set_status(Status(StatusCode.ERROR))
            span.end()

    def compared(self, records: Sequence[Record], digest: str, stage: Stage) -> None:
        """Add the challenger's time to the traces of the records that it scored."""
        said: Attributes = {"fraudstream.model.digest": digest, "fraudstream.batch.size": len(records)}
        if self._batch is not None:
            self._show("score shadow", self._batch.get_span_context(), stage, said)
        for record in records:
            traveller = self._sampled.get(_place(record))
            if traveller is not None:
                self._show("score shadow", traveller.context, stage, said)

    def _begin_batch(self) -> Span:
        links = [Link(one.context) for one in self._sampled.values()][:MOST_LINKS]
        span = self._tracer.start_span("process batch", _ROOT, SpanKind.CONSUMER, links=links)
        topic = next(iter(self._sampled.values())).record.topic
        _say(span, kafka_attributes("process", topic) | {"messaging.consumer.group.name": self._route.group})
        _say(span, {"messaging.batch.message_count": self._size, "fraudstream.batch.size": self._size})
        return span

    def _end(self, came_to: Mapping[Place, Attributes], otherwise: str, stages: Iterable[Stage]) -> None:
        times = tuple(_joined(stages))
        end_ns = times[-1].end_ns if times else None
        for traveller in self._sampled.values():
            _say(traveller.span, came_to.get(_place(traveller.record), {"fraudstream.outcome": otherwise}))
            for stage in times:
                if self._batch is None or stage.name in (_OBSERVE, "score"):
                    self._stage(stage, traveller)
            if traveller.sending is not None:
                traveller.sending.end(end_ns)
            traveller.span.end(end_ns)
        if self._batch is not None:
            for stage in times:
                self._show(stage.name, self._batch.get_span_context(), stage, self._of(stage))
            self._batch.end(end_ns)

    def _stage(self, stage: Stage, traveller: SampledRecord) -> None:
        """Show a stage in a record's own trace; publishing is there as the span that its answer goes on from."""
        if stage.name == _PUBLISH and traveller.sending is not None:
            return
        name = "score live" if stage.name == "score" else stage.name
        self._show(name, traveller.context, stage, self._of(stage))

    def _of(self, stage: Stage) -> Attributes:
        if stage.name == _OBSERVE and self._asked_redis:
            return self._route.redis | ({"db.operation.batch.size": self._size} if self._size > 1 else {})
        return {}

    def _show(self, name: str, parent: SpanContext, stage: Stage, said: Attributes) -> None:
        kind = SpanKind.CLIENT if "db.system.name" in said else SpanKind.INTERNAL
        span = self._tracer.start_span(name, within(parent), kind, start_time=stage.start_ns)
        _say(span, said)
        span.end(stage.end_ns)

    def _spans(self) -> Iterator[Span]:
        for traveller in self._sampled.values():
            if traveller.sending is not None:
                yield traveller.sending
            yield traveller.span
        if self._batch is not None:
            yield self._batch


def _died(dead: Iterable[DeadLetter]) -> dict[Place, Attributes]:
    """Say of dead letters that they are, and why, by their code."""
    return {_place(letter.record): {"fraudstream.outcome": "dead_letter", "error.type": letter.code} for letter in dead}


def _place(record: Record) -> Place:
    return record.partition, record.offset


def _say(span: Span, said: Attributes) -> None:
    span.set_attributes(cast("Mapping[str, AnyValue]", said))


def _consumed(record: Record, route: Route) -> Attributes:
    return kafka_attributes("process", record.topic) | {
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.consumer.group.name": route.group,
    }


def _redis(settings: Settings) -> Attributes:
    """Say which server is asked, without the login that its URL may have; of a cluster, the first that it names."""
    said: Attributes = {"db.system.name": "redis", "db.operation.name": "EVALSHA"}
    url = settings.redis_url
    host = seeds(url)[0].host if is_cluster(url) else urlsplit(url).hostname
    if host:
        said["server.address"] = host
    return said


def _joined(stages: Iterable[Stage]) -> Iterator[Stage]:
    """Join stages of one name, which a batch that was decided record by record has."""
    joined: dict[str, Stage] = {}
    for stage in stages:
        first = joined.setdefault(stage.name, stage)
        joined[stage.name] = first._replace(end_ns=stage.end_ns)
    return iter(joined.values())

"""Spans of sampled records and of their batches, with W3C's trace context read from and written into Kafka headers.

A record's span continues its producer's trace, and the record's answer continues that span. A batch has a trace of its
own, linked with its sampled records' spans; a batch of one has none: the record's span has the stages. A context that
cannot be parsed is forwarded as it came and its record is not traced: a producer's mistake may cost a trace, never a
payment.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from features.redis.urls import first_host
from models.signing import KEY_HEADER
from stream.card_numbers import card_numbers
from stream.clock import Stage, now_ns
from stream.contract.transaction import backfill_mark
from stream.engine.batches import Record
from stream.engine.publisher import Headers
from stream.engine.tracing import Attributes, kafka_attributes, sent_attributes
from stream.kafka.topics import LABELS, OUTCOMES, PREDICTIONS, SCORES, TRANSACTIONS
from stream.positions.dead_letters import DeadLetter
from stream.scoring.facts import Decided, LabelsApplied, PredictionsApplied
from stream.scoring.tracing import BatchTrace, NoTracing, Place
from stream.settings import Settings
from stream.telemetry.sampling import SamplingRule
from stream.telemetry.spans import FinishedSpan, SpanBody, SpanLink, SpanSink, Trace

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_LENGTH = 55
"""Of a `traceparent` of version 00; a longer one is of a later version."""
_MAX_LENGTH = 512
_EVEN = frozenset(b"02468ace")
"""Last digits of the trace flags without the flag `sampled`."""
_extract = TraceContextTextMapPropagator().extract
_new_trace_id = RandomIdGenerator().generate_trace_id
_new_span_id = RandomIdGenerator().generate_span_id
MAX_LINKS = 128
"""The default limit of links a span, of the SDK and of collectors."""

_UNTRACED = NoTracing()
_PLAIN = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})").fullmatch
"""The `traceparent` of today's producers; for any other one, the SDK says whether it can be parsed."""
_SAMPLED, _RANDOM = 0x01, 0x02
"""Flags of a trace: it is sampled; its id is random."""
_OBSERVE = "observe"
_SCORE = "score"
_PUBLISH = "publish"


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


def with_traceparent(headers: Headers, span: SpanContext) -> Headers:
    """Return headers with a span as their `traceparent`, replacing the one that they have."""
    return _with_context(headers, span.trace_id, span.span_id, span.trace_flags)


def _with_context(headers: Headers, trace_id: int, span_id: int, flags: int) -> Headers:
    text = b"00-%032x-%016x-%02x" % (trace_id, span_id, flags)
    if not headers:
        return ((TRACEPARENT, text),)
    if any(name == TRACEPARENT for name, _ in headers):
        return tuple((name, text if name == TRACEPARENT else value) for name, value in headers)
    return (*headers, (TRACEPARENT, text))


def _parsable(value: bytes | None) -> bool:
    return value is not None and len(value) <= _MAX_LENGTH and value.isascii()


class Parent(NamedTuple):
    """A record's place in its trace: the trace, and the span of its producer; 0 if the record begins the trace."""

    trace: Trace
    span_id: int = 0


def parent_of(headers: Headers) -> Parent | None:
    """Parse the context in a record's headers, as `context_of` does; None where that returns None."""
    parents = [value for name, value in headers if name in (TRACEPARENT, TRACESTATE)]
    plain = _PLAIN(parents[0] or b"") if len(parents) == 1 else None
    if plain is not None:
        trace_id, span_id, flags = (int(digits, 16) for digits in plain.groups())
        return Parent(Trace(trace_id, flags), span_id) if trace_id and span_id else None
    context = context_of(headers)
    if context is None:
        return None
    span = get_current_span(context).get_span_context()
    return Parent(Trace(span.trace_id, span.trace_flags, span.trace_state), span.span_id)


class Route(NamedTuple):
    """An input topic and the topic of its answers: names without prefix for spans, and what spans say of both."""

    source: str
    answer: str
    answer_topic: str
    group: str
    redis: Attributes


@dataclass(slots=True)
class SampledRecord:
    """A sampled record in progress: its trace and its own span; `sent` is 0 until its answer's headers are made."""

    record: Record
    trace: Trace
    parent: int
    span: int
    sent: int = 0


class BatchTracer:
    """Begins the trace of a batch; one without a sampled record is `NoTracing`."""

    def __init__(self, rule: SamplingRule, sinks: Sequence[SpanSink], settings: Settings) -> None:
        self._rule = rule
        self._sinks = tuple(sinks)
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
            found = self._sampled(record.headers)
            if found is not None:
                sampled.append(SampledRecord(record, found.trace, found.span_id, _new_span_id()))
        if not sampled:
            return _UNTRACED
        return SampledBatchTrace(self._sinks, self._routes[records[0].topic], sampled, len(records))

    def _sampled(self, headers: Headers) -> Parent | None:
        """Return the parent of a record that is sampled; None if it is not."""
        rule, traceparent = self._rule, traceparent_of(headers) if headers else None
        if traceparent is None:
            if not rule.bound or not rule.takes(trace_id := _new_trace_id()):
                return None
            return Parent(Trace(trace_id, _SAMPLED | _RANDOM))
        if rule.follows_parent and is_unsampled(traceparent):
            return None
        parent = parent_of(headers)
        if parent is None:
            return None
        trace = parent.trace
        if not (trace.flags & _SAMPLED if rule.follows_parent else rule.takes(trace.trace_id)):
            return None
        return Parent(Trace(trace.trace_id, _SAMPLED | trace.flags & _RANDOM, trace.state), parent.span_id)


class SampledBatchTrace:
    """One attempt at a batch of `size` records, of which `sampled` are traced; its spans are built at its end."""

    def __init__(self, sinks: Sequence[SpanSink], route: Route, sampled: Sequence[SampledRecord], size: int) -> None:
        self._sinks = sinks
        self._route = route
        self._sampled: Mapping[Place, SampledRecord] = {_place(one.record): one for one in sampled}
        self._size = size
        self._redis_called = True
        self._began_ns = now_ns()
        self._sending_ns = 0
        self._batch: SpanLink | None = None
        if size > 1:
            self._batch = SpanLink(Trace(_new_trace_id(), _SAMPLED | _RANDOM), _new_span_id())

    def headers(self, record: Record) -> Headers:
        """Return the record's headers with the span of its answer as their context."""
        sampled = self._sampled.get(_place(record))
        if sampled is None:
            return record.headers
        if not sampled.sent:
            sampled.sent = _new_span_id()
            self._sending_ns = self._sending_ns or now_ns()
        return _with_context(record.headers, sampled.trace.trace_id, sampled.sent, sampled.trace.flags)

    def decided(self, fact: Decided) -> None:
        """End the spans, each with its record's result."""
        self._redis_called = not fact.stopgap
        results = _dead_letters(fact.dead)
        results.update(_judged(fact, self._sampled))
        for place, sampled in self._sampled.items():
            if place in results:
                continue
            if backfill_mark(sampled.record.headers) is not None:
                results[place] = {"fraudstream.outcome": "backfilled"}
            elif fact.erasures and any(name == KEY_HEADER for name, _ in sampled.record.headers):
                results[place] = {"fraudstream.outcome": "erasure"}
        self._end(results, "repeated" if fact.repeated else "given_up", fact.stages)

    def predicted(self, fact: PredictionsApplied) -> None:
        """End the spans, each with its prediction's status."""
        self._applied(fact)

    def labelled(self, fact: LabelsApplied) -> None:
        """End the spans, each with its label's status."""
        self._applied(fact)

    def _applied(self, fact: LabelsApplied | PredictionsApplied) -> None:
        shared: dict[str, Attributes] = {one.value: {"fraudstream.outcome": one.value} for one in fact.statuses}
        results = _dead_letters(fact.dead)
        pairs = zip(fact.records, fact.statuses, strict=True)
        results.update({_place(record): shared[status.value] for record, status in pairs})
        self._end(results, "given_up", fact.stages)

    def failed(self, error: BaseException) -> None:
        """End the spans as errors, with the error's class alone: its text may quote a payment."""
        why: Attributes = {"error.type": type(error).__name__}
        bodies = _Bodies(self._route, self._size, (self._began_ns, self._sending_ns, now_ns()), why)
        spans = [span for one in self._sampled.values() for span in self._own(one, why, bodies)]
        self._add(chain(spans, self._of_batch(bodies)))

    def compared(self, places: Sequence[Place], digest: str, stage: Stage) -> None:
        """Add the challenger's time to the traces of the records that it scored."""
        attributes: Attributes = {"fraudstream.model.digest": digest, "fraudstream.batch.size": len(places)}
        body = SpanBody("score shadow", SpanKind.INTERNAL, stage.start_ns, stage.end_ns, attributes)
        parents = [] if self._batch is None else [self._batch]
        found = (self._sampled.get(place) for place in places)
        parents += [SpanLink(one.trace, one.span) for one in found if one is not None]
        self._add(FinishedSpan(one.trace, _new_span_id(), one.span_id, body) for one in parents)

    def _end(self, results: Mapping[Place, Attributes], otherwise: str, stages: Iterable[Stage]) -> None:
        joined = _joined(stages)
        end_ns = joined[-1].end_ns if joined else now_ns()
        bodies = _Bodies(self._route, self._size, (self._began_ns, self._sending_ns, end_ns))
        times = [self._stage(stage) for stage in joined]
        of_records = times if self._batch is None else [one for one in times if one.name in (_OBSERVE, _SCORE)]
        own = [one._replace(name="score live") if one.name == _SCORE else one for one in of_records]
        unsent = [one for one in own if one.name != _PUBLISH]  # the span of an answer stands for publishing
        spans, rest = list[FinishedSpan](), Attributes({"fraudstream.outcome": otherwise})
        for place, one in self._sampled.items():
            spans += [FinishedSpan(one.trace, _new_span_id(), one.span, body) for body in (unsent if one.sent else own)]
            spans += self._own(one, results.get(place, rest), bodies)
        self._add(chain(spans, self._of_batch(bodies, times)))

    def _own(self, one: SampledRecord, result: Attributes, bodies: "_Bodies") -> Iterator[FinishedSpan]:
        """Yield a record's own span and that of its answer."""
        if one.sent:
            yield FinishedSpan(one.trace, one.sent, one.span, bodies.sent(one.record.partition))
        body, offset = bodies.consumed(one.record, result), one.record.offset
        links = () if self._batch is None else (self._batch,)
        attributes: Attributes = {"messaging.kafka.offset": offset}
        yield FinishedSpan(one.trace, one.span, one.parent, body, attributes, links, one.parent != 0)

    def _of_batch(self, bodies: "_Bodies", stages: Iterable[SpanBody] = ()) -> Iterator[FinishedSpan]:
        """Yield the spans of the batch's own trace; a batch of one has none."""
        if self._batch is None:
            return
        trace, own = self._batch
        for stage in stages:
            yield FinishedSpan(trace, _new_span_id(), own, stage)
        sampled = list(self._sampled.values())[:MAX_LINKS]
        links = [SpanLink(one.trace, one.span) for one in sampled]
        yield FinishedSpan(trace, own, 0, bodies.batch(sampled[0].record.topic), links=links)

    def _stage(self, stage: Stage) -> SpanBody:
        attributes: Attributes = {}
        if stage.name == _OBSERVE and self._redis_called:
            attributes = self._route.redis | ({"db.operation.batch.size": self._size} if self._size > 1 else {})
        kind = SpanKind.CLIENT if attributes else SpanKind.INTERNAL
        return SpanBody(stage.name, kind, stage.start_ns, stage.end_ns, attributes)

    def _add(self, spans: Iterable[FinishedSpan]) -> None:
        found = list(spans)
        for sink in self._sinks:
            sink.add(found)


class _Bodies:
    """The bodies of a batch's spans, each built once; `times` are when it began, sent and ended.

    With `why`, an error's attributes, all spans have failed.
    """

    def __init__(self, route: Route, size: int, times: tuple[int, int, int], why: Attributes | None = None) -> None:
        self._route = route
        self._size = size
        self._began_ns, self._sending_ns, self._end_ns = times
        self._why = why
        self._sent: dict[int, SpanBody] = {}
        self._consumed: dict[tuple[int, int], SpanBody] = {}

    def sent(self, partition: int) -> SpanBody:
        """Return that of the answers to a partition."""
        body = self._sent.get(partition)
        if body is None:
            attributes = sent_attributes(self._route.answer_topic, partition)
            name, began_ns = f"send {self._route.answer}", self._sending_ns
            body = self._sent[partition] = self._body(name, SpanKind.PRODUCER, began_ns, attributes)
        return body

    def consumed(self, record: Record, result: Attributes) -> SpanBody:
        """Return that of the records of a partition that have one result; the same one is the same object."""
        body = self._consumed.get((record.partition, id(result)))
        if body is None:
            attributes = (
                kafka_attributes("process", record.topic)
                | {
                    "messaging.destination.partition.id": str(record.partition),
                    "messaging.consumer.group.name": self._route.group,
                    "fraudstream.batch.size": self._size,
                }
                | result
            )
            name, began_ns = f"process {self._route.source}", self._began_ns
            body = self._consumed[record.partition, id(result)] = self._body(
                name, SpanKind.CONSUMER, began_ns, attributes
            )
        return body

    def batch(self, topic: str) -> SpanBody:
        """Return that of the batch."""
        attributes: Attributes = kafka_attributes("process", topic) | {
            "messaging.consumer.group.name": self._route.group,
            "messaging.batch.message_count": self._size,
            "fraudstream.batch.size": self._size,
        }
        return self._body("process batch", SpanKind.CONSUMER, self._began_ns, attributes)

    def _body(self, name: str, kind: SpanKind, began_ns: int, attributes: Attributes) -> SpanBody:
        failed = self._why is not None
        return SpanBody(name, kind, began_ns, self._end_ns, attributes | (self._why or {}), failed)


def _judged(fact: Decided, sampled: Mapping[Place, SampledRecord]) -> Iterator[tuple[Place, Attributes]]:
    """Yield the result of each sampled record that was decided; records with the same result share one."""
    shared: dict[object, Attributes] = {}
    offsets = {offset for _, offset in sampled}
    for record, judgement in zip(fact.scored.records, fact.scored.judgements, strict=True):
        if record.offset not in offsets or (place := _place(record)) not in sampled:
            continue
        digest = fact.digest if judgement.model is None else judgement.model.digest
        by = None if judgement.overruled is None else judgement.overruled.by
        key = judgement.arm, digest, judgement.decision, judgement.decided_by, judgement.degraded, by
        result = shared.get(key)
        if result is None:
            result = shared[key] = {
                "fraudstream.revision": fact.revision,
                "fraudstream.arm": judgement.arm,
                "fraudstream.model.digest": digest,
                "fraudstream.outcome": "decided",
                "fraudstream.decision": judgement.decision,
                "fraudstream.decided_by": judgement.decided_by,
                "fraudstream.degraded": judgement.degraded,
            }
            if by is not None:
                result["fraudstream.overruled"] = by
        yield place, result


def _dead_letters(dead: Iterable[DeadLetter]) -> dict[Place, Attributes]:
    """Return the result of each dead letter, with its code."""
    return {_place(letter.record): {"fraudstream.outcome": "dead_letter", "error.type": letter.code} for letter in dead}


def _place(record: Record) -> Place:
    return record.partition, record.offset


def _redis(settings: Settings) -> Attributes:
    """Describe the Redis server without the login in its URL; of several, the first one in the URL."""
    attributes: Attributes = {"db.system.name": "redis", "db.operation.name": "EVALSHA"}
    host = first_host(settings.redis_url)
    if host:
        attributes["server.address"] = host
    return attributes


def _joined(stages: Iterable[Stage]) -> list[Stage]:
    """Join stages of the same name, as in a batch that was decided record by record."""
    joined: dict[str, Stage] = {}
    for stage in stages:
        first = joined.setdefault(stage.name, stage)
        joined[stage.name] = first._replace(end_ns=stage.end_ns)
    return list(joined.values())

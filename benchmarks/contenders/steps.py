"""Where a payment's time goes in a running worker: single payments followed from their due time to their score.

The worker traces all of them and sends its spans here; the load knows when a payment was due, the reader when its score
was there. What is unfair: tracing itself takes a tenth of a millisecond of a batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from statistics import median, quantiles
from typing import NamedTuple

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.parts import otlp_sink

STAGES = ("decode", "observe", "vectorise", "score", "encode", "publish")
STEPS = ("to the worker", "batch before", *STAGES, "between stages", "to its consumer", "in all")
TRACING = {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_METRICS_EXPORTER": "none"}
"""What makes a worker trace every payment; its endpoint comes from `collecting`."""

Place = tuple[int, int]


class BatchTimes(NamedTuple):
    """When a batch began and was done, and how long each stage took; nanoseconds, the first two of the epoch."""

    began: int
    done: int
    stages: Mapping[str, int]


class Spans:
    """The spans that a worker has sent."""

    def __init__(self) -> None:
        self._received: list[Span] = []

    def take(self, message: bytes) -> None:
        """Keep those of one request."""
        for resource in ExportTraceServiceRequest.FromString(message).resource_spans:
            for scope in resource.scope_spans:
                self._received += scope.spans

    def batches(self) -> dict[Place, BatchTimes]:
        """Return the batch in which each payment was decided, by its partition and offset."""
        stages: dict[bytes, dict[str, tuple[int, int]]] = {}
        for span in self._received:
            name = span.name.removesuffix(" live")
            if name in STAGES:
                times = span.start_time_unix_nano, span.end_time_unix_nano
                stages.setdefault(span.parent_span_id, {})[name] = times
        found = {}
        for span in self._received:
            if span.name == "process transactions":
                own = stages[span.links[0].span_id if span.links else span.span_id]
                done = span.end_time_unix_nano
                publish = done - own["encode"][1]  # a batch of one has no span for it
                spent = {name: end - start for name, (start, end) in own.items()} | {"publish": publish}
                found[_place(span)] = BatchTimes(span.start_time_unix_nano, done, spent)
        return found


def _place(span: Span) -> Place:
    values = {one.key: one.value for one in span.attributes}
    partition = values["messaging.destination.partition.id"].string_value
    return int(partition), values["messaging.kafka.offset"].int_value


@contextmanager
def collecting() -> Iterator[tuple[str, Spans]]:
    """Yield the address of a collector of OTLP over HTTP, and what it receives."""
    spans = Spans()

    def take(path: str, body: bytes) -> None:
        if path == "/v1/traces":
            spans.take(body)

    with otlp_sink.collecting(take) as endpoint:
        yield endpoint, spans


class FollowedPayment(NamedTuple):
    """When a payment was due, and its score was there, in nanoseconds of the epoch, and where it lies in its topic."""

    due: int
    there: int
    place: Place


class _Source(msgspec.Struct):
    partition: int
    offset: int


class _Sourced(msgspec.Struct):
    source: _Source


def place_of(score: bytes) -> Place:
    """Return the partition and the offset of the payment that a score answers."""
    source = msgspec.json.decode(score, type=_Sourced).source
    return source.partition, source.offset


def steps_of(payments: Sequence[FollowedPayment], batches: Mapping[Place, BatchTimes]) -> list[dict[str, float]]:
    """Return how many milliseconds each payment spent in each of `STEPS`; those without spans are left out.

    A payment that is due while a batch is worked on waits for it; what is left until its own batch begins is its way to
    the worker: producer, broker, fetch and hand-over.
    """
    ends = sorted({(one.began, one.done) for one in batches.values()})
    previous = {began: end for (_, end), (began, _) in pairwise(ends)}
    found = []
    for one in payments:
        batch = batches.get(one.place)
        if batch is None:
            continue
        waited = max(0, min(previous.get(batch.began, 0), batch.began) - one.due)
        stages = {name: batch.stages.get(name, 0) for name in STAGES}
        spent = {
            "to the worker": batch.began - one.due - waited,
            "batch before": waited,
            **stages,
            "between stages": batch.done - batch.began - sum(stages.values()),
            "to its consumer": one.there - batch.done,
            "in all": one.there - one.due,
        }
        found.append({name: ns / 1e6 for name, ns in spent.items()})
    return found


def summary(steps: Sequence[Mapping[str, float]]) -> list[tuple[str, float, float]]:
    """Return the median and the 95th percentile of each step, in milliseconds."""
    columns = {name: [one[name] for one in steps] for name in STEPS}
    return [(name, median(values), quantiles(values, n=20)[-1]) for name, values in columns.items()]

"""Spans of single steps, those of the judge and of a worker among them, and the headers that they forward."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from models.commands import CommandKind, Event, EventKind, encode
from models.problems import Problem, ProblemCode
from models.times import format_time
from stream.control.announcements import CandidateAnswers, outcome_attributes
from stream.control.follower import Follower
from stream.engine.publisher import Headers
from stream.kafka.client import names_for_judges
from stream.settings import Settings
from stream.telemetry.attributes import MEANINGS
from stream.telemetry.setup import OperationTracer
from support.stream_records import CARD_NUMBER, Told

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-01".encode()), ("tracestate", b"bank=1"))
MODEL = "d" * 64


class Kept:
    """A tracer of steps over an exporter that keeps their spans."""

    def __init__(self, sampler: Any = None) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler or ParentBased(ALWAYS_ON))
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.operations = OperationTracer(provider.get_tracer("t"))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


class EventKeeper:
    """A publisher that keeps the events; its first `failures` calls raise."""

    def __init__(self, failures: int = 0) -> None:
        self.events: list[tuple[Event, Headers]] = []
        self._failures = failures

    async def publish_event(self, event: Event, headers: Headers = ()) -> int:
        if self._failures:
            self._failures -= 1
            raise KafkaError
        self.events.append((event, headers))
        return len(self.events)


def event(kind: EventKind, **changes: Any) -> Event:
    given = {"event_id": "e", "deployment": "default", "revision": 1, "worker": "w", "at": format_time(0)}
    return Event(
        **given | {"kind": kind, "command_id": "c-1", "model": MODEL, "command": CommandKind.PROMOTE} | changes
    )


async def apply_events(follower: Follower, events: Sequence[tuple[Event, Headers]]) -> None:
    """Let a follower read events with their headers."""
    await follower._apply(
        [Told(encode(one), offset=at, headers=headers) for at, (one, headers) in enumerate(events)], 0
    )


def test_a_step_continues_its_parents_trace_and_its_headers_carry_its_own_span() -> None:
    kept = Kept()
    step = kept.operations.begin("judge promote", SAMPLED, 1_000)
    step.done(outcome_attributes(event(EventKind.ACCEPTED)))
    (span,) = kept.spans
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert (span.kind, span.start_time) == (SpanKind.CONSUMER, 1_000)
    assert dict(step.headers) == {
        "traceparent": f"00-{TRACE}-{span.context.span_id:016x}-01".encode(),
        "tracestate": b"bank=1",
    }


def test_a_producing_step_begins_a_trace_only_if_the_sampler_samples_it() -> None:
    kept, silent = Kept(), Kept(ParentBased(ALWAYS_OFF))
    step = kept.operations.begin("model promote")
    step.failed("no_verdict")
    (span,) = kept.spans
    assert (span.parent, span.kind, span.status.status_code) == (None, SpanKind.PRODUCER, StatusCode.ERROR)
    assert [name for name, _ in step.headers] == ["traceparent"]
    silent.operations.begin("model promote").done({})
    assert silent.spans == ()


@pytest.mark.parametrize("name", ["send transactions", "judge promote"])
def test_a_decision_against_sampling_is_forwarded_to_the_next_step(name: str) -> None:
    silent, next_one = Kept(ParentBased(ALWAYS_OFF)), Kept()
    step = silent.operations.begin(name, (("other", b"1"),))
    (other, (carried, value)) = step.headers
    assert (other, carried) == (("other", b"1"), "traceparent")
    assert re.fullmatch(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[02]", value or b"")
    then = next_one.operations.begin("process transactions", step.headers)
    then.done({})
    assert next_one.spans == ()
    assert then.headers is step.headers


@given(
    st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate"]), st.none() | st.binary(max_size=70)), max_size=3)
)
def test_an_invalid_traceparent_is_forwarded_unchanged_and_not_traced(
    came_with: list[tuple[str, bytes | None]],
) -> None:
    kept = Kept()
    step = kept.operations.begin("judge promote", came_with)
    step.done({})
    if any(name == "traceparent" for name, _ in came_with):
        assert step.headers is came_with
        assert kept.spans == ()


def test_a_verdicts_span_has_problem_codes_and_no_texts() -> None:
    kept = Kept()
    problem = Problem(ProblemCode.INVALID_FIELD, f"reason: quotes {CARD_NUMBER}")
    kept.operations.begin("judge promote").done(
        outcome_attributes(event(EventKind.REFUSED, model=None, problems=(problem,)))
    )
    (span,) = kept.spans
    assert dict(span.attributes or {})["fraudstream.problems"] == ("invalid_field",)
    assert set(span.attributes or {}) <= set(MEANINGS)
    assert CARD_NUMBER not in span.to_json()


async def test_an_answer_continues_the_candidates_trace_and_stays_due_until_it_is_published() -> None:
    kept, published = Kept(), EventKeeper(failures=1)
    follower = Follower(Settings(), kept.operations)
    answers = CandidateAnswers(follower, published, "w-1")  # type: ignore[arg-type] - it has what is used of a publisher
    await apply_events(follower, [(event(EventKind.CANDIDATE), (*SAMPLED, ("other", b"1")))])
    assert answers.unanswered({"c-1": MODEL}) == {"c-1": MODEL}
    await answers.answer("c-1", MODEL, "p" * 64)
    assert kept.spans == ()
    assert answers.unanswered({"c-1": MODEL}) == {"c-1": MODEL}
    await answers.answer("c-1", MODEL, "p" * 64)
    (span,) = kept.spans
    ((answer_event, headers),) = published.events
    assert (span.name, f"{span.context.trace_id:032x}") == ("load and answer", TRACE)
    assert span.start_time == follower.candidate_notices["c-1"].received_ns
    assert (answer_event.kind, dict(headers)["traceparent"].split(b"-")[2]) == (
        "ready",
        f"{span.context.span_id:016x}".encode(),
    )
    assert "other" not in dict(headers)
    assert dict(span.attributes or {})["fraudstream.command.outcome"] == "ready"
    assert answers.unanswered({"c-1": MODEL}) == {}


async def test_an_answer_is_given_under_every_name_by_which_the_judge_may_know_the_worker() -> None:
    published, follower = EventKeeper(), Follower(Settings())
    answers = CandidateAnswers(follower, published, "w-1", names_for_judges)  # type: ignore[arg-type] - likewise
    await apply_events(follower, [(event(EventKind.CANDIDATE), ())])
    await answers.answer("c-1", MODEL, "p" * 64)
    assert [(one.kind, one.worker, one.probe_hash) for one, _ in published.events] == [
        ("ready", "w-1", "p" * 64),
        ("ready", "w-1@attempts", "p" * 64),
    ]
    assert answers.unanswered({"c-1": MODEL}) == {}


async def test_a_verdict_removes_the_candidate_and_ends_its_open_span() -> None:
    kept = Kept()
    follower = Follower(Settings(), kept.operations)
    answers = CandidateAnswers(follower, EventKeeper(failures=9), "w-1")  # type: ignore[arg-type] - likewise
    await apply_events(follower, [(event(EventKind.CANDIDATE), SAMPLED)])
    await answers.answer("c-1", MODEL, ())
    await apply_events(follower, [(event(EventKind.REFUSED), ())])
    assert follower.candidate_notices == {}
    assert answers.unanswered({}) == {}
    (span,) = kept.spans
    assert dict(span.attributes or {})["error.type"] == "settled"

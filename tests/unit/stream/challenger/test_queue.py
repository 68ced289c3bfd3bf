import dataclasses
import gc
import sys
import weakref
from collections import Counter, deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.outputs import DecidedBy, Decision, ModelName, Score
from models.commands import EventKind
from models.problems import Problem, ProblemCode
from shadow.comparison import read_decided
from shadow.process import HeldModel
from shadow.protocol import CompareResult
from stream.challenger.comparer import Comparer, child_command, child_environment
from stream.challenger.misses import MissLog
from stream.challenger.queue import (
    DecisionColumns,
    QueuedDecisions,
    by_destination,
    compare_request,
    comparisons_due,
    emit_compared,
    take_portion,
    without_features,
)
from stream.clock import Stage
from stream.control.follower import Follower
from stream.control.model_cache import ArmModels, ServingModels
from stream.scoring.encode import Judgement, Scored
from stream.scoring.facts import Compared, Fact, Missed
from stream.scoring.tracing import NoTracing, Place
from stream.settings import PREFIX, Settings
from support.shadow_cases import DIGEST, LIVE, Log, scored, serving

OTHER = "b" * 64


class RecordingTrace(NoTracing):
    """A batch trace that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], str, Stage]] = []

    def compared(self, places: Sequence[Place], digest: str, stage: Stage) -> None:
        self.calls.append(([offset for _, offset in places], digest, stage))


def queued_decisions(count: int, digest: str = DIGEST, trace: Any = None) -> QueuedDecisions:
    return QueuedDecisions(
        digest, digest, DecisionColumns.of(scored(count), "f", count), trace or NoTracing(), 0, count
    )


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from([DIGEST, OTHER])), max_size=8), st.integers(1, 12))
def test_portions_hold_one_challenger_each_keep_its_order_and_are_full(offers: Any, most: Any) -> None:
    waiting = deque(queued_decisions(count, digest) for count, digest in offers)
    offered = {
        digest: [*map(id, (one.columns for one in waiting if one.digest == digest))] for digest in (DIGEST, OTHER)
    }
    counts = [len(one) for one in waiting]
    portions = []
    while waiting:
        portions.append(take_portion(waiting, most))
    for digest, columns in offered.items():
        taken = [one for portion in portions for one in portion if one.digest == digest]
        assert [*dict.fromkeys(id(one.columns) for one in taken)] == columns
        for each in columns:
            rows = [at for one in taken if id(one.columns) == each for at in range(one.first, one.last)]
            assert rows == [*range(len(rows))]
    assert sum(len(one) for portion in portions for one in portion) == sum(counts)
    for digest in offered:  # all but the last portion of a model are full, whatever stands between its decisions
        sizes = [sum(map(len, portion)) for portion in portions if portion[0].digest == digest]
        assert all(size == most for size in sizes[:-1])
    for portion in portions:
        assert len({one.digest for one in portion}) == 1
        assert 0 < sum(map(len, portion)) <= most
        asked = compare_request(portion)
        rows = np.frombuffer(asked.matrix).reshape(-1, asked.width)
        assert rows.tolist() == [
            one.columns.matrix[at].tolist() for one in portion for at in range(one.first, one.last)
        ]
        assert len(asked.scores) == len(rows)


TEXTS = st.one_of(
    st.text(max_size=20), st.sampled_from([',"features":{', '},"positions":', '"features":{},"positions":', '\\",'])
)


@given(TEXTS, TEXTS, st.one_of(st.none(), st.dictionaries(TEXTS, st.one_of(st.none(), st.floats(0, 1)), max_size=3)))
def test_a_score_without_its_features_says_the_same_otherwise_whatever_its_texts_hold(
    transaction: str, card: str, features: Any
) -> None:
    whole = msgspec.json.decode(scored(1).outgoing[0].value or b"", type=Score)
    changed = {"transaction_id": transaction, "card_id": card, "features": features, "dropped": (card, transaction)}
    encoded = msgspec.json.encode(msgspec.structs.replace(whole, **changed))
    left = without_features(encoded)
    told = msgspec.json.decode(encoded)
    if features is not None:
        assert told.pop("features") == features
    assert msgspec.json.decode(left) == told
    assert read_decided(left) == read_decided(encoded)


def test_comparisons_are_routed_to_their_scores_partitions_and_added_to_their_batchs_trace() -> None:
    traces, facts = (RecordingTrace(), RecordingTrace()), list[Fact]()
    first, second = DecisionColumns.of(scored(4), "f", 4), DecisionColumns.of(scored(2, 10, None), "f", 2)
    portion = [
        QueuedDecisions(DIGEST, DIGEST, first, traces[0], 1, 4),
        QueuedDecisions(DIGEST, DIGEST, second, traces[1], 0, 2),
    ]
    rows: tuple[bytes | None, ...] = (b"1", None, b"3", b"10", b"11")
    decisions = tuple(row and Decision.REVIEW for row in rows)
    reply = CompareResult(rows, tuple(row and 0.5 for row in rows), decisions, 5, 9)  # type: ignore[arg-type]
    sent = by_destination("shadow-scores", portion, reply)
    assert {where: [one.value for one in out] for where, out in sent.items()} == {
        ("shadow-scores", 0): [b"10"],
        ("shadow-scores", 1): [b"1", b"3", b"11"],
    }
    assert [one.source_offset for one in sent["shadow-scores", 1]] == [1, 3, 11]
    assert {one.key for out in sent.values() for one in out} == {b"card-1"}
    emit_compared(portion, reply, facts.append)
    stage = Stage("shadow", 5, 9)
    assert [trace.calls for trace in traces] == [[([1, 3], DIGEST, stage)], [([10, 11], DIGEST, stage)]]
    one, other = facts
    assert isinstance(one, Compared)
    assert (one.shifts, one.live, one.challenger) == ([0.25] * 2, [Decision.APPROVE] * 2, [Decision.REVIEW] * 2)
    assert (one.amounts_minor, one.currencies) == ([1250] * 2, ["EUR"] * 2)
    assert isinstance(other, Compared)
    assert (other.shifts, len(other.live)) == ([], 2)


def test_input_records_are_released_while_a_decision_waits() -> None:
    whole = scored(3)
    kept, records = DecisionColumns.of(whole, "f", 2), [weakref.ref(record) for record in whole.records]
    value = whole.records[0].value
    assert len(kept) == 2
    del whole
    gc.collect()
    assert [record() for record in records] == [None] * 3
    assert value not in [one.value for one in kept.outgoing]
    assert kept.matrix.base is None
    assert [*kept.places(0, 2)] == [(0, 0), (1, 1)]


def comparer(facts: list[Fact], queue: int = 10) -> Comparer:
    settings = Settings(shadow_queue=queue, worker_id="w")
    made = Comparer(settings, Follower(settings), facts.append)
    made._process.loaded = {DIGEST: HeldModel("hash", "f")}
    return made


@given(st.lists(st.integers(0, 8), max_size=8))
def test_decisions_beyond_the_queue_limit_are_skipped_and_counted(offers: Any) -> None:
    facts: list[Fact] = []
    made = comparer(facts)
    for count in offers:
        made.offer(scored(count) if count else Scored.empty(), serving(DIGEST), NoTracing())
    skipped = sum(fact.count for fact in facts if isinstance(fact, Missed) and fact.reason == "skipped")
    assert made.queued == min(sum(offers), 10)
    assert made.queued + skipped == sum(offers)
    assert sum(map(len, made._queue)) == made.queued == sum(len(one.columns) for one in made._queue)


def test_the_challengers_environment_holds_no_setting_of_the_worker_but_the_form_of_its_log_and_none_of_its_telemetry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = {f"{PREFIX}{name.upper()}" for name in Settings.__struct_fields__}
    ours |= {"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME", "OTEL_SDK_DISABLED"}
    threads = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
    environment = child_environment({"HOME": "h", "OMP_NUM_THREADS": "8"} | dict.fromkeys(ours, "secret"))
    assert environment.keys() == {"HOME", "PYTHONPATH", "FRAUDSTREAM_LOG_FORMAT"} | threads
    assert (environment["HOME"], {environment[name] for name in threads}) == ("h", {"1"})
    for name in ours:
        monkeypatch.setenv(name, "secret")
    assert comparer([])._process._environment.keys() & ours == {"FRAUDSTREAM_LOG_FORMAT"}
    assert child_command()[0] == sys.executable


async def test_misses_are_emitted_at_once_and_reported_periodically_and_at_the_end() -> None:
    facts, log = list[Fact](), Log()
    misses = MissLog(Follower(Settings()), log, "w", facts.append)
    misses.compared(DIGEST, 5)
    await misses.report_due({DIGEST}, 0)
    assert (facts, log.events) == ([], [])
    misses.missed(DIGEST, "skipped", 0)
    misses.missed(DIGEST, "failed", 2, "it raised")
    log.away = True
    await misses.report_due({DIGEST}, 0)
    log.away = False
    await misses.report_due({DIGEST}, 10)
    misses.missed(DIGEST, "skipped", 1)
    await misses.report_due({DIGEST}, 10)
    assert facts == [Missed(DIGEST, "failed", 2), Missed(DIGEST, "skipped", 1)]
    (first,) = log.events
    assert (first.kind, first.model, first.compared, first.skipped, first.failed) == (EventKind.SHADOW, DIGEST, 5, 0, 2)
    assert first.problems == (Problem(ProblemCode.SHADOW_FAILED, "it raised"),)
    misses.compared(DIGEST, 1)
    log.away = True
    await misses.report_due((), 20)
    log.away = False
    await misses.report_due((), 20)
    await misses.report_due((), 10**9)
    _, last = log.events
    assert (last.compared, last.skipped, last.failed) == (6, 1, 2)


def test_without_a_challenger_each_side_of_a_canary_scores_what_the_other_decided() -> None:
    batch = dataclasses.replace(scored(6), judgements=[made(*how) for how in MADE])
    live, canary = SimpleNamespace(digest=LIVE), ArmModels({"canary": SimpleNamespace(digest=OTHER)}, None)  # type: ignore[dict-item,arg-type]
    due = comparisons_due(batch, ServingModels(7, live, None, None, canary))  # type: ignore[arg-type]
    assert [(one.scorer, one.challenger, sources(one.scored)) for one in due] == [
        (OTHER, OTHER, [0, 3]),
        (LIVE, OTHER, [1]),
    ]
    named = comparisons_due(batch, ServingModels(7, live, None, DIGEST, canary))  # type: ignore[arg-type]
    assert [(one.scorer, one.challenger, sources(one.scored)) for one in named] == [(DIGEST, DIGEST, [0, 3])]
    assert comparisons_due(batch, ServingModels(7, live, None)) == []  # type: ignore[arg-type]


def test_of_a_split_nothing_is_compared_without_a_challenger_and_of_live_with_one() -> None:
    made_by = [made("live", LIVE, ()), made("a", OTHER, ()), made("b", DIGEST, ()), made("control", LIVE, ())]
    batch = dataclasses.replace(scored(4), judgements=made_by)
    live, arms = SimpleNamespace(digest=LIVE), ArmModels({"a": SimpleNamespace(digest=OTHER)}, None)  # type: ignore[dict-item,arg-type]
    assert comparisons_due(batch, ServingModels(7, live, None, None, arms)) == []  # type: ignore[arg-type]
    (due,) = comparisons_due(batch, ServingModels(7, live, None, DIGEST, arms))  # type: ignore[arg-type]
    assert (due.scorer, due.challenger, sources(due.scored)) == (DIGEST, DIGEST, [0])


MADE: list[tuple[str, str | None, tuple[str, ...]]] = [
    ("live", LIVE, ()),
    ("canary", OTHER, ()),
    ("canary", LIVE, ("canary_model_failed",)),
    ("live", DIGEST, ("live_model_failed",)),
    ("canary", None, ("canary_model_failed", "live_model_failed", "no_model")),
    ("live", None, ("undecidable",)),
]
"""Arm, deciding model and `degraded` of some decisions."""


def made(arm: str, digest: str | None, degraded: tuple[str, ...]) -> Judgement:
    model = None if digest is None else ModelName("card", "1", digest)
    return Judgement(0.25, 500, Decision.APPROVE, DecidedBy.MODEL, model, degraded, arm)


def sources(some: Scored) -> list[int]:
    return [one.source_offset for one in some.outgoing]


def test_what_a_canary_decided_is_told_from_the_live_models_side() -> None:
    """The live model scored it in the shadow, and the fact still has its decision under `live`."""
    facts, columns = list[Fact](), DecisionColumns.of(scored(2), "f", 2)
    reply = CompareResult((b"0", b"1"), (0.5, 0.5), (Decision.REVIEW,) * 2, 5, 9)
    emit_compared([QueuedDecisions(LIVE, OTHER, columns, NoTracing(), 0, 2)], reply, facts.append)
    (fact,) = facts
    assert isinstance(fact, Compared)
    assert (fact.digest, fact.shifts) == (OTHER, [-0.25, -0.25])
    assert (fact.live, fact.challenger) == ([Decision.REVIEW] * 2, [Decision.APPROVE] * 2)


def test_portions_part_what_is_scored_by_one_model_for_two_challengers() -> None:
    first, second = queued_decisions(2), dataclasses.replace(queued_decisions(2), challenger=OTHER)
    waiting = deque([first, second])
    assert [[one.challenger for one in take_portion(waiting, 9)] for _ in range(2)] == [[DIGEST], [OTHER]]


def test_under_load_both_sides_of_a_canary_get_slots() -> None:
    """The live side, offered first, took each slot that was freed: 950 of 100,000 comparisons were of the canary."""
    comparer = Comparer(Settings(shadow_queue=8), Follower(Settings()), lambda _: None)
    for digest in (LIVE, OTHER):
        comparer._process.loaded[digest] = HeldModel("h", "f")
    live, canary = SimpleNamespace(digest=LIVE), ArmModels({"canary": SimpleNamespace(digest=OTHER)}, None)  # type: ignore[dict-item,arg-type]
    serving = ServingModels(7, live, None, None, canary)  # type: ignore[arg-type]
    batch = dataclasses.replace(
        scored(8), judgements=[made("canary" if at % 2 else "live", OTHER if at % 2 else LIVE, ()) for at in range(8)]
    )
    taken: Counter[str] = Counter()
    for _ in range(50):
        comparer.offer(batch, serving, NoTracing())
        portion = take_portion(comparer._queue, 4)
        taken[portion[0].digest] += sum(map(len, portion))
        comparer._slots = comparer._slots.release(sum(map(len, portion)))
    assert min(taken[LIVE], taken[OTHER]) > 50

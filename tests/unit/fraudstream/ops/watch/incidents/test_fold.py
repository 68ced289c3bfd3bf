"""The same incidents are told whatever the polls, the restarts, and the guards that read."""

from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.ops.watch.incidents import rules
from fraudstream.ops.watch.incidents.resume import new_state
from fraudstream.ops.watch.incidents.told import Told
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule
from support.examples import examples
from support.incident_world import SETTINGS, START_MS, Past, PastReader, begin_at, troubled_past

RUN = 15
SEEDS = st.integers(0, 20)


@pytest.fixture(autouse=True, scope="module")
def _short_runs() -> Iterator[None]:
    """Halt a partition after fewer dead letters than workers do, so that a past is short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "HALTING_RUN", RUN)
        yield


@cache
def told_at_once(seed: int) -> list[Incident]:
    return PastReader(troubled_past(seed), begin_at()).read_all()


def assert_numbered(incidents: list[Incident]) -> None:
    """Assert that each incident is opened and closed once, and that its records are numbered."""
    by_id: dict[str, list[Incident]] = {}
    for one in incidents:
        by_id.setdefault(one.incident_id, []).append(one)
    for records in by_id.values():
        assert [one.sequence for one in records] == list(range(len(records)))
        assert records[0].kind is IncidentKind.OPENED
        assert records[-1].kind is IncidentKind.CLOSED
        assert {one.kind for one in records[1:-1]} <= {IncidentKind.CHANGED}
        assert [one.at for one in records] == sorted(one.at for one in records)
        assert all(one.since <= one.until for one in records)


def sizes(past: Past, draw: np.random.Generator) -> dict:
    return {tp: int(draw.integers(0, 200)) for tp in past.records}


def test_the_past_has_an_incident_of_every_rule_that_is_told_by_seconds() -> None:
    found = Counter(one.rule for seed in range(4) for one in told_at_once(seed))
    assert set(found) == set(IncidentRule) - rules.TOLD_BY_THE_WATCH


@settings(max_examples=examples(40, in_ci=4))
@given(SEEDS, SEEDS)
def test_any_polls_and_restarts_tell_the_same_and_each_incident_once(seed: int, order: int) -> None:
    past, draw = troubled_past(seed), np.random.default_rng(order)
    reader = PastReader(past, begin_at())
    while not reader.is_done:
        reader.read(sizes(past, draw))
        if draw.random() < 0.7:
            reader.tell()
        if draw.random() < 0.3:
            reader = reader.restarted()
    assert reader.read_all() == told_at_once(seed)
    assert_numbered(reader.told)


@settings(max_examples=examples(40, in_ci=4))
@given(SEEDS, SEEDS)
def test_a_guard_without_a_checkpoint_and_a_second_one_tell_of_the_same_incidents(seed: int, order: int) -> None:
    past, draw = troubled_past(seed), np.random.default_rng(order)
    told, written = Told(SETTINGS.deployment), list[Incident]()
    guards = [PastReader(past, begin_at())]
    while not guards[0].is_done:
        for at, guard in enumerate(guards):
            guard.read(sizes(past, draw))
            guard.tell()
            write(guard, told, written)
            if draw.random() < 0.1:
                guards[at] = begun_anew(past, told, guard)
        if len(guards) == 1 and draw.random() < 0.2:
            guards.append(begun_anew(past, told, guards[0]))
    for guard in guards:
        guard.read_all()
        write(guard, told, written)
    expected = told_at_once(seed)
    assert {one.incident_id for one in written} == {one.incident_id for one in expected}
    assert Counter((one.incident_id, one.sequence) for one in written).most_common(1)[0][1] == 1
    ended = Counter(one.incident_id for one in written if one.kind is IncidentKind.CLOSED)
    assert ended == Counter({one.incident_id: 1 for one in expected})


def write(guard: PastReader, told: Told, written: list[Incident]) -> None:
    for one in guard.told:
        news = told.next_of(one)
        if news is not None:
            assert told.add(news)
            written.append(news)
    guard.told.clear()


def begun_anew(past: Past, told: Told, before: PastReader) -> PastReader:
    """Return a guard that begins without a checkpoint at the time that another one has reached."""
    last = [one.last for one in told.incidents.values()]
    state = new_state(last, past.commands, max(before.state.at_s * 1000, START_MS))
    return PastReader(past, state).restarted()  # as it goes on from its own first checkpoint

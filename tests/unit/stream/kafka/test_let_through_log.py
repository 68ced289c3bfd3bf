"""What was let through is known to every next owner of a partition: after crashes, lost commits and hand-overs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from aiokafka.structs import OffsetAndMetadata
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream_client.arms import LIVE
from fraudstream_client.outputs import Score
from fraudstream_client.validity import Standing, ValidScores
from models.decline_cap import MOST_NOTED_ARMS, DeclineWindow
from models.let_through import MOST_CURRENCIES, DeclinedPayment, LetThrough, LetThroughTotals, draw_lots
from models.terms import Term
from stream.engine.unpacking import FetchedRecord
from stream.positions.offsets import CommitNote, Position, ResumePoint, folded, parse_metadata, read_note
from stream.positions.score_tails import noted_on_scores, resume_point
from stream.settings import Settings
from support.examples import examples
from support.handmade_scores import score
from support.let_through import Rule, expected_lots, found_lots, let_through_amounts

SETTINGS = {name: Settings(deployment=name) for name in ("blue", "green")}
TOLD = {"blue": Rule(6_000, {"EUR": 3_000}, "s", 1), "green": Rule(4_000, {"EUR": 2_000}, "t", 1)}
RULES = {name: LetThrough(one.share_bp, dict(one.caps), one.salt, one.partitions) for name, one in TOLD.items()}
REVISIONS = {"blue": 1, "green": 2}


class PartitionLog:
    """One partition of `scores`, the commits of both fleets, and what the worker that publishes knows."""

    def __init__(self) -> None:
        self.records: list[FetchedRecord] = []
        self.term, self.epoch, self.day, self.offset = Term(0, "blue"), 1, 1, 0
        self.commits: dict[str, OffsetAndMetadata | None] = dict.fromkeys(SETTINGS)
        self.followed: Position | None = None
        self.position = Position()

    @property
    def publisher(self) -> str:
        return str(self.term.publisher)

    @property
    def other(self) -> str:
        return "green" if self.publisher == "blue" else "blue"

    def fold(self, position: Position, end: int | None = None) -> Position:
        for record in self.records[position.scores_offset : end]:
            position = folded(position, record)
        return position

    def write(self, amounts: Sequence[int], epoch: int, first: int, position: Position) -> LetThroughTotals:
        """Decide payments that a model declines, and write their scores; return the totals after them."""
        ids, day = [f"t-{first + at}" for at in range(len(amounts))], f"2026-01-{self.day:02}"
        declined = [DeclinedPayment(name, "EUR", amount, day) for name, amount in zip(ids, amounts, strict=True)]
        lots, totals = draw_lots(RULES[self.publisher], 0, position.let_through, declined)
        for at, (payment, lot) in enumerate(zip(declined, lots, strict=True)):
            made: dict[str, Any] = msgspec.json.decode(score(0, epoch, 0, first + at)) | {
                "transaction_id": payment.transaction_id,
                "amount_minor": payment.amount_minor,
                "decision": "approve" if lot else "decline",
                "overruled": {"by": "let_through", "from": "decline"} if lot else None,
                "propensity": None if lot is None else RULES[self.publisher].propensity,
                "revision": REVISIONS[self.publisher],
                "scored_at": f"{day}T12:00:00.000Z",
            }
            value = msgspec.json.encode(made)
            self.records.append(FetchedRecord("scores", 0, len(self.records), 0, 0, None, value, ()))
        return totals

    # --- what happens

    def decide(self, amounts: Sequence[int]) -> None:
        totals = self.write(amounts, self.epoch, self.offset, self.position)
        self.offset += len(amounts)
        self.position = self.fold(self.position)
        assert self.position.let_through == totals

    def commit(self, _amounts: Sequence[int]) -> None:
        note = self.position.to_metadata(with_declines=True, term=self.term.number)
        self.commits[self.publisher] = OffsetAndMetadata(self.offset, note)

    def restart(self, _amounts: Sequence[int]) -> None:
        self._take_over(self.publisher, None)

    def lose_commit(self, _amounts: Sequence[int]) -> None:
        self.commits[self.publisher] = None

    def follow(self, amounts: Sequence[int]) -> None:
        """Let the silent fleet follow the scores, from where it or the other one has noted, not always to the end."""
        start = self.followed
        for name in (self.other, self.publisher) if start is None else ():
            commit = self.commits[name]
            note = read_note(None if commit is None else commit.metadata)
            start = start or noted_on_scores(SETTINGS[name], self.term, note)
        self.followed = self.fold(start or Position(), len(self.records) - (len(amounts) % 3))

    def commit_silently(self, _amounts: Sequence[int]) -> None:
        own = Position(Standing(5, self.offset), 2, 40, term=self.term.number)
        note = own.to_metadata(with_declines=True, term=self.term.number, published=self.followed)
        self.commits[self.other] = OffsetAndMetadata(self.offset, note)

    def forget(self, _amounts: Sequence[int]) -> None:
        """Restart the silent fleet."""
        self.followed = None

    def hand_over(self, amounts: Sequence[int]) -> None:
        followed, self.followed = self.followed, None
        old = self.epoch
        self.term = Term(self.term.number + 1, self.other, (*self.term.earlier, self.publisher))
        self._take_over(self.publisher, followed)
        self.decide([100])
        zombie = self.position._replace(let_through=LetThroughTotals())
        self.write([*amounts, 700], old, self.offset, zombie)  # void: the successor has written
        self.position = self.fold(self.position)

    def next_day(self, _amounts: Sequence[int]) -> None:
        self.day += 1

    def _take_over(self, name: str, followed: Position | None) -> None:
        commit = self.commits[name]
        start = ResumePoint(None, followed or Position())
        if commit is not None:
            start = resume_point(SETTINGS[name], self.term, commit, followed)
        self.position = self.fold(start.position)
        self.epoch = self.term.epoch(1, self.position.standing.highest_epoch)

    def valid(self) -> list[Score]:
        return [one for _, one in ValidScores[FetchedRecord]().of(self.records)]


EVENTS: Mapping[str, Callable[[PartitionLog, Sequence[int]], None]] = {
    "decide": PartitionLog.decide,
    "decide more": PartitionLog.decide,
    "commit": PartitionLog.commit,
    "restart": PartitionLog.restart,
    "lose the commit": PartitionLog.lose_commit,
    "follow": PartitionLog.follow,
    "commit silently": PartitionLog.commit_silently,
    "forget": PartitionLog.forget,
    "hand over": PartitionLog.hand_over,
    "next day": PartitionLog.next_day,
}
happened = st.lists(
    st.tuples(st.sampled_from(list(EVENTS)), st.lists(st.integers(1, 900), min_size=1, max_size=8)), max_size=25
)


@given(happened)
@settings(max_examples=examples(100))
def test_both_fleets_count_what_was_let_through_on_scores_whatever_was_noted_lost_or_handed_over(
    events: list[tuple[str, list[int]]],
) -> None:
    log = PartitionLog()
    for name, amounts in events:
        EVENTS[name](log, amounts)
    valid, by_revision = log.valid(), {revision: TOLD[name] for name, revision in REVISIONS.items()}
    assert len(valid) == log.offset
    assert found_lots(valid) == expected_lots(valid, lambda one: by_revision[one.revision])
    assert all(amount <= 3_000 for amount in let_through_amounts(valid).values())
    log.restart([])
    found = let_through_amounts(valid)
    days = {day: amount for (_, day, _), amount in found.items()}
    assert dict(log.position.let_through.amounts) == ({"EUR": days[max(days)]} if days else {})


def test_a_worker_that_still_writes_when_its_successor_begins_exceeds_the_cap_by_its_last_batch_at_most() -> None:
    """The successor learns of it with its own first batch, and reads the scores again before the next one.

    Under the same lineup both draw the same lots; here the successor's model declines only the third payment.
    """
    log = PartitionLog()
    log.decide([100] * 10)
    known, old = log.position, log.epoch
    log.epoch = log.term.epoch(1, known.standing.highest_epoch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RULES, "blue", LetThrough(10_000, {"EUR": 3_000}, "s", 1))
        log.write([900, 900], old, log.offset, known)  # valid: the successor has not written yet
        log.write([2_000], log.epoch, log.offset + 2, known)
        log.position = log.fold(known)
        log.offset += 3
        used = log.position.let_through.amounts["EUR"]
        assert used == sum(let_through_amounts(log.valid()).values())
        assert used == known.let_through.amounts["EUR"] + 2 * 900 + 2_000
        assert 3_000 < used <= 3_000 + 2 * 900
        log.decide([1])
        assert log.position.let_through.amounts["EUR"] == used


def test_totals_are_noted_of_scores_alone_and_only_once_something_was_let_through() -> None:
    plain = Position(Standing(3, 40), 2, 50, identity="i", topic_id="t")
    assert plain.to_metadata() == '[3,40,2,50,"i","t"]'
    used = plain._replace(let_through=LetThroughTotals("2026-01-31", {"EUR": 4_100}))
    assert used.to_metadata() == '[3,40,2,50,"i","t",{},[0,0],["2026-01-31",{"EUR":4100}]]'
    assert read_note(used.to_metadata()) == CommitNote(used)
    published = Position(Standing(2**32 + 3, 60), 0, 70, term=1, let_through=used.let_through)
    silent = plain.to_metadata(term=1, published=published)
    assert read_note(silent) == CommitNote(plain, 1, published)


@given(
    st.dictionaries(st.from_regex("[A-Z]{3}", fullmatch=True), st.integers(1, 2**40), max_size=MOST_CURRENCIES + 4),
    st.booleans(),
)
def test_the_largest_note_fits_into_a_commit(amounts: dict[str, int], is_silent: bool) -> None:  # noqa: FBT001 - drawn
    others = (f"{number:064}" for number in range(MOST_NOTED_ARMS - 1))
    declines = {name: DeclineWindow((1 << 2_000) - 1, overruled=True) for name in (LIVE, *others)}
    topic_id = "6b1d1b5c-6c3e-4a44-9a2b-7c0e0a1f2b3c"
    own = Position(Standing(2**53, 2**53), 2**53, 2**44, (), 0, "f" * 16, topic_id, 511, declines, term=2**20)
    totals = LetThroughTotals("2026-01-31", amounts)
    scores = Position(Standing(2**53, 2**53), 0, 2**44, term=2**20)
    if is_silent:
        note = own.to_metadata(with_declines=True, term=2**20, published=scores._replace(let_through=totals))
    else:
        note = own._replace(let_through=totals).to_metadata(with_declines=True, term=2**20)
    assert len(note.encode()) <= 4_096
    found = read_note(note)
    noted = (found.published or Position()) if is_silent else found.position
    assert len(noted.let_through.amounts) == min(len(amounts), MOST_CURRENCIES)
    assert parse_metadata(note).declines == declines


@pytest.mark.parametrize(
    "change",
    [
        {"scored_at": "nonsense"},
        {"scored_at": ""},
        {"currency": ""},
        {"currency": None},
        {"amount_minor": "5"},
        {"amount_minor": -1},
        {"amount_minor": 1e30},
        {"overruled": {"by": "let_through"}},
    ],
)
def test_a_score_that_no_worker_wrote_makes_no_note_unreadable(change: dict[str, Any]) -> None:
    made: dict[str, Any] = msgspec.json.decode(score(0, 1, 0, 5)) | {
        "overruled": {"by": "let_through", "from": "decline"},
        "propensity": 0.005,
    }
    record = FetchedRecord("scores", 0, 0, 0, 0, None, msgspec.json.encode(made | change), ())
    position = folded(Position(), record)
    assert read_note(position.to_metadata(with_declines=True)) != CommitNote()
    assert set(position.let_through.amounts.values()) <= {1}

"""A copy of a commit is used only where it is proven to say what reading all scores would say."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import RebalanceInProgressError
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.validity import Standing
from stream.positions import score_tails
from stream.positions.commit_copies import CommitCopy, Origin, parse_copy, why_unproven
from stream.positions.losses import Progress, progress_of_transactions
from stream.positions.offsets import Decision, Position, ResumePoint, identity_of, is_position_note
from stream.positions.score_tails import TailReader
from support.known_leaders import KnownLeaders
from support.known_letters import KnownLetters

SCORES = TopicPartition("scores", 0)
HERE = Origin("group", "id-transactions", "id-scores")
LAST = Decision(7, 3, 49, identity_of("card", "tx-49"))
AT = Position(Standing(7, 49), 3, 50, identity=LAST.identity, topic_id=HERE.transactions_id)


def copy_of(position: Position = AT, group: str = HERE.group, scores_id: str = HERE.scores_id) -> CommitCopy:
    return CommitCopy(group, 50, position.to_metadata(with_declines=True), scores_id)


def at(**changes: Any) -> CommitCopy:
    return copy_of(AT._replace(**changes))


@pytest.mark.parametrize(
    ("copy", "origin", "span", "last", "why"),
    [
        (copy_of(), HERE, (0, 50), LAST, ""),
        (copy_of(), HERE, (20, 80), LAST, ""),
        (copy_of(), HERE, (49, 50), LAST, ""),
        (None, HERE, (0, 50), LAST, "there is none"),
        (copy_of(group="other"), HERE, (0, 50), LAST, "of group other"),
        (copy_of(scores_id="id-older"), HERE, (0, 50), LAST, "another topic of scores"),
        (copy_of(), HERE._replace(scores_id="id-newer"), (0, 50), LAST, "another topic of scores"),
        (copy_of(scores_id=""), HERE._replace(scores_id=""), (0, 50), LAST, "another topic of scores"),
        (at(topic_id="id-older"), HERE, (0, 50), LAST, "another topic of transactions"),
        (at(topic_id=""), HERE._replace(transactions_id=""), (0, 50), LAST, "another topic of transactions"),
        (copy_of(), HERE, (0, 49), None, "ends at offset 50"),
        (copy_of(), HERE, (50, 90), None, "ends at offset 50"),
        (at(scores_offset=0), HERE, (0, 50), None, "ends at offset 0"),
        (copy_of(), HERE, (0, 50), None, "is not the one"),
        (copy_of(), HERE, (0, 50), LAST._replace(epoch=6), "is not the one"),
        (copy_of(), HERE, (0, 50), LAST._replace(epoch=8), "is not the one"),
        (copy_of(), HERE, (0, 50), LAST._replace(place=48), "is not the one"),
        (copy_of(), HERE, (0, 50), LAST._replace(revision=2), "is not the one"),
        (copy_of(), HERE, (0, 50), LAST._replace(identity="other"), "is not the one"),
        (at(standing=Standing(7, 2**44 + 49)), HERE, (0, 50), LAST, "is not the one"),
        (at(standing=Standing(7, -1)), HERE, (0, 50), LAST, "is not the one"),
        (at(identity=""), HERE, (0, 50), LAST, "is not the one"),
        (CommitCopy("group", 50, "[7,49,3,50]", HERE.scores_id), HERE, (0, 50), LAST, "another topic of transactions"),
        (CommitCopy("group", 50, "nonsense", HERE.scores_id), HERE, (0, 50), LAST, "another topic of transactions"),
    ],
)
def test_a_copy_is_proven_by_group_topics_and_the_score_that_it_describes(
    copy: CommitCopy | None, origin: Origin, span: tuple[int, int], last: Decision | None, why: str
) -> None:
    found = why_unproven(copy, origin, span, last)
    assert why in found
    assert bool(why) is bool(found)


@pytest.mark.parametrize("note", [b"", b"\xff", b"[]", b"[1,2,3]", b'["g",-1,""]', b'{"group":"g"}', b"[" * 100_000])
def test_what_is_no_copy_is_none(note: bytes) -> None:
    assert parse_copy(note) is None


# --- reading the scores from a copy on


async def end_offsets(consumer: "StoredScores", tps: list[TopicPartition]) -> dict[TopicPartition, int]:
    return await consumer.end_offsets(tps)


@pytest.fixture(autouse=True)
def _no_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """All stored scores are committed: there is one end."""
    monkeypatch.setattr(score_tails, "ends_of_all", end_offsets)


class StoredScore(NamedTuple):
    """A record of the scores; only offset, value and headers are read."""

    offset: int
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


class StoredScores:
    """Stands in for the consumer of one partition of scores; `taken` counts the records that were read."""

    def __init__(self, scores: Sequence[Decision], end: int | None = None) -> None:
        self._records = [StoredScore(offset, encode(score)) for offset, score in enumerate(scores)]
        self._end = len(scores) if end is None else end
        self._at = 0
        self._client = KnownLeaders()
        self._paused = True
        self.taken = 0

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self._end)

    def pause(self, _tp: TopicPartition) -> None:
        self._paused = True

    def resume(self, _tp: TopicPartition) -> None:
        self._paused = False

    def seek(self, _tp: TopicPartition, offset: int) -> None:
        self._at = offset

    async def position(self, _tp: TopicPartition) -> int:
        return self._at

    async def getmany(self, tp: TopicPartition, **options: int) -> Mapping[TopicPartition, list[StoredScore]]:
        assert not self._paused
        found = self._records[self._at : self._at + options.get("max_records", 3)]
        self._at += len(found)
        self.taken += len(found)
        return {tp: found}


def encode(score: Decision) -> bytes:
    source = {"offset": score.place}
    ids = {"card_id": "card", "transaction_id": f"tx-{score.place}"}
    made = {"epoch": score.epoch, "revision": score.revision, "source": source, "arm": score.arm} | ids
    overruled = {"by": "decline_cap", "from": "decline"} if score.capped else None
    return msgspec.json.encode(made | {"decision": "review" if score.capped else "approve", "overruled": overruled})


def no_letters(_bounds: object) -> Any:
    return KnownLetters()


def read(
    scores: Sequence[Decision], copy: CommitCopy | None, committed: int | None = None, moved: int | None = None
) -> tuple[ResumePoint, int]:
    """Return where a partition of these scores resumes, and how many records were read for it."""
    stored: Any = StoredScores(scores)
    start = ResumePoint(committed, Position(), moved=moved)
    reader = TailReader(stored, SCORES.topic, HERE, {0: start}, {} if copy is None else {0: copy}, letters=no_letters)
    return asyncio.run(reader.read(0)), stored.taken


def folded(scores: Sequence[Decision]) -> Position:
    position = Position(topic_id=HERE.transactions_id)
    for score in scores:
        position = position.after(score)
    return position


def decision(epoch: int, place: int, *, declined: bool = False) -> Decision:
    return Decision(epoch, 1, place, identity_of("card", f"tx-{place}"), declined=declined, capped=declined)


NORMAL = [decision(1, place) for place in range(20)]


def test_behind_a_proven_copy_only_the_rest_of_the_scores_is_read() -> None:
    point, taken = read(NORMAL, copy_of(folded(NORMAL[:15])))
    assert taken == 1 + 5
    assert point.position.standing == Standing(1, 19)
    assert (point.committed, point.applied) == (None, 50)


def test_without_a_proven_copy_all_scores_are_read_and_nothing_is_known_to_be_applied() -> None:
    for copy in (None, copy_of(folded(NORMAL[:15]), group="other")):
        point, taken = read(NORMAL, copy)
        assert taken - len(NORMAL) in {0, 1}
        assert (point.position.standing, point.applied) == (Standing(1, 19), None)


def test_a_commit_that_kafka_has_is_used_whatever_the_copy_says() -> None:
    point, taken = read(NORMAL, copy_of(folded(NORMAL[:15])), committed=30)
    assert (taken, point.applied) == (len(NORMAL), 30)


def test_where_the_commit_was_moved_a_proven_copy_says_what_was_read_and_where_the_scores_are_read_on() -> None:
    point, taken = read(NORMAL, copy_of(folded(NORMAL[:15])), moved=90)
    assert (point.committed, point.applied, point.moved, taken) == (None, 50, 90, 1 + 5)
    assert progress_of_transactions(point, same_record=True) == Progress(50, 19, HERE.transactions_id, same_record=True)


def test_where_the_commit_was_moved_the_place_of_a_copy_counts_though_its_position_is_not_proven() -> None:
    void_before = [*NORMAL[:15], decision(0, 30), *NORMAL[15:]]
    for scores, position in ((void_before, folded(void_before[:16])), ([], folded([]))):
        point, _ = read(scores, copy_of(position), moved=90)
        assert (point.applied, point.position.topic_id) == (50, HERE.transactions_id)
        assert point.position.standing == folded(scores).standing
        assert read(scores, copy_of(position))[0].applied is None, "a commit that is gone needs the whole proof"


@pytest.mark.parametrize(
    "copy", [None, copy_of(group="other"), at(topic_id=""), CommitCopy("group", 50, "", HERE.scores_id)]
)
def test_where_the_commit_was_moved_and_no_copy_says_what_was_read_only_the_decisions_do(
    copy: CommitCopy | None,
) -> None:
    point, _ = read(NORMAL, copy, moved=90)
    assert (point.committed, point.applied, point.moved) == (None, None, 90)
    assert progress_of_transactions(point, same_record=None) == Progress(None, 19, moved=90)


def test_while_redis_does_not_give_the_copies_only_partitions_whose_commit_was_moved_wait_for_them() -> None:
    for moved, waits in ((90, True), (None, False)):
        stored: Any = StoredScores(NORMAL)
        start = ResumePoint(None, Position(), moved=moved)
        reader = TailReader(stored, SCORES.topic, HERE, {0: start}, {}, letters=no_letters, copies_away=True)
        if waits:
            with pytest.raises(RebalanceInProgressError, match="Redis does not give the copy"):
                asyncio.run(reader.read(0))
        else:
            assert asyncio.run(reader.read(0)).position.standing == Standing(1, 19)


@pytest.mark.parametrize(
    ("metadata", "is_ours"),
    [
        (AT.to_metadata(), True),
        (Position().to_metadata(), True),
        ("[3,40,2,50]", True),
        ('[3,40,2,50,"i","t",{},[1,1],["",{}],7,"of a later version"]', True),
        ("", False),
        (None, False),
        ("moved by ann", False),
        ("[1,2,3]", False),
        ('["a",1,2,3]', False),
        ("[true,true,true,true]", False),
        ("[" * 10_000, False),
        (HERE.transactions_id, False),
    ],
)
def test_a_commit_of_transactions_is_a_workers_if_it_begins_with_four_integers(
    metadata: str | None, *, is_ours: bool
) -> None:
    assert is_position_note(metadata) is is_ours


scores_of_zombies = st.lists(
    st.builds(decision, st.integers(1, 4), st.integers(0, 12), declined=st.booleans()), max_size=20
)


@given(scores_of_zombies, st.integers(0, 20))
def test_whatever_zombies_wrote_a_copy_of_a_prefix_gives_the_position_that_all_scores_give(
    scores: list[Decision], known: int
) -> None:
    point, _ = read(scores, copy_of(folded(scores[:known])))
    whole = folded(scores)
    assert point.position._replace(cutovers=(), void=0, topic_id="") == whole._replace(cutovers=(), void=0, topic_id="")


@given(
    scores_of_zombies.filter(bool),
    st.builds(Standing, st.integers(0, 5), st.integers(-1, 13)),
    st.integers(0, 3),
    st.integers(0, 21),
)
def test_an_invented_copy_is_used_only_if_it_describes_the_score_before_its_position(
    scores: list[Decision], standing: Standing, revision: int, known: int
) -> None:
    identity = identity_of("card", f"tx-{standing.last_place}")
    wrong = Position(standing, revision, known, identity=identity, topic_id=HERE.transactions_id)
    point, _ = read(scores, copy_of(wrong))
    if point.copied is not None:
        assert scores[known - 1][:4] == (standing.highest_epoch, revision, standing.last_place, identity)
    else:
        assert point.position.standing == folded(scores).standing


@pytest.mark.parametrize(
    ("position", "taken"),
    [(folded(NORMAL), 3), (folded(NORMAL)._replace(scores_offset=21), 3 + 20)],
    ids=["what was read is there", "it is not"],
)
def test_a_position_past_the_end_that_the_broker_names_counts_if_the_last_batch_reaches_it(
    position: Position, taken: int
) -> None:
    stored: Any = StoredScores(NORMAL, end=18)
    reader = TailReader(stored, SCORES.topic, HERE, {0: ResumePoint(7, position)}, None, letters=no_letters)
    point = asyncio.run(reader.read(0))
    assert point.position.standing == Standing(1, 19)
    assert stored.taken == taken


@pytest.mark.parametrize("gone", [0, 5])
def test_scores_that_are_gone_since_the_commit_are_counted_and_told_of(
    gone: int, caplog: pytest.LogCaptureFixture
) -> None:
    stored: Any = StoredScores(NORMAL)
    starts = {0: ResumePoint(7, folded(NORMAL)._replace(scores_offset=len(NORMAL) + gone))}
    point = asyncio.run(TailReader(stored, SCORES.topic, HERE, starts, None, letters=no_letters).read(0))
    assert (point.scores_lost, point.position.standing) == (gone, folded(NORMAL).standing)
    told = "up to 5 scores that Kafka had acknowledged are gone of those that the commit notes"
    assert [told in line for line in caplog.messages] == ([True] if gone else [])

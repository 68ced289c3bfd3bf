"""A partition that waits for an operator is read once, and only its newest reading says where it goes on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition

from features.redis.progress import NO_END, LogPart
from fraudstream_client.validity import Standing, place_of
from models.judge import InputTopic
from models.limits import LimitState
from models.lineup import Lineup
from models.logs import AcceptedLoss, Logs, SkippedRange, TopicLogs
from models.terms import Term
from stream.control.announcements import Cutover, Handover
from stream.engine.batches import Commit
from stream.engine.fetcher import Trouble
from stream.engine.publisher import Outgoing
from stream.engine.unpacking import Unreadable
from stream.errors import WriteGivenUpError
from stream.positions.letters import SCORES_LOST
from stream.positions.losses import Progress, Start, find_start
from stream.positions.offsets import Position, ResumePoint
from stream.recovery.repairer import Repairer
from stream.settings import Settings
from stream.tasks import InProgress
from stream.worker import positions, starts
from stream.worker.losses import InputLosses
from stream.worker.outputs import ScoresToWrite
from stream.worker.positions import DecisionPositions
from stream.worker.starts import PartitionStarts
from support.input_losses import losses_of
from support.known_letters import KnownLetters

TP = TopicPartition("transactions", 0)
LOST = "at most 5 records were removed"
GENERATION = 3


class Members:
    """The members of the group, of which one may be of the version before."""

    def __init__(self) -> None:
        self.is_mixed = False
        self.known = asyncio.Event()
        self.known.set()

    async def settle(self) -> None:
        await self.known.wait()


class Brokers:
    """What the positions read of Kafka: it lost records until `accepted`; `ends` are those of scores, for each read."""

    def __init__(self, ends: Iterator[int]) -> None:
        self.ends = ends
        self.open_readers = 0
        self.woken = 0
        self.accepted = False
        self.committed: int | None = 5
        self.moved: int | None = None
        self.last = 4
        self.log = 0
        self.revision = 0
        self.topic_id = "id"
        self.asked: list[object] = []
        self.rewound: list[int] = []
        self.made: list[int] = []
        self.kept: list[int] = []
        self.letters = KnownLetters()
        self.members = Members()
        self.fatal: list[str] = []
        self.given_up: list[object] = []
        self.seen = GENERATION - 1
        self.owned = True
        self.aside = SimpleNamespace(hurry=lambda _tp: None)

    @asynccontextmanager
    async def tail_reader(self, *_: object) -> AsyncIterator[Any]:
        self.open_readers += 1
        yield SimpleNamespace(
            read=self.read, partitions=[TP.partition], progress={}, scores_id="", consumer=None, letters=self.letters
        )
        self.open_readers -= 1

    async def read(self, _partition: int) -> ResumePoint:
        position = Position(Standing(self.seen, self.last), self.revision, next(self.ends))
        return ResumePoint(self.committed, position, moved=self.moved)

    @asynccontextmanager
    async def input_reader(self, *_: object) -> AsyncIterator[Any]:
        yield SimpleNamespace(states=self.states, is_same_record=self.is_same)

    async def states(self, *_: object) -> dict[TopicPartition, InputTopic]:
        return {TP: InputTopic(self.topic_id, 10, 20)}

    async def is_same(self, *_: object) -> bool:
        return True

    def find_start(self, *asked: object) -> Start | str:
        self.asked.append(asked[-1])
        return Start(self.log, 10) if self.accepted else LOST

    async def commit_now(self, _tp: TopicPartition, commit: Commit) -> bool:
        self.made.append(commit.offset)
        return self.owned

    async def rewind(self, _tp: TopicPartition, offset: int, committed: int) -> None:
        self.rewound.append(offset)
        self.kept.append(committed)

    async def wait_for_change(self, _seconds: float) -> None:
        await asyncio.sleep(0)

    async def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    found = Brokers(iter(range(100)))
    for name, value in (
        ("tail_reader", found.tail_reader),
        ("input_reader", found.input_reader),
    ):
        monkeypatch.setattr(positions, name, value)
    monkeypatch.setattr(starts, "find_start", found.find_start)
    return found


def positions_on(brokers: Brokers) -> DecisionPositions:
    logs: Any = Logs()
    follower: Any = SimpleNamespace(
        term=Term(), lineup=Lineup("default"), wait_for_change=brokers.wait_for_change, wake=brokers.wake, logs=logs
    )
    unused: Any = None
    consumer: Any = brokers
    publisher: Any = SimpleNamespace(give_up=brokers.given_up.extend)
    published: Any = SimpleNamespace(position=lambda _partition: None, noted=lambda *_: None)
    return DecisionPositions(
        settings=Settings(),
        follower=follower,
        published=published,
        publisher=publisher,
        admin=unused,
        consumer=lambda: consumer,
        copies=unused,
        emit=lambda _: None,
        members=brokers.members,
        fatal=brokers.fatal.append,
    )


def examiner(read: DecisionPositions) -> InputLosses:
    deps: Any = SimpleNamespace(follower=read._follower, admin=None)
    return losses_of(deps.follower, deps, admin=deps.admin, positions=read, copies=deps.admin)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_partition_that_waits_for_an_operator_is_read_once_however_often_its_fetch_fails(
    brokers: Brokers,
) -> None:
    read = positions_on(brokers)
    read.assigned(GENERATION, [0])
    await settle()
    trouble: Trouble = 5
    reasons = [await examiner(read).examine(TP, trouble) for _ in range(10)]
    await settle()
    assert brokers.open_readers == 1
    assert set(reasons) == {LOST}
    brokers.accepted = True
    await settle()
    assert read[0].scores_offset == 0
    assert brokers.woken == 1, "its batch need not wait for another look"
    assert brokers.rewound == [10]
    await examiner(read).examine(TP, trouble)
    await settle()
    assert brokers.rewound == [10, 10], "what was known did not hold, so it is read again"


async def test_a_consumer_that_stands_beyond_a_topic_made_anew_goes_to_the_start_though_the_commit_is_there(
    brokers: Brokers,
) -> None:
    brokers.accepted, brokers.committed = True, 10
    read = positions_on(brokers)
    read.assigned(GENERATION, [0])
    await settle()
    assert brokers.rewound == [], "after an assignment the consumer stands at the commit"
    await examiner(read).examine(TP, 60)
    await settle()
    assert brokers.rewound == [10]
    read.read_again(0)
    await settle()
    assert brokers.rewound == [10], "after a failed write it stands where it was"


async def test_a_silent_deployment_that_read_nothing_counts_what_is_published_as_decided_and_not_as_lost(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "_RETRY_SECONDS", 0)
    brokers.accepted, brokers.committed, brokers.last = True, None, -1
    read = positions_on(brokers)
    logs: Any = SimpleNamespace(last=lambda _topic: 0)
    places = iter([None, place_of(1, 3), 9])
    follower: Any = SimpleNamespace(
        term=Term(0, "other"), wait_for_change=brokers.wait_for_change, wake=brokers.wake, logs=logs
    )
    published: Any = SimpleNamespace(
        last_place=lambda _partition: next(places), position=lambda _partition: None, noted=lambda *_: None
    )
    read._follower, read._published = follower, published
    read._starts = PartitionStarts(read._settings, follower, published, read._emit)
    read.assigned(GENERATION, [0])
    await settle()
    await settle()
    assert brokers.asked == [Progress(None, same_record=True)], "asked once the published log is known"
    assert read[0].standing.last_place == 9


async def test_the_first_decision_of_a_term_is_announced_though_another_deployment_had_a_later_revision(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[object] = []

    async def announce(_publisher: object, _settings: Settings, what: object) -> None:
        announced.append(what)

    monkeypatch.setattr(positions, "announce", announce)
    brokers.accepted, brokers.revision = True, 9
    read = positions_on(brokers)
    read._follower.term = Term(1, "default", ("blue",))
    read.assigned(GENERATION, [0])
    await settle()
    for number, revision in enumerate((2, 2, 3)):
        score = Outgoing(10 + number, b"card", b"", (), f"t-{number}")
        assert read.advance(0, revision, ScoresToWrite([score], LimitState()), read[0].scores_offset + 1)
    await settle()
    assert announced == [Cutover(0, 2, 10), Handover(0, 1, 2, 10), Cutover(0, 3, 12)]
    assert (read[0].term, read[0].revision) == (1, 3)


async def test_only_the_newest_reading_of_a_partition_counts_and_the_others_end(brokers: Brokers) -> None:
    read = positions_on(brokers)
    read.assigned(GENERATION, [0])
    await settle()
    for _ in range(5):
        read.read_again(0)
        await settle()
    assert brokers.open_readers == 1
    brokers.accepted = True
    await settle()
    assert (brokers.open_readers, brokers.rewound) == (0, [10])
    assert read[0].scores_offset == 5


async def test_a_reading_waits_for_a_write_that_an_earlier_one_waited_for(brokers: Brokers) -> None:
    brokers.accepted = True
    read = positions_on(brokers)
    read.assigned(GENERATION, [0])
    await settle()
    acknowledged = asyncio.Event()

    async def write() -> int:
        await acknowledged.wait()
        return 1

    task = asyncio.create_task(write())
    read.read_again(0, task)
    read.read_again(0)
    await settle()
    assert read.get(0) is None
    acknowledged.set()
    await settle()
    assert read.get(0) is not None


async def test_a_commit_names_the_topic_as_it_was_when_its_loss_was_accepted(brokers: Brokers) -> None:
    read = positions_on(brokers)
    read.assigned(GENERATION, [0])
    await settle()
    brokers.topic_id, brokers.log = "id-newer", 1
    brokers.accepted = True
    await settle()
    assert (read[0].topic_id, read[0].log) == ("id-newer", 1)


async def test_a_skip_holds_in_the_log_in_which_it_was_accepted_and_in_no_other(brokers: Brokers) -> None:
    brokers.accepted = True
    read = positions_on(brokers)
    losses, range_of_40 = examiner(read), Unreadable(5, 45, "its checksum is wrong")
    follower: Any = read._follower
    follower.logs = Logs(skipped={("default", *TP): frozenset({SkippedRange(1, 5)})})
    read.assigned(GENERATION, [0])
    assert isinstance(await losses.examine(TP, range_of_40), str), "the log is not known yet"
    await settle()
    assert isinstance(await losses.examine(TP, range_of_40), str), "it is log 0"
    brokers.log = 1
    read.read_again(0)
    await settle()
    assert await losses.examine(TP, range_of_40) == 45
    assert isinstance(await losses.examine(TP, Unreadable(6, 45, "its checksum is wrong")), str)


async def test_a_range_that_cannot_be_unpacked_is_named_with_the_command_that_passes_over_it(brokers: Brokers) -> None:
    losses = examiner(positions_on(brokers))
    why = await losses.examine(TP, Unreadable(7, 10, "its checksum is wrong"))
    assert why == (
        "offsets 7 to 9 cannot be read: its checksum is wrong. To pass over them: "
        "`fraudstream dead-letters skip --topic transactions --partition 0 --offset 7`"
    )


class ReadBefore(NamedTuple):
    """What an owner finds of a partition, and the offset where a repair ends then."""

    committed: int | None
    last: int
    finished: int
    end: int
    log: int = 0


@pytest.mark.parametrize(
    "found",
    [
        ReadBefore(committed=18, last=12, finished=13, end=18),  # filled in behind the last decision, and read again
        ReadBefore(committed=18, last=12, finished=19, end=19),
        ReadBefore(committed=13, last=17, finished=13, end=18),  # decided, and not committed
        ReadBefore(committed=18, last=-1, finished=18, end=18),  # nothing was decided
        ReadBefore(committed=None, last=12, finished=13, end=13),
        ReadBefore(committed=18, last=12, finished=10, end=10, log=1),  # what was read is of another log
    ],
)
async def test_a_repair_ends_behind_all_that_was_read_of_the_log_before(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch, found: ReadBefore
) -> None:
    monkeypatch.setattr(starts, "find_start", find_start)
    brokers.committed, brokers.last = found.committed, found.last
    read = positions_on(brokers)
    accepted = AcceptedLoss(found.log, 10)
    anew = Logs({TP.topic: TopicLogs({"id": found.log}, found.log)}, {("default", *TP): accepted})
    read._follower.logs = anew if found.log else Logs()
    read.assigned(GENERATION, [0])
    await settle()

    async def offsets(topic: str) -> dict[int, int]:
        return {TP.partition: found.finished if topic == TP.topic else 7}

    consumer: Any = SimpleNamespace(offsets_to_repair=offsets)
    unused: Any = None
    repairer = Repairer(
        settings=Settings(),
        policy=unused,
        store=unused,
        consumer=lambda: consumer,
        read_to=read.read_to,
        begun_are_done=InProgress().wait_for_begun,
        withheld=unused,
        emit=unused,
        progress=unused,
        log=unused,
    )
    labels, payments = (LogPart(of_labels=of_labels, partition=0) for of_labels in (True, False))
    ends = {labels: NO_END, payments: found.end}
    assert await repairer._ends({"transactions": 1, "labels": 1}) == ends
    stored = {LogPart(of_labels=False, partition=one, of_predictions=True): NO_END for one in range(3)}
    assert await repairer._ends({"transactions": 1, "labels": 1, "predictions": 3}) == {**ends, **stored}


async def test_no_commit_of_a_partition_that_is_read_again_is_below_what_was_committed(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "find_start", find_start)
    brokers.committed, brokers.last, brokers.seen = 18, 12, (GENERATION - 1) * 2**10
    read = positions_on(brokers)
    read._follower.logs = Logs()
    read.assigned(GENERATION - 1, [0])  # of the last score's epoch: only the coordinator knows whose it is
    await settle()
    assert (brokers.rewound, brokers.kept, brokers.made, read.committed(0)) == ([13], [18], [18], 18)


async def test_a_commit_that_no_worker_has_made_is_replaced_once_before_anything_is_decided(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "find_start", find_start)
    brokers.committed, brokers.moved, brokers.last = None, 12, 12
    read = positions_on(brokers)
    read._follower.logs = Logs()
    read.assigned(GENERATION, [0])
    await settle()
    assert (brokers.rewound, brokers.made, read.committed(0)) == ([10], [10], 10)
    brokers.moved = 10
    read.assigned(GENERATION + 1, [0])
    await settle()
    assert (brokers.rewound, brokers.made) == ([10], [10, 10]), "after an assignment the consumer stands at the commit"


async def test_a_partition_whose_commit_would_pass_over_records_waits_with_the_commit_as_it_is(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "find_start", find_start)
    brokers.committed, brokers.moved, brokers.last = None, 18, 12
    read = positions_on(brokers)
    read._follower.logs = Logs()
    read.assigned(GENERATION, [0])
    await settle()
    assert "at most 5 records from offset 13 to 17 would be passed over" in read.why(0)
    assert (brokers.rewound, brokers.made) == ([], [])
    where, loss = ("default", *TP), AcceptedLoss(0, 18, 13)
    read._follower.logs = Logs({TP.topic: TopicLogs({"id": 0})}, {where: loss})
    await settle()
    assert (brokers.rewound, brokers.made) == ([10], [10]), "decisions may not be applied yet"
    assert read[0].standing.last_place == 12


# --- epochs


async def claimed(brokers: Brokers) -> DecisionPositions:
    brokers.accepted = True
    read = positions_on(brokers)
    read.assigned(GENERATION, [0])
    await settle()
    return read


@pytest.mark.parametrize(
    ("seen", "mixed", "epoch", "proven"),
    [
        (2 * 2**10 + 7, False, 3 * 2**10, False),
        (3 * 2**10, False, 4 * 2**10, True),
        (5 * 2**10 + 7, False, 6 * 2**10, True),
        (2, True, 3, False),
        (3, True, 4, True),
        (2 * 2**10 + 7, True, 2 * 2**10 + 8, True),
    ],
)
async def test_an_epoch_that_may_be_a_newer_owners_is_passed_only_if_the_coordinator_takes_a_commit(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch, seen: int, *, mixed: bool, epoch: int, proven: bool
) -> None:
    monkeypatch.setattr(positions, "_RETRY_SECONDS", 0)
    brokers.seen, brokers.members.is_mixed = seen, mixed
    assert (await claimed(brokers)).epochs == {0: epoch}
    assert bool(brokers.made) is proven
    brokers.owned = False
    assert (await claimed(brokers)).epochs == ({} if proven else {0: epoch})


async def test_no_epoch_is_taken_before_the_members_of_the_group_are_known(brokers: Brokers) -> None:
    brokers.members.known.clear()
    read = await claimed(brokers)
    assert (read.epochs, read.get(0)) == ({}, None)
    brokers.members.known.set()
    await settle()
    assert (read.epochs, read.get(0) is not None) == ({0: GENERATION * 2**10}, True)


async def given_up_write() -> int:
    raise WriteGivenUpError("scores 0 does not acknowledge")


@pytest.mark.parametrize("pending", [False, True])
async def test_a_partition_whose_write_was_given_up_goes_on_under_the_next_epoch_once_its_scores_are_read(
    brokers: Brokers, *, pending: bool
) -> None:
    read = await claimed(brokers)
    first = GENERATION * 2**10
    for attempt in range(1, 6):
        write = asyncio.create_task(given_up_write()) if pending else None
        read.read_again(0, write, given_up=not pending)
        assert read.get(0) is None
        read.read_again(0)  # beside the other reading, which waits for the same write
        await settle()
        assert (read.epochs, read.get(0) is not None) == ({0: first + attempt}, True)
    read.read_again(0, asyncio.create_task(asyncio.sleep(0, 7)))
    await settle()
    assert read.epochs == {0: first + 5}, "that write was acknowledged"
    brokers.seen = first + 5
    read.read_again(0)
    await settle()
    assert read.get(0) is not None, "what is ours is no other owner's"
    read.assigned(GENERATION + 1, [0])
    await settle()
    assert (read.epochs, brokers.fatal) == ({0: first + 2**10}, [])


async def test_what_is_still_being_written_for_a_partition_is_given_up_when_it_is_revoked(brokers: Brokers) -> None:
    """Else it would be written beside what the next owner writes; and nothing of it is waited for afterwards."""
    read = await claimed(brokers)
    write = asyncio.create_task(asyncio.Event().wait())
    read.read_again(0, write)  # type: ignore[arg-type]
    await settle()
    read.revoked()
    assert brokers.given_up == [write]
    read.assigned(GENERATION + 1, [0])
    await settle()
    assert (read.epochs, read.get(0) is not None) == ({0: (GENERATION + 1) * 2**10}, True)
    write.cancel()


async def test_a_write_of_an_earlier_assignment_that_is_given_up_raises_no_epoch_of_this_one(brokers: Brokers) -> None:
    read = await claimed(brokers)
    ended = asyncio.Event()

    async def write() -> int:
        await ended.wait()
        raise WriteGivenUpError("scores 0 does not acknowledge")

    read.read_again(0, asyncio.create_task(write()))
    read.assigned(GENERATION + 1, [0])
    await settle()
    assert read.get(0) is None, "it may still be written"
    ended.set()
    await settle()
    assert (read.epochs, read.get(0) is not None) == ({0: (GENERATION + 1) * 2**10}, True)


async def test_the_worker_ends_when_no_epoch_is_left_for_the_next_attempt(brokers: Brokers) -> None:
    read = await claimed(brokers)
    for _ in range(1_023):
        read.epochs.raise_attempt(0)
    assert (read.epochs, brokers.fatal) == ({0: GENERATION * 2**10 + 1_023}, [])
    read.epochs.raise_attempt(0)
    assert "partition 0 was given up, and there is no epoch for the next one: it was the 1,024th" in brokers.fatal[0]
    assert read.epochs == {0: GENERATION * 2**10 + 1_023}


async def test_in_a_mixed_fleet_a_write_that_was_given_up_ends_the_worker(brokers: Brokers) -> None:
    brokers.members.is_mixed = True
    read = await claimed(brokers)
    read.epochs.raise_attempt(1)
    assert brokers.fatal == [], "it is not claimed"
    read.read_again(0, asyncio.create_task(given_up_write()))
    await settle()
    assert "a member of the group is of a version that counts no attempts in epochs" in brokers.fatal[0]
    assert read.epochs == {0: GENERATION}


async def test_an_epoch_beyond_the_own_generations_is_raised_only_once_the_next_owner_sees_it(brokers: Brokers) -> None:
    brokers.seen = 7 * 2**10  # of a group whose generations began anew; its next owner may claim 8 * 2**10, too
    read = await claimed(brokers)
    assert read.epochs == {0: 8 * 2**10}
    read.read_again(0, given_up=True)
    assert "generations began anew, or a static member did, and nothing was written since" in brokers.fatal.pop()
    await settle()
    score = Outgoing(10, b"card", b"", (), "t-1")
    assert read.advance(0, 0, ScoresToWrite([score], LimitState()), read[0].scores_offset + 1)
    read.read_again(0, given_up=True)
    assert (read.epochs, brokers.fatal) == ({0: 8 * 2**10 + 1}, [])


@pytest.mark.parametrize("own", [0, 3], ids=["its write failed", "its write ends where none of its own should"])
async def test_a_running_worker_that_finds_its_scores_cut_tells_how_many_are_gone(brokers: Brokers, own: int) -> None:
    brokers.ends = iter([100, 95 + own, 95 + own])
    read = await claimed(brokers)
    assert read[0].scores_offset == 100
    scores = [Outgoing(10 + number, b"card", b"", (), f"t-{number}") for number in range(own)]
    assert not own or not read.advance(0, 0, ScoresToWrite(scores, LimitState()), 95 + own)
    read.read_again(0)
    read.read_again(0)
    await settle()
    assert (SCORES_LOST, b"5") in read.claim_headers(0)


async def test_scores_of_others_before_the_own_are_no_loss(brokers: Brokers) -> None:
    brokers.ends = iter([100, 103])
    read = await claimed(brokers)
    assert not read.advance(0, 0, ScoresToWrite([Outgoing(10, b"card", b"", (), "t-0")], LimitState()), 103)
    read.read_again(0)
    await settle()
    assert SCORES_LOST not in dict(read.claim_headers(0))

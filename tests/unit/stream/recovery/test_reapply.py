"""What a repair leaves out of the log that it reads again."""

from models.logs import Logs, LostRange, TopicLogs
from stream.engine.unpacking import FetchedRecord
from stream.recovery.reapply import ReplayedInput
from stream.settings import Settings


def record(offset: int, topic: str = "transactions", partition: int = 3) -> FetchedRecord:
    return FetchedRecord(topic, partition, offset, 0, 0, b"card", b"{}", ())


def test_payments_that_were_accepted_as_lost_are_not_applied_so_that_they_are_decided_if_they_come_again() -> None:
    lost = (LostRange(0, 2, 4), LostRange(1, 6, 8), LostRange(1, None, 100))
    topics = {"transactions": TopicLogs({"id": 1}, 1)}
    known = Logs(topics, lost={("default", "transactions", 3): lost, ("default", "labels", 3): lost})
    replayed = ReplayedInput(Settings(), known)
    assert [offset for offset in range(10) if replayed.was_lost(record(offset))] == [6, 7]
    assert not replayed.was_lost(record(6, partition=2))
    assert not replayed.was_lost(record(6, topic="labels")), "a label that is known after all is no harm"
    assert not ReplayedInput(Settings(deployment="other"), known).was_lost(record(6))

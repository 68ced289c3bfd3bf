"""What a worker announces as a member of its group, and what judges of this version and the one before read there."""

from uuid import UUID

import msgspec
import pytest
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from models.commands import Token
from stream.engine.fetch_thread import AnnouncingAssignor
from stream.kafka.client import Member, _member, client_id, names_for_judges
from stream.settings import Settings

PREFIX_OF_BEFORE = "fraudstream-worker-"


def read_by_the_version_before(client_id: str) -> tuple[str, str | None]:
    """Return the name and the deployment of a member, by the rule of the version that counted no attempts."""
    if not client_id.startswith(PREFIX_OF_BEFORE):
        return client_id, ""
    deployment, separator, name = client_id.removeprefix(PREFIX_OF_BEFORE).partition("/")
    return (name, deployment) if separator else (deployment, None)


@pytest.mark.parametrize("name", ["worker-1", "a", "x" * 55, "x" * 56, "x" * 64])
def test_a_judge_of_the_version_before_knows_a_worker_by_a_name_under_which_it_answers(name: str) -> None:
    settings = Settings(deployment="cards", worker_id=name)
    known_as, deployment = read_by_the_version_before(client_id(settings))
    assert deployment == "cards"
    assert known_as in names_for_judges(name)
    assert all(msgspec.convert(one, Token) for one in names_for_judges(name)), "that version reads them in events"
    assert names_for_judges(name)[0] == name, "a static member's client id may be that of its first process"


def described(client_id: str, subscription: bytes = b"") -> Member:
    return _member(f"{client_id}-{UUID(int=7)}", client_id, "/127.0.0.1", subscription)


def subscription(assignor: type[RangePartitionAssignor]) -> bytes:
    encoded: bytes = assignor.metadata({"transactions", "labels"}).encode()
    return encoded


OURS, THEIRS = subscription(AnnouncingAssignor), subscription(RangePartitionAssignor)


@pytest.mark.parametrize("name", ["worker-1", "x" * 55])
def test_a_worker_announces_that_it_counts_attempts_and_keeps_its_name(name: str) -> None:
    ours = client_id(Settings(deployment="cards", worker_id=name))
    for found in (described(ours), described(ours, OURS), _member(f"{ours}-{UUID(int=7)}", "")):
        assert found == Member(name, "cards", attempts=True)
    assert described(f"fraudstream-worker-cards/{name}") == Member(name, "cards", attempts=False)


def test_a_name_that_has_no_room_for_the_mark_is_announced_by_the_subscription() -> None:
    ours = client_id(Settings(deployment="cards", worker_id="x" * 64))
    assert [described(ours, one).attempts for one in (b"", OURS)] == [False, True]


def test_a_static_members_newest_process_announces_though_the_coordinator_keeps_the_first_ones_client_id() -> None:
    first, newest = "fraudstream-worker-cards/a", client_id(Settings(deployment="cards", worker_id="a"))
    assert [described(first, one).attempts for one in (THEIRS, OURS)] == [False, True]
    assert [described(newest, one).attempts for one in (THEIRS, OURS)] == [False, True]


def test_members_of_earlier_versions_and_strangers_announce_nothing() -> None:
    assert described("fraudstream-worker-worker-1", THEIRS) == Member("worker-1", None)
    assert described("my-console", THEIRS) == Member("my-console", "")

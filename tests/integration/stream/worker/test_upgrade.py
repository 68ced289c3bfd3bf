"""Workers of the version before this one and of this one in one group, under load: rolled over one by one, and back."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fraudstream_client.outputs import Score
from support.fleet.fleet import Fleet, sources, until
from support.fleet.payments import put_model
from support.fleet.previous import NoPreviousVersion, Version, previous_version
from support.fleet.recounted_payments import Payments, Season, a_season, differing, recounted
from support.fleet.workers import COMMAND, Worker

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

SEED = 20_261_126
RATE = 100
SLOW_RATE = 10
"""For the few payments of the way back: they last as long as it takes."""
CHUNKS_A_SECOND = 5
DECIDED = re.compile(r"^fraudstream_decisions_total\{[^}]*\} (\S+)$", re.MULTILINE)


@pytest.fixture
def previous(tmp_path: Path) -> Version:
    """The earlier version, extracted; without one the test is skipped."""
    folder = tmp_path / "previous"
    folder.mkdir()
    try:
        return previous_version(folder)
    except NoPreviousVersion as reason:
        pytest.skip(str(reason))


@contextmanager
def published_meanwhile(fleet: Fleet, payments: Payments, rate: int) -> Iterator[None]:
    """Publish payments at `rate` a second while the block lasts; those that are left at its end, at once."""
    size, ended, failures = rate // CHUNKS_A_SECOND, threading.Event(), list[BaseException]()

    def publish() -> None:
        try:
            for start in range(0, len(payments), size):
                if ended.wait(1 / CHUNKS_A_SECOND):
                    fleet.publish(payments[start:])
                    return
                fleet.publish(payments[start : start + size])
        except Exception as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    feeding = threading.Thread(target=publish, name="feeding")
    feeding.start()
    try:
        yield
    finally:
        ended.set()
        feeding.join()
    assert failures == []


def decided(worker: Worker) -> float:
    """Return how many decisions a worker has written."""
    return sum(map(float, DECIDED.findall(worker.get("/metrics")[1])))


def await_decisions_of_all(workers: Sequence[Worker]) -> None:
    """Wait until each of the workers has decided payments beside the others."""
    before = [decided(worker) for worker in workers]
    until(
        lambda: all(decided(worker) > earlier for worker, earlier in zip(workers, before, strict=True)),
        "each worker decides a part of the payments",
    )


def roll(fleet: Fleet, workers: list[Worker], command: Sequence[str], in_between: Callable[[], object]) -> None:
    """Replace the workers one by one by those of another version; do something while both versions decide."""
    for number, replaced in enumerate(workers):
        assert replaced.terminate() == 0
        workers[number] = fleet.worker(command)
        workers[number].await_ready()
        await_decisions_of_all(workers)
        if number == 0:
            in_between()


def promote(fleet: Fleet, seed: int, *command: str) -> None:
    """Store a model and promote it by a command line of one of the versions."""
    digest = put_model(fleet.models, seed=seed)
    arguments = ("model", "promote", digest, "--reason", "upgrade")
    done = fleet.cli(*arguments, command=command) if command else fleet.cli(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def decide_on_both_ways(fleet: Fleet, previous: Version, season: Season) -> list[Score]:
    """Publish a season while workers are rolled over to this version and back, and return the valid scores."""
    workers = [fleet.worker(previous.worker) for _ in range(2)]
    until(lambda: all(worker.has_joined for worker in workers), "the group is joined")
    promote(fleet, 0, *previous.command)
    fleet.publish(season.before)
    fleet.await_scores(count := len(season.before))
    fleet.publish(season.early_labels, "labels")
    fleet.await_outcomes(labels := len(season.early_labels))
    with published_meanwhile(fleet, season.during, RATE):
        await_decisions_of_all(workers)
        roll(fleet, workers, COMMAND, lambda: promote(fleet, 1, *previous.command))
    fleet.await_scores(count := count + len(season.during), seconds=120)
    fleet.publish(season.late_labels, "labels")
    fleet.await_outcomes(labels + len(season.late_labels))
    with published_meanwhile(fleet, season.after, SLOW_RATE):
        await_decisions_of_all(workers)
        roll(fleet, workers, previous.worker, lambda: promote(fleet, 2))
    valid = fleet.await_scores(count + len(season.after), seconds=120)
    assert [worker.terminate() for worker in workers] == [0, 0]
    return valid


def test_workers_of_the_version_before_and_of_this_one_decide_beside_each_other_as_one_version_would(
    fleet: Fleet, previous: Version, report: Callable[[str], None]
) -> None:
    assert previous.imported_from() == previous.folder
    season = a_season(800, 8_000, 1_000, SEED)
    valid = decide_on_both_ways(fleet, previous, season)
    sent = {one["transaction_id"] for part in (season.before, season.during, season.after) for one in part}
    assert {score.transaction_id for score in valid} == sent
    assert len(valid) == len(sent)
    assert set(sources(valid).values()) == {1}
    assert fleet.read("dead-letters") == []
    assert {score.revision for score in valid} == {1, 2, 3}
    assert {score.decided_by.value for score in valid} == {"model"}
    assert [score.transaction_id for score in valid if score.degraded] == []
    assert differing(valid, recounted(fleet)) == []
    report(f"{previous.commit[:12]} beside this version: {len(valid)} decisions, {fleet.scores()[1].void} void")

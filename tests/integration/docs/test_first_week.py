"""An adopter's first week, by the command line alone: every answer is compared with an expected one.

The expected ones are in tests/support/journey/first_week.txt. The export and its quirks are made by
`support.journey.export`. If answers are to change, copy the file that the failed test names.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fraudstream.demo.services.processes import free_port
from models.times import format_time, parse_time_ms
from stream.clock import now_ms
from support.fleet.fleet import Fleet, until
from support.fleet.workers import Worker
from support.journey.export import write_files
from support.journey.transcript import Transcript
from support.kafka.cluster import Cluster
from support.own_models import NEWEST, rows_of, saved
from support.paths import SUPPORT

EXPECTED = SUPPORT / "journey" / "first_week.txt"
TRAIN = "fraudstream train payments.csv --name cards --trees 40 --review-share 0.05 --decline-share 0.02"
TRAINED_UNTIL_MS = parse_time_ms("2026-03-12T00:00:00Z").epoch_ms

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


class Week:
    """The adopter's folder, settings and worker."""

    def __init__(self, transcript: Transcript, fleet: Fleet) -> None:
        self.transcript = transcript
        self.fleet = fleet
        self.type = transcript.type
        self.filled = 0
        """How many payments were filled in, and are not decided."""

    def prepares_the_file(self) -> None:
        """Find out what a transactions file is, by what is refused, and train a model."""
        self.transcript.note("Monday: the export")
        self.type("fraudstream --version")
        self.type("head -n 2 export.csv")
        self.type("fraudstream train export.csv --name cards")
        self.type("head -n 2 renamed.csv")
        self.type("fraudstream train renamed.csv --name cards")
        self.type("fraudstream model list")
        self.type("head -n 2 payments.csv")
        self.type(TRAIN)
        self.type("fraudstream model list")

    def makes_the_topics(self) -> None:
        """Publish before there are topics, and promote before there is a worker."""
        self.transcript.note("Tuesday: the topics")
        self.type("fraudstream publish payments.csv")
        self.type("fraudstream topics apply --partitions 4")
        self.type("fraudstream topics apply --partitions 4")
        self.type("fraudstream topics apply --partitions 8")
        self.type("fraudstream model list")
        self.type("fraudstream model promote DIGEST-1 --reason first --wait 10")

    def starts_a_worker(self) -> Worker:
        """Start a worker, put the model live, fill in the past, and publish a day with its labels."""
        self.transcript.note("Wednesday: in a second terminal, fraudstream worker")
        worker = self.fleet.worker(WORKER_ID="worker-1")
        until(lambda: only_lacks_a_model(worker), "it only waits for a model")
        self.reads_readiness(worker)
        self.type("fraudstream model promote cards --reason first")
        self.type("fraudstream model promote 01234567 --reason first")
        self.type("fraudstream model promote DIGEST-1 --reason first")
        worker.await_ready()
        self.reads_readiness(worker)
        self.type("fraudstream backfill payments.csv")
        self.type("fraudstream backfill payments.csv")
        self.filled = self.rows("payments.csv")
        self.reads_readiness(worker)
        self.publishes("today.csv", "--labels")
        self.type("fraudstream backfill tomorrow.csv")
        self.type("fraudstream topics check")
        return worker

    def rows(self, file: str) -> int:
        """Return how many payments a file has."""
        return len((self.transcript.folder / file).read_text().splitlines()) - 1

    def reads_readiness(self, worker: Worker) -> None:
        """Ask the worker whether it is ready."""
        self.transcript.read("curl -s http://127.0.0.1:6066/health/ready", f"{worker.get('/health/ready')[1]}\n")

    def publishes(self, file: str, *labels: str) -> None:
        """Publish a file, and its labels if they are asked for, and wait until all are decided and answered."""
        self.type(f"fraudstream publish {file}")
        self.fleet.await_scores(sum(self.fleet.ends("transactions").values()) - self.filled)
        if labels:
            self.type(f"fraudstream publish {file} --labels")
            self.fleet.await_outcomes(sum(self.fleet.ends("labels").values()))

    def compares_a_second_model(self) -> None:
        """Train another model, compare it in the shadow, promote it, and roll back."""
        self.transcript.note("Thursday: a second model")
        self.type(f"{TRAIN} --version small --leaves 3")
        self.type("fraudstream shadow report --minutes 60")
        self.type("fraudstream model challenge DIGEST-2 --reason smaller")
        self.publishes("tomorrow.csv")
        self.fleet.await_records("shadow-scores", self.rows("tomorrow.csv"))
        self.type("fraudstream shadow report --minutes 60")
        self.type("fraudstream model promote DIGEST-1 --reason again")
        self.type("fraudstream model promote DIGEST-2 --reason smaller")
        self.type("fraudstream model list")
        self.type("fraudstream model show DIGEST-2")
        self.type("fraudstream model rollback --reason practice")
        self.type("fraudstream model rollback --reason practice")

    def looks_back(self) -> None:
        """Score a file and the topic again, replay a payment, and look at what was refused."""
        self.transcript.note("Friday: what was decided, and what was not")
        self.type("fraudstream score today.csv --model DIGEST-1 --out scores.csv")
        self.type("fraudstream score --topic --diff")
        self.type("fraudstream publish changed.csv")
        self.fleet.await_dead_letters(1)
        self.type("fraudstream dead-letters list")
        self.type("fraudstream dead-letters redrive --all")
        self.type("fraudstream replay no-such-payment")

    def imports_a_model(self) -> None:
        """Train a model outside, on vectors of fraudstream, and put it live."""
        self.transcript.note(
            "Saturday: a model of their own, trained in a notebook on the first weeks of vectors.parquet"
        )
        self.type("fraudstream features compute payments.csv --out vectors.parquet")
        self.type("fraudstream model import model.txt --vectors vectors.parquet --name own")
        folder, names = self.transcript.folder, NEWEST.names
        saved(folder / "model.txt", rows_of(folder / "vectors.parquet", TRAINED_UNTIL_MS, names), names)
        self.type("fraudstream model import payments.csv --vectors vectors.parquet --name own")
        command = "fraudstream model import model.txt --vectors vectors.parquet --name own --version first"
        self.type(f"{command} --trained-until 2026-04-01T00:00:00Z")
        shares = "--review-share 0.05 --decline-share 0.02"
        self.type(f"{command} --trained-until {format_time(TRAINED_UNTIL_MS)} {shares}")
        self.type("fraudstream model promote DIGEST-3 --reason own")
        self.type("fraudstream model list")

    def stops_the_worker(self, worker: Worker) -> None:
        """Stop the worker, and find out what still works without it."""
        assert worker.terminate() == 0
        self.transcript.note("the worker is stopped")
        self.type("fraudstream model promote DIGEST-2 --reason late --wait 10")
        self.type("fraudstream model history")


def only_lacks_a_model(worker: Worker) -> bool:
    """Tell whether a worker has started, and waits for a model alone."""
    _, reasons = worker.readiness()
    return len(reasons) == 1 and reasons[0].startswith("no model is live")


@pytest.fixture
def week(
    kafka: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Iterator[Week]:
    if kafka.kind == "embedded":
        pytest.skip("the transcript has the messages of Apache Kafka")
    (folder := tmp_path / "shop").mkdir()
    write_files(folder)
    name = topic_prefix.rstrip("-")
    settings = {
        "BROKERS": kafka.brokers,
        "REDIS_URL": redis_url,
        "MODELS": str(folder / "models"),
        "TOPIC_PREFIX": topic_prefix,
        "DEPLOYMENT": name,
        "GROUP": name,
        "HTTP": f"127.0.0.1:{free_port()}",
        "ACTOR": "ada",
    }
    today = format_time(now_ms())[:10]
    words = {f"{folder}/": "", topic_prefix: "shop-", name: "shop", kafka.brokers: "127.0.0.1:9092", today: "TODAY"}
    found = Week(Transcript(folder, settings, words), Fleet(settings, tmp_path, start_worker))
    yield found
    (tmp_path / EXPECTED.name).write_text(found.transcript.text)


def test_every_answer_of_an_adopters_first_week_is_the_expected_one(week: Week, tmp_path: Path) -> None:
    week.prepares_the_file()
    week.makes_the_topics()
    worker = week.starts_a_worker()
    week.compares_a_second_model()
    week.looks_back()
    week.imports_a_model()
    week.stops_the_worker(worker)
    assert week.transcript.text == EXPECTED.read_text(), f"if this is right: cp {tmp_path / EXPECTED.name} {EXPECTED}"

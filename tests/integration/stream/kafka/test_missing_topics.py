"""Every command that needs topics ends at once where there are none, and says which is missing and what to do."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from fraudstream.cli.main import main
from support.acceptance import cases
from support.fleet.payments import put_model
from support.kafka.cluster import Cluster
from support.kafka.operations import topic_names
from support.training_files import transactions, write

AT_ONCE_SECONDS = 8.0
"""aiokafka would look for a missing topic for 10 s, some requests for 40 s; several reads come before some checks."""
MODEL = "0123456789abcdef"
COMMANDS: dict[str, Sequence[str]] = {
    "publish FILE": ("transactions",),
    "publish FILE --labels": ("labels",),
    "model list": ("model-events",),
    "model history": ("model-events",),
    "model restore": ("model-events",),
    f"model promote {MODEL}": ("model-events",),
    f"model challenge {MODEL}": ("model-events",),
    "model withdraw": ("model-events",),
    "model rollback": ("model-events",),
    "model demote": ("model-events",),
    "shadow report": ("model-events",),
    f"shadow report --digest {MODEL}": ("model-events",),
    "topics check": ("transactions",),
    "topics accept-loss --dry-run": ("model-events",),
    "topics accept-loss --reason test": ("model-events",),
    "dead-letters list": ("dead-letters",),
    "dead-letters show t-1": ("dead-letters",),
    "dead-letters redrive --all": ("dead-letters",),
    "dead-letters redrive --all --yes": ("dead-letters",),
    "dead-letters skip --topic TRANSACTIONS --partition 0 --offset 7 --reason test": ("transactions",),
    "incident list": ("incidents",),
    "incident report": ("incidents",),
    "features rebuild": ("transactions", "labels"),
    "features rebuild --here": ("transactions", "labels"),
    "score --topic --model STORED --out OUT": ("transactions", "model-events", "dead-letters"),
    "score --topic --diff": ("transactions", "scores", "model-events", "dead-letters"),
    "decisions": ("scores",),
    "replay t-1": ("scores", "transactions", "dead-letters"),
}
"""Each command, and the topics of which it names the first that it needs."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A repository, and the digest of the model in it: what scores a topic loads the model first."""
    folder = tmp_path_factory.mktemp("models")
    return folder, put_model(str(folder))


@pytest.fixture
def arguments(
    kafka: Cluster, redis_url: str, topic_prefix: str, models: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    """The arguments that stand in for words of a command; the settings name topics that do not exist."""
    folder, digest = models
    settings = {"BROKERS": kafka.brokers, "REDIS_URL": redis_url, "MODELS": str(folder), "TOPIC_PREFIX": topic_prefix}
    settings["KAFKA_IDEMPOTENCE"] = str(kafka.kind != "embedded")
    for name, value in settings.items():
        monkeypatch.setenv(f"FRAUDSTREAM_{name}", value)
    file, out = write(folder / "payments.csv", transactions(rows=20)), folder / "out.parquet"
    transactions_topic = f"{topic_prefix}transactions"
    return {"FILE": str(file), "OUT": str(out), "TRANSACTIONS": transactions_topic, "STORED": digest}


SHORT = (
    *("publish FILE", f"model promote {MODEL}", "topics check", "dead-letters redrive --all --yes", "incident list"),
    *("features rebuild", "score --topic --diff", "replay t-1"),
)
"""One command of each kind; `make acceptance` runs them all."""


@pytest.mark.parametrize("command", cases(COMMANDS, SHORT))
def test_a_command_without_its_topics_ends_at_once_and_names_one_and_what_to_do(
    command: str, kafka: Cluster, topic_prefix: str, arguments: Mapping[str, str]
) -> None:
    began = time.monotonic()
    done = CliRunner().invoke(main, [arguments.get(word, word) for word in command.split()])
    assert time.monotonic() - began < AT_ONCE_SECONDS
    assert done.exit_code == 1
    assert done.stdout == "" or command == "model list", "it lists the models of the repository without their roles"
    said = done.stderr.strip().splitlines()[-1]
    missing = [topic for topic in COMMANDS[command] if f"topic {topic_prefix}{topic} is missing: " in said]
    assert len(missing) == 1, done.stderr
    assert "create it with `fraudstream topics apply --partitions N`" in said
    assert not [topic for topic in topic_names(kafka.brokers) if topic.startswith(topic_prefix)], "it asked for one"

"""No command prints a login or a key of its settings, whatever fails."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from fraudstream.cli.main import main
from fraudstream.demo.services.processes import free_port
from support.training_files import transactions, write

PLANTED = "pl4nted"
COMMANDS = (
    ("topics", "apply", "--partitions", "1"),
    *(("model", *arguments) for arguments in (("list",), ("list", "--json"), ("show", "0" * 64), ("history",))),
    ("model", "promote", "0" * 8, "--wait", "1"),
    ("model", "rollback", "--wait", "1", "--json"),
    ("publish", "FILE"),
    ("train", "FILE", "--name", "card", "--trees", "5"),
    ("score", "FILE", "--model", "0" * 64, "--out", "OUT"),
    ("score", "--topic", "--model", "0" * 64, "--out", "OUT"),
    ("replay", "t-1", "--card", "c-1"),
    ("shadow", "report"),
    ("features", "list"),
    ("features", "rebuild", "--here"),
    ("bench", "worker", "--model", "0" * 64),
)
FIRST = "a store that is away"
PLACES = {
    "a store that is away": f"ftp://user:{PLANTED}@127.0.0.1:PORT/models?token={PLANTED}",
    "an empty store": f"memory://user:{PLANTED}@host/models?sig={PLANTED}",
    "an unknown store": f"nosuch://user:{PLANTED}@host/models?sig={PLANTED}",
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("files") / "file.parquet", transactions())


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port at which nothing listens; all settings but the repository's name it, with a login where they may."""
    port = free_port()
    for name, value in {
        "FRAUDSTREAM_BROKERS": f"127.0.0.1:{port}",
        "FRAUDSTREAM_REDIS_URL": f"redis://user:{PLANTED}@127.0.0.1:{port}/0",
        "FRAUDSTREAM_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "FRAUDSTREAM_KAFKA_SASL_USERNAME": "user",
        "FRAUDSTREAM_KAFKA_SASL_PASSWORD": PLANTED,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{PLANTED}@127.0.0.1:{port}/v1?token={PLANTED}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Basic%20{PLANTED}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return port


@pytest.mark.parametrize(
    ("command", "place"),
    [
        *((command, FIRST) for command in COMMANDS),
        *((COMMANDS[number], place) for number in (1, 3, 9, -1) for place in PLACES if place != FIRST),
    ],
)
def test_no_command_prints_a_login_of_its_settings(
    command: tuple[str, ...], place: str, file: Path, port: int, tmp_path: Path
) -> None:
    words = {"FILE": str(file), "OUT": str(tmp_path / "out.parquet")}
    url = PLACES[place].replace("PORT", str(port))
    done = CliRunner().invoke(main, [words.get(word, word) for word in command], env={"FRAUDSTREAM_MODELS": url})
    assert done.exit_code in {0, 1, 2}
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.output
    assert PLANTED not in done.output

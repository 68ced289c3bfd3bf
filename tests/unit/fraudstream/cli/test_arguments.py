"""What cannot be an argument or a setting is refused in words, with exit code 2, before anything is sent."""

import socket

import pytest
from click.testing import CliRunner, Result

from fraudstream.cli.main import main
from models.commands import CommandKind
from stream.control.client import CommandRequest, PartitionArguments

SILENT = "192.0.2.1:9092"
"""An address for documentation: nothing answers there, so a command that connects would not end in time."""


@pytest.fixture
def unused_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of a broker to which no command of these tests may connect."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the command connects")

    monkeypatch.setenv("FRAUDSTREAM_BROKERS", SILENT)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.mark.usefixtures("unused_broker")
@pytest.mark.parametrize("command", [("model", "promote"), ("model", "challenge"), ("model", "show")])
@pytest.mark.parametrize("name", ["cards", "LATEST", "0123abc", "0123ABCD", "0" * 65, "0123abcd\n", ""])
def test_a_name_that_no_model_can_have_is_refused_before_it_is_sent(command: tuple[str, ...], name: str) -> None:
    done = run(*command, name)
    assert done.exit_code == 2
    assert (
        f"{name!r} cannot be a model: give its digest, or the first 8 or more of its 64 digits (0-9 a-f)" in done.stderr
    )
    assert "`fraudstream model list` lists them" in done.stderr


@pytest.mark.usefixtures("unused_broker")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("model", "promote", "0123abcd", "--watch", "31d"), "watch_seconds: expected an integer from 0 to 2592000"),
        (
            ("model", "promote", "0123abcd", "--wait", "inf"),
            "wait: expected above 0 and at most 86400 seconds, got ",
        ),
        (("model", "withdraw", "--wait", "nan"), "wait: expected above 0 and at most 86400 seconds, got nan"),
        (("model", "withdraw", "--expected-revision", "9" * 30), "expected_revision: expected an integer from 0 to"),
        (("model", "demote", "--reason", "x" * 2_001), "it has 2001 characters, more than 2000"),
        (("shadow", "report", "--digest", "best"), "'best' cannot be a model"),
        (("score", "--topic", "--out", "o.parquet", "--model", "best"), "'best' cannot be a model"),
    ],
)
def test_what_workers_would_refuse_is_refused_before_it_is_sent(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_all_that_is_wrong_with_a_request_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="actor: expected a text of 1 to 200 characters, got ''") as refused:
        CommandRequest(CommandKind.SKIP, "", "why", 60, partition=PartitionArguments("a b", 0, offset=10**30))
    assert "topic: expected a topic as Kafka names it, 1 to 249 letters, digits, . _ -, got 'a b'" in str(refused.value)
    assert "offset: expected an integer from 0 to 9223372036854775807, got a larger number" in str(refused.value)


@pytest.mark.usefixtures("unused_broker")
def test_an_invalid_setting_is_refused_and_a_misspelled_one_is_named_on_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FRAUDSTREAM_BROKERS", "kafka")
    monkeypatch.setenv("FRAUDSTREAM_BROKER", "s3cret:9092")
    done = run("model", "list", "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    warning, refusal = done.stderr.splitlines()
    assert warning == "warning: FRAUDSTREAM_BROKER is no setting and has no effect; did you mean FRAUDSTREAM_BROKERS?"
    assert refusal.startswith("FRAUDSTREAM_BROKERS: expected host:port,host:port,… without spaces, got 'kafka' from ")

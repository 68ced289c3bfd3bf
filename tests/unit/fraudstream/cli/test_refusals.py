"""One table says what a command prints of an error; a fault of ours keeps its traceback; no command has a table."""

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from features.errors import StoreUnavailableError
from fraudstream.cli.refusals import Refusals, words_of
from models.errors import DamagedArtifactError, RepositoryUnavailableError
from stream.errors import ControlLogError
from stream.settings import Settings

SETTINGS = Settings(brokers="127.0.0.1:1")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RepositoryUnavailableError("no answer"), "FRAUDSTREAM_MODELS: no answer"),
        (DamagedArtifactError("3f9a02c1 is damaged"), "3f9a02c1 is damaged"),
        (ControlLogError("the log has lost records"), "the log has lost records"),
        (StoreUnavailableError("Redis is away"), "Redis is away"),
        (FileNotFoundError(2, "No such file or directory", "payments.csv"), "payments.csv"),
        (TopicAuthorizationFailedError("labels"), "lacks a permission"),
        (KafkaConnectionError("no"), "no broker can be used: 127.0.0.1:1"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_error_that_a_person_can_act_upon_is_said_in_words(error: Exception, words: str) -> None:
    said = words_of(error, SETTINGS)
    assert said is not None
    assert words in said


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), TypeError(), KeyboardInterrupt(), ValueError("x")])
def test_a_fault_of_ours_is_raised_with_its_traceback(error: BaseException) -> None:
    with pytest.raises(type(error)), Refusals(SETTINGS):
        raise error


def test_a_command_ends_with_1_and_says_first_what_was_left_undone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, Refusals(SETTINGS, "the command was not sent: "):
        raise ControlLogError("the log has lost records, see redis://user:secret@host/0")
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("the command was not sent: the log has lost records")
    assert "secret" not in said.err


def test_without_settings_a_client_is_not_connected_again() -> None:
    assert words_of(KafkaConnectionError("no"), None) == str(KafkaConnectionError("no"))

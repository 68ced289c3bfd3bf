"""Dead letters are summarised in the log, and decisions are counted without a line for each."""

import logging
from collections.abc import Sequence

import pytest

from stream.contract.codes import DeadLetterCode
from stream.positions.dead_letters import DeadLetter
from stream.scoring.facts import Fact, LabelsApplied, Retried
from stream.worker.fact_log import SUMMARY_SECONDS, FactLog
from support.stream_records import Told
from support.telemetry_facts import decided, scored, stages

NOT_JSON, WRONG_KEY = DeadLetterCode.NOT_JSON, DeadLetterCode.WRONG_KEY


def letters(code: DeadLetterCode, offsets: Sequence[int], topic: str = "transactions") -> list[DeadLetter]:
    return [DeadLetter(Told(b"x", b"k", 3, offset, topic=topic), code, "tok-detail") for offset in offsets]


class Watched:
    """A log of facts with a clock to turn, and what it has passed on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.passed: list[Fact] = []
        self.facts = FactLog(self.passed.append, lambda: self.now)

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.facts.summarise()


def test_every_fact_is_passed_on_and_decisions_are_counted_without_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    watched = Watched()
    labels = LabelsApplied([Told()], ["applied"], [], 0, stages())  # type: ignore[list-item]
    some = [decided(scored([Told()] * 3)), labels, Retried("transactions", "PublishError"), decided(scored([Told()]))]
    for fact in some:
        watched.facts(fact)
    watched.after(100.0)
    assert watched.passed == some
    assert (watched.facts.decided, watched.facts.labels) == (4, 1)
    assert caplog.messages == []


def test_the_first_dead_letter_of_a_burst_is_logged_and_the_others_are_counted_by_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    watched.facts(decided(scored([]), letters(NOT_JSON, range(14, 514))))
    watched.facts(decided(scored([]), [*letters(NOT_JSON, [514]), *letters(WRONG_KEY, [7, 8])]))
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "dead letter not_json: transactions partition 3 offset 14",
        "dead letter wrong_key: transactions partition 3 offset 7",
    ]
    assert "`fraudstream dead-letters show transactions:3:14`" in caplog.messages[0]
    assert vars(caplog.records[0])["code"] == "not_json"
    caplog.clear()
    watched.after(SUMMARY_SECONDS - 0.1)
    assert caplog.messages == []
    watched.after(0.1)
    (message,) = caplog.messages
    assert message == (
        "dead letters of the last 10 s: 500 not_json (501 in all, the last transactions:3:514), "
        "1 wrong_key (2 in all, the last transactions:3:8)"
    )
    assert vars(caplog.records[0])["counts"] == {"not_json": 500, "wrong_key": 1}
    assert "tok-detail" not in caplog.text, "a detail quotes the record"

"""What readers of scores saw becomes a history: each decision is written once, and read by those that come later."""

import json

from campaigns.witness import History, Register, Seen

PAYMENT, OTHER = ("card", "t-1"), ("card", "t-2")
DECIDED = Seen(PAYMENT, (0, 5), "approve 1a2b at 0:5")


def operations(history: History) -> list[tuple[str, str, str, int, int]]:
    lines = [json.loads(line) for line in history.lines({PAYMENT: 10, OTHER: 20})]
    return [(one["payment"], one["kind"], one["value"], one["call"], one["end"]) for one in lines]


def test_a_decision_is_written_from_its_publication_until_it_is_seen_and_read_after_that() -> None:
    history = History()
    history.see("reader 1", 5, DECIDED, 30)
    history.see("reader 2", 40, DECIDED, 50)
    assert operations(history) == [
        ("card/t-1", "write", DECIDED.value, 10, 30),
        ("card/t-1", "read", DECIDED.value, 40, 50),
    ]


def test_a_decision_at_another_place_is_a_second_write() -> None:
    history = History()
    history.see("reader 1", 5, DECIDED, 30)
    history.see("reader 2", 40, DECIDED._replace(place=(0, 9)), 50)
    assert [kind for _, kind, *_ in operations(history)] == ["write", "write"]


def test_a_reader_that_misses_a_decision_which_was_seen_before_it_began_has_read_none() -> None:
    history = History()
    history.see("reader 1", 5, DECIDED, 30)
    history.see("reader 1", 5, Seen(OTHER, (0, 6), "approve 3c4d at 0:6"), 45)
    history.miss("reader 2", 40, set(), 60)
    assert operations(history)[-1] == ("card/t-1", "read", "", 40, 60)
    assert len(operations(history)) == 3


def test_a_decision_that_is_marked_as_incomplete_has_a_register_of_its_own() -> None:
    history = History()
    history.see("reader 1", 5, DECIDED, 30)
    history.see("reader 1", 5, DECIDED._replace(place=(0, 9), is_incomplete=True), 31)
    history.miss("reader 2", 40, {Register(PAYMENT)}, 60)
    assert [payment for payment, *_ in operations(history)] == ["card/t-1", "card/t-1/0:9", "card/t-1/0:9"]

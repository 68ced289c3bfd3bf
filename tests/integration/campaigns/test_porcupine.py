"""porcupine finds each anomaly that is planted into a history of decisions, and none in a history that is well."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from campaigns.witness import History, NoGoError, Seen, built_judge, judged

pytestmark = [pytest.mark.integration, pytest.mark.acceptance]

PAYMENTS = 200
PUBLISHED = {("card", f"t-{number}"): number for number in range(PAYMENTS)}
PLANTED = 70


@pytest.fixture(scope="module")
def judge() -> Path:
    try:
        return built_judge()
    except NoGoError as reason:
        pytest.skip(str(reason))


def seen(number: int, at: int | None = None, decision: str = "approve") -> Seen:
    place = 0, number if at is None else at
    return Seen(("card", f"t-{number}"), place, f"{decision} 1a2b3c4d at 0:{place[1]}")


def read_by(history: History, name: str, began: int, some: Sequence[Seen]) -> None:
    """Let a reader see these scores, a nanosecond each, and no others."""
    for passed, one in enumerate(some, 1):
        history.see(name, began, one, began + passed)
    history.miss(name, began, {one.register for one in some}, began + PAYMENTS + 1)


def history_of(second: Sequence[Seen]) -> History:
    """Let three readers read one after the other: the second one sees `second`, the others all that is well."""
    whole = [seen(number) for number in range(PAYMENTS)]
    history = History()
    for number, some in enumerate((whole, second, whole)):
        read_by(history, f"reader {number}", 1_000 * (number + 1), some)
    return history


def verdict(judge: Path, history: History, folder: Path) -> list[str]:
    path = folder / "history.jsonl"
    path.write_text("".join(history.lines(PUBLISHED)))
    return judged(judge, path)


WELL = [seen(number) for number in range(PAYMENTS)]


def test_a_history_that_is_well_has_an_order(judge: Path, tmp_path: Path) -> None:
    assert verdict(judge, history_of(WELL), tmp_path) == []


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ([*WELL[:PLANTED], seen(PLANTED, decision="decline"), *WELL[PLANTED + 1 :]], "the decision changed"),
        ([*WELL[:PLANTED], *WELL[PLANTED + 1 :]], "the decision was lost"),
        ([*WELL, seen(PLANTED, at=PAYMENTS)], "two decisions"),
    ],
    ids=["changed", "lost", "two"],
)
def test_an_anomaly_of_one_payment_is_named(judge: Path, tmp_path: Path, second: list[Seen], told: str) -> None:
    (line,) = verdict(judge, history_of(second), tmp_path)
    assert line.startswith(f"card/t-{PLANTED}: {told}")


def test_a_decision_that_was_seen_before_its_payment_was_published_is_named(judge: Path, tmp_path: Path) -> None:
    history = History()
    history.see("reader 0", 1, seen(PAYMENTS - 1), PAYMENTS - 10)
    (line,) = verdict(judge, history, tmp_path)
    assert "before the payment was published" in line


def test_a_line_that_is_no_operation_is_refused(judge: Path, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps({"payment": "card/t-1", "kind": "erase"}) + "\n")
    with pytest.raises(ValueError, match="line 1"):
        judged(judge, path)

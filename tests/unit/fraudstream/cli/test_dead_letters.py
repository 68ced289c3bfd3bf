"""`dead-letters list` and `show` are readable at 80 columns, whatever a producer has sent."""

import json
from collections.abc import Callable, Sequence

import pytest
from click.testing import CliRunner

from fraudstream.cli import dead_letters
from fraudstream.cli.letter_text import SHOWN_CHARACTERS
from fraudstream.cli.main import main
from fraudstream.ops.repair.kept_letters import KeptLetter, read_letter
from fraudstream.ops.repair.redrive import Choice
from stream.contract.codes import DeadLetterCode
from stream.engine.unpacking import FetchedRecord, Unreadable
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.settings import Settings

ID, CARD = "transaction-" + "0123456789ab" * 4, "card-" + "fedcba987654" * 3
TOPIC = "production-eu-west-transactions"
WIDTH = 80
TYPE_OVER = "\x1b[1A\x1b[2K"
"""Moves a terminal's cursor to the line above and erases it."""
DETAIL = "merchant_id: '[redacted]' holds a card number; currency: 'QQQ' is not an ISO 4217 code with a minor unit " * 2

Run = Callable[..., str]


def letter(
    detail: str = DETAIL, value: bytes | None = None, code: DeadLetterCode = DeadLetterCode.CARD_NUMBER
) -> KeptLetter:
    kept = json.dumps({"transaction_id": ID, "card_id": CARD}).encode() if value is None else value
    record = DeadLetter(fetched(kept, b"k", []), code, detail).to_record(LetterOrigin("production", values="redacted"))
    found = read_letter(fetched(record.value, record.key, record.headers))
    assert found is not None
    return found


def fetched(value: bytes | None, key: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> FetchedRecord:
    return FetchedRecord(
        topic=TOPIC,
        partition=11,
        offset=1_700_012,
        timestamp=0,
        timestamp_type=0,
        key=key,
        value=value,
        headers=headers,
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a command on these letters, at 80 columns, and returns its output."""

    def run_on(letters: Sequence[KeptLetter], *arguments: str) -> str:
        async def found(_settings: object, choice: Choice, _progress: object) -> list[KeptLetter]:
            return [one for one in letters if choice.includes(one)]

        monkeypatch.setattr("fraudstream.cli.dead_letters.find_letters", found)
        done = CliRunner().invoke(main, ["dead-letters", *arguments], env={"COLUMNS": str(WIDTH)})
        assert done.exit_code == 0, done.output
        return done.output

    return run_on


def test_the_list_fits_eighty_columns_and_has_ids_and_places_whole(run: Run) -> None:
    text = run([letter(), letter("", b"no json", DeadLetterCode.NOT_JSON)], "list")
    words = text.split()
    assert {ID, CARD, "production", f"{TOPIC}:11:1700012", "card_number", "not_json"} <= set(words)
    assert " ".join(DETAIL.split()) in " ".join(words)
    wide = [line for line in text.splitlines() if len(line) > WIDTH]
    assert all(ID in line or TOPIC in line for line in wide), wide


def test_text_in_brackets_is_shown_as_it_is(run: Run) -> None:
    text = run([letter("note: '[/red]' and '[bold]' are [redacted]")], "list")
    assert "note: '[/red]' and '[bold]' are [redacted]" in text


def test_a_record_cannot_control_the_terminal(run: Run) -> None:
    hostile = letter(f"{TYPE_OVER} id", f'{{"a":\n"{TYPE_OVER}"}}'.encode())
    for text in (run([hostile], "list"), run([hostile], "show", str(hostile.source))):
        assert "\x1b" not in text
        assert r"\x1b[1A\x1b[2K" in text


def test_a_long_value_is_cut_for_people_only(run: Run) -> None:
    long = letter(value=b"x" * (SHOWN_CHARACTERS + 7))
    text = run([long], "show", str(long.source))
    assert f"its first {SHOWN_CHARACTERS} characters; --json has 7 more" in text
    assert "x" * SHOWN_CHARACTERS in text.splitlines()
    assert json.loads(run([long], "show", str(long.source), "--json"))["value"] == "x" * (SHOWN_CHARACTERS + 7)


@pytest.mark.parametrize(
    ("found", "letters", "warned"),
    [
        (Unreadable(7, 10, "its checksum is wrong"), (), ""),
        (
            Unreadable(5, 10, "its checksum is wrong"),
            (),
            "begins at offset 7; it lies in that from 5 on",
        ),
        (None, (), "what is at offset 7 can be read here"),
        (None, ("its dead letter",), ""),
        (TimeoutError(), (), "it cannot be checked whether offset 7 is unreadable"),
    ],
)
def test_a_skip_that_would_change_nothing_is_warned_of_and_sent(
    monkeypatch: pytest.MonkeyPatch, found: Unreadable | Exception | None, letters: Sequence[str], warned: str
) -> None:
    sent = []

    async def unreadable_at(*_: object) -> Unreadable | None:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(dead_letters, "unreadable_at", unreadable_at)
    monkeypatch.setattr(
        dead_letters, "_found", lambda _, choice: letters if choice.names == ("transactions:3:7",) else ()
    )
    monkeypatch.setattr(dead_letters, "settings_or_refuse", Settings)
    monkeypatch.setattr(dead_letters, "send_partition_command", lambda *command: sent.append(command[2].offset))
    place = ["--topic", "transactions", "--partition", "3", "--offset", "7", "--reason", "damaged"]
    done = CliRunner().invoke(main, ["dead-letters", "skip", *place])
    assert (done.exit_code, sent) == (0, [7])
    assert warned in done.stderr
    assert bool(done.stderr) == bool(warned)

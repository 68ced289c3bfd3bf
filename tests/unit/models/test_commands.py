from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from models.command_decoder import LARGEST_COMMAND_BYTES, read_command
from models.commands import (
    FORM_OF_EXCLUDED,
    Command,
    CommandKind,
    Event,
    EventKind,
    UnreadableRecord,
    encode,
    read_event,
)
from models.problems import Problem, ProblemCode
from models.splits import excluded_of
from support.hashed_cards import check_by_the_contract, hash_by_the_contract, hashed

HASHES, CHECK = [hash_by_the_contract(card) for card in ("card-1", "card-2")], check_by_the_contract()
MANY = {f"A{letter}{other}": 1 for letter in "ABCDE" for other in "VWXY"}
GOOD = {
    "command_id": "c-1",
    "deployment": "default",
    "expected_revision": 0,
    "kind": "promote",
    "model": "0123abcd",
    "actor": "ann",
    "reason": "first",
    "issued_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-01T01:00:00+00:30",
}


def read(**changes: Any) -> Any:
    fields = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    return read_command(msgspec.json.encode(fields))


def codes(answer: Any) -> Any:
    assert isinstance(answer, UnreadableRecord)
    return [(problem.code, problem.detail.partition(":")[0]) for problem in answer.problems]


def test_a_command_is_read_and_written_back_the_same() -> None:
    command = read(unknown="ignored", issued_at=1767225600000)
    assert isinstance(command, Command)
    assert command.kind is CommandKind.PROMOTE
    assert command.issued_at == "2026-01-01T00:00:00.000Z"
    assert command.expires_at == "2026-01-01T00:30:00.000Z"
    assert command.expires_ms == 1767227400000
    assert read_command(encode(command)) == command
    assert msgspec.json.decode(encode(command))["schema"] == "command/1"


def test_the_kind_rollback_is_read_as_roll_back() -> None:
    command = read(kind="rollback", model=...)
    assert isinstance(command, Command)
    assert command.kind is CommandKind.ROLL_BACK


@pytest.mark.parametrize("time", ["2026-06-31T00:00:00.000Z", "2026-01-01T00:00:60.000Z", "2026-01-01T25:00:00.000Z"])
@pytest.mark.parametrize("name", ["issued_at", "expires_at"])
def test_a_time_of_the_right_form_that_does_not_exist_is_a_problem_of_its_field(name: str, time: str) -> None:
    answer = read(**{name: time})
    assert codes(answer) == [(ProblemCode.INVALID_FIELD, name)]
    assert answer.command_id == "c-1"


def test_all_problems_are_returned_at_once_with_the_command_id() -> None:
    answer = read(kind="reboot", share_bp=10_001, actor=..., expires_at="tomorrow", model="LATEST", force="yes")
    assert isinstance(answer, UnreadableRecord)
    assert (answer.command_id, answer.deployment) == ("c-1", "default")
    assert set(codes(answer)) == {
        (ProblemCode.UNSUPPORTED_KIND, "kind"),
        (ProblemCode.INVALID_FIELD, "share_bp"),
        (ProblemCode.INVALID_FIELD, "actor"),
        (ProblemCode.INVALID_FIELD, "expires_at"),
        (ProblemCode.INVALID_FIELD, "model"),
        (ProblemCode.INVALID_FIELD, "force"),
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": ...}, "model"),
        ({"model": "0123abc"}, "model"),
        ({"kind": "demote"}, "model"),
        ({"kind": "canary"}, "share_bp"),
        ({"kind": "canary", "share_bp": 0}, "share_bp"),
        ({"kind": "canary", "share_bp": 10_000}, "share_bp"),
        ({"kind": "canary", "share_bp": 1, "salt": "ü"}, "salt"),
        ({"kind": "canary", "share_bp": 1, "watch_seconds": 1}, "watch_seconds"),
        ({"kind": "canary", "share_bp": 1, "model": ...}, "model"),
        ({"kind": "end_canary"}, "model"),
        ({"kind": "limits", "model": ...}, "decline_cap"),
        ({"kind": "limits", "model": ..., "decline_cap": 0}, "decline_cap"),
        ({"kind": "limits", "model": ..., "decline_cap": 1.01}, "decline_cap"),
        ({"kind": "limits", "model": ..., "decline_cap": "2%"}, "decline_cap"),
        ({"kind": "limits", "decline_cap": 0.02}, "model"),
        ({"kind": "limits", "model": ..., "decline_cap": 0.02, "share_bp": 5}, "share_bp"),
        ({"decline_cap": 0.02}, "decline_cap"),
        ({"kind": "limits", "model": ..., "let_through": 0.005}, "let_through"),
        ({"kind": "limits", "model": ..., "let_through": {"caps": {"EUR": 1}}}, "let_through"),
        ({"kind": "limits", "model": ..., "let_through": {"share_bp": 10_001}}, "let_through"),
        ({"kind": "limits", "model": ..., "let_through": {"share_bp": 0.5}}, "let_through"),
        ({"kind": "limits", "model": ..., "let_through": {"share_bp": 5, "caps": {"EUR": 0}}}, "let_through"),
        ({"kind": "limits", "model": ..., "let_through": {"share_bp": 5, "caps": {"eur": 1}}}, "let_through"),
        ({"kind": "limits", "model": ..., "let_through": {"share_bp": 5, "salt": "a b"}}, "let_through"),
        ({"kind": "limits", "model": ..., "let_through": {"share_bp": 5, "caps": MANY}}, "let_through"),
        ({"let_through": {"share_bp": 5}}, "let_through"),
        ({"share_bp": 100}, "share_bp"),
        ({"salt": "s"}, "salt"),
        ({"arms": {"a": {"model": "0123abcd", "share_bp": 5_000}}}, "arms"),
        ({"exclude": ["card-1"]}, "exclude"),
        ({"exclude_key_check": CHECK}, "exclude_key_check"),
        ({"winner": "a"}, "winner"),
        ({"kind": "end_split", "model": ...}, "winner"),
        ({"kind": "end_split", "winner": "a"}, "model"),
        ({"kind": "end_split", "model": ..., "winner": "a b"}, "winner"),
        ({"kind": "split", "model": ...}, "arms"),
        ({"kind": "roll_back", "model": ..., "watch_seconds": 60}, "watch_seconds"),
        ({"kind": 7}, "kind"),
        ({"command_id": "c 1"}, "command_id"),
        ({"command_id": "c-1\n"}, "command_id"),
        ({"expected_revision": -1}, "expected_revision"),
        ({"expected_revision": 1.5}, "expected_revision"),
        ({"schema": "command/2"}, "schema"),
        ({"expires_at": "2026-01-01T00:00:00Z"}, "expires_at"),
        ({"issued_at": "2026-01-01T00:00:00"}, "issued_at"),
    ],
)
def test_each_invalid_field_is_named(changes: Any, field: Any) -> None:
    assert field in [name for _, name in codes(read(**changes))]


ARMS = {"a": {"model": "0123abcd", "share_bp": 1_000}, "b": {"model": "b" * 64, "share_bp": 9_000}}


def split(**changes: Any) -> Any:
    return read(**({"kind": "split", "model": ..., "arms": ARMS} | changes))


def test_a_split_is_read_and_written_back_the_same() -> None:
    command = split(exclude=["card-1", "card-2"], salt="s")
    assert isinstance(command, Command)
    assert {name: (arm.model, arm.share_bp) for name, arm in (command.arms or {}).items()} == {
        "a": ("0123abcd", 1_000),
        "b": ("b" * 64, 9_000),
    }
    assert (command.exclude, command.salt, command.needs_candidate) == (("card-1", "card-2"), "s", True)
    assert read_command(encode(command)) == command
    ended = read(kind="end_split", model=..., winner="live")
    assert isinstance(ended, Command)
    assert (ended.winner, ended.asks_workers) == ("live", False)


@pytest.mark.parametrize(
    ("arms", "details"),
    [
        ({}, ['arms: expected an object such as {"a": {"model": "81d07a5b", "share_bp": 1000}}']),
        ([1], ['arms: expected an object such as {"a": {"model": "81d07a5b", "share_bp": 1000}}']),
        ({f"a{number}": ARMS["a"] for number in range(8)}, ["arms: 8, more than 7 beside live"]),
        ({"live": ARMS["a"]}, ["arms.live: no arm of a split may be called live; choose another name"]),
        ({"canary": ARMS["a"]}, ["arms.canary: no arm of a split may be called canary; choose another name"]),
        ({"a b": ARMS["a"]}, ["arms: the name of an arm is 1 to 64 letters, digits, . _ : @ -, not 'a b'"]),
        (
            {"a": ARMS["a"], "b": {"model": "b" * 64, "share_bp": 9_001}},
            ["arms: their shares add up to 100.01%; what is left of 100% is live's, so lower some"],
        ),
        (
            {"a": {"model": "LATEST", "share_bp": 0}, "b": 1},
            [
                "arms.a.model: expected a model's digest, or its first 8 or more hexadecimal digits, 0-9 a-f",
                "arms.a.share_bp: expected an integer from 1 to 9999",
                "arms.b.model: missing; an arm has model and share_bp",
                "arms.b.share_bp: missing; an arm has model and share_bp",
            ],
        ),
    ],
)
def test_everything_that_is_wrong_with_arms_is_named(arms: Any, details: list[str]) -> None:
    answer = split(arms=arms)
    assert isinstance(answer, UnreadableRecord)
    assert [problem.detail for problem in answer.problems] == details
    assert {problem.code for problem in answer.problems} == {ProblemCode.INVALID_FIELD}


def test_at_most_a_thousand_cards_are_excluded() -> None:
    assert isinstance(split(exclude=[f"card-{number}" for number in range(1_000)]), Command)
    for exclude, detail in (
        ([f"card-{number}" for number in range(1_001)], "exclude: 1,001 cards, more than 1,000"),
        ("card-1", "exclude: expected a list of cards"),
        (
            ["card-1", "card 2", 3],
            f"exclude: 2 of 3 are no cards; each is {FORM_OF_EXCLUDED}",
        ),
    ):
        answer = split(exclude=exclude)
        assert isinstance(answer, UnreadableRecord)
        assert [problem.detail for problem in answer.problems] == [detail]


def test_hashed_cards_are_read_and_written_back_the_same_with_the_check_value_of_their_key() -> None:
    command = split(exclude=HASHES, exclude_key_check=CHECK)
    assert isinstance(command, Command)
    assert (command.exclude, command.exclude_key_check) == (tuple(HASHES), CHECK)
    assert read_command(encode(command)) == command
    assert excluded_of(command) == hashed("card-1", "card-2")
    accepted = Event(
        event_id="e",
        deployment="default",
        kind=EventKind.ACCEPTED,
        revision=1,
        worker="w",
        at="2026-01-01T00:00:00.000Z",
        exclude=command.exclude,
        exclude_key_check=CHECK,
    )
    assert read_event(encode(accepted)) == accepted


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"exclude": HASHES}, "exclude_key_check: missing, the hashes in exclude need it"),
        (
            {"exclude": [*HASHES, "card-1"], "exclude_key_check": CHECK},
            "exclude_key_check: 2 of 3 cards in exclude are hashes, and all have to be",
        ),
        (
            {"exclude": ["card-1"], "exclude_key_check": CHECK},
            "exclude_key_check: 0 of 1 cards in exclude are hashes, and all have to be",
        ),
        ({"exclude_key_check": CHECK}, "exclude_key_check: 0 of 0 cards in exclude are hashes, and all have to be"),
        (
            {"exclude": HASHES, "exclude_key_check": "0"},
            "exclude_key_check: expected 32 hexadecimal digits, 0-9 a-f, got '0'",
        ),
        (
            {"exclude": [HASHES[0].upper(), HASHES[1][:-1]], "exclude_key_check": CHECK},
            f"exclude: 2 of 2 are no cards; each is {FORM_OF_EXCLUDED}",
        ),
    ],
)
def test_hashes_and_the_check_value_of_their_key_belong_together(fields: dict[str, Any], detail: str) -> None:
    answer = split(**fields)
    assert isinstance(answer, UnreadableRecord)
    assert answer.problems[0].detail == detail


@pytest.mark.parametrize("value", [b"", b"[]", b"null", b'"\xff"', b'{"command_id":', b"[" * 100_000])
def test_bytes_that_are_no_json_object_are_reported_as_an_invalid_record(value: Any) -> None:
    assert codes(read_command(value))[0][0] is ProblemCode.INVALID_RECORD


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "force", "share_bp", "arms", "decline_cap", "let_through", "schema"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    )
)
def test_no_field_values_make_read_command_raise(fields: Any) -> None:
    answer = read_command(msgspec.json.encode(GOOD | fields))
    assert isinstance(answer, Command) or answer.problems


def test_events_and_commands_satisfy_their_schemas() -> None:
    event = Event(
        event_id="e-1",
        deployment="default",
        kind=EventKind.REFUSED,
        revision=3,
        worker="w",
        at="2026-01-01T00:00:00.000Z",
        command_id="c-1",
        problems=(Problem(ProblemCode.EXPIRED, "late"),),
    )
    command = read()
    assert isinstance(command, Command)
    for record, kind in ((event, Event), (command, Command)):
        Draft202012Validator(msgspec.json.schema(kind)).validate(msgspec.json.decode(encode(record)))
    assert read_event(encode(event)) == event
    assert isinstance(read_event(b"{}"), UnreadableRecord)
    assert isinstance(read_event(b"\xff"), UnreadableRecord)


@pytest.mark.parametrize("name", ["schema", "issued_at", "expires_at", "kind", "model", "arms", "reason", "deployment"])
def test_a_field_nested_to_any_depth_is_refused_without_an_exception(name: str) -> None:
    sound = msgspec.json.encode({key: value for key, value in GOOD.items() if key != name})[:-1]
    for depth in (1, 2, 3, 10, 100, 500, *range(998, 1_004), 1_099):
        nested = b"[" * depth + b"]" * depth
        assert isinstance(read_command(sound + b',"%b":%b}' % (name.encode(), nested)), UnreadableRecord)


@pytest.mark.parametrize("name", [*GOOD, "schema", "watch_seconds", "arms", "share_bp", "force"])
def test_the_refusal_of_a_megabyte_in_a_field_fits_into_an_event(name: str) -> None:
    for value in ("x" * 1_000_000, "\x01" * 150_000, {"x" * 900_000: "x"}, ["x" * 900_000]):
        refused = read(**{name: value})
        assert isinstance(refused, UnreadableRecord)
        assert sum(len(problem.detail) for problem in refused.problems) < 1_000


def test_half_a_card_number_is_never_quoted() -> None:
    number = "4532015112830366"
    for before in range(60, 300):
        for name in ("schema", "kind", "issued_at"):
            refused = read(**{name: "x" * before + number})
            details = "".join(problem.detail for problem in refused.problems)
            assert number[:6] not in details.replace(number, "")


def test_a_command_of_more_than_256_kib_or_10_000_lists_is_refused_before_it_is_decoded() -> None:
    room = LARGEST_COMMAND_BYTES - len(msgspec.json.encode(GOOD | {"note": ""}))
    assert isinstance(read(note="x" * room), Command)
    assert isinstance(read(note=[[]] * 4_000), Command)
    assert codes(read(note=[[]] * 10_000)) == [(ProblemCode.INVALID_RECORD, "10002 opening brackets, more than 10000")]
    assert codes(read(note="x" * (room + 1))) == [
        (ProblemCode.INVALID_RECORD, f"{LARGEST_COMMAND_BYTES + 1} bytes, more than {LARGEST_COMMAND_BYTES}")
    ]

"""A command counts where one is required only if a trusted key signed exactly its bytes, and may send it."""

from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.commands import Command, CommandKind, encode
from models.errors import InvalidKeysError
from models.signing import (
    KEY_HEADER,
    SIGNATURE_HEADER,
    Role,
    Seal,
    SealRules,
    SealScope,
    key_line,
    read_keyring,
    seal_of,
)
from stream.control.ed25519 import verify
from stream.control.keys import Signatures, Signer
from support.judged_log import Logged, command
from support.signing import HERE, holder, signatures

ANN, BOB, GUARD = holder("ann"), holder("bob"), holder("guard", Role.GUARD)
MODELLER = holder("mo", Role.MODEL)
KEYRING: Any = signatures(ANN, BOB, GUARD, MODELLER).keyring


def asked(kind: str = "promote", actor: str = "ann", **changes: Any) -> Command:
    return msgspec.structs.replace(command(kind, "c-1", 0, "a" * 64), actor=actor, **changes)


def seal(one: Command, record: Logged, scope: SealScope = HERE, **headers: bytes) -> Seal:
    named = {**dict(record.headers), **{name.replace("_", "-"): text for name, text in headers.items()}}
    return seal_of(SealRules(KEYRING, scope, verify), one, record.value, list(named.items()))


def codes(found: Seal) -> list[str]:
    return [problem.code.value for problem in found.problems]


def test_a_trusted_signature_names_the_person_and_the_role() -> None:
    assert seal(asked(), ANN.signed(asked())) == Seal("ann", Role.OPERATOR)
    of_guard = asked("canary", "guard", share_bp=100)
    assert seal(of_guard, GUARD.signed(of_guard)) == Seal("guard", Role.GUARD)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_signature_does_not_hold_for_a_value_with_one_byte_changed(at: int, change: int) -> None:
    record = ANN.signed(asked())
    value = bytearray(record.value)
    value[at % len(value)] ^= change
    assert codes(seal(asked(), Logged(0, bytes(value), record.headers))) == ["wrong_signature"]


@pytest.mark.parametrize("elsewhere", [HERE._replace(**{name: "p2."}) for name in HERE._fields], ids=HERE._fields)
def test_a_signature_for_somewhere_else_is_none_here(elsewhere: SealScope) -> None:
    copied = ANN.signed(asked(), elsewhere)
    (problem,) = seal(asked(), copied).problems
    assert problem.code == "wrong_signature"
    assert "for estate 'here', topic prefix '', deployment 'default'" in problem.detail
    assert seal(asked(), copied, elsewhere).person == "ann"


@given(st.lists(st.text(max_size=8), min_size=4, max_size=4), st.lists(st.text(max_size=8), min_size=4, max_size=4))
def test_no_two_scopes_or_values_are_signed_alike(one: list[str], other: list[str]) -> None:
    signed = [SealScope(*names[:3]).statement(names[3].encode()) for names in (one, other)]
    assert (signed[0] == signed[1]) is (one == other)


def test_a_signature_of_the_value_alone_is_refused_with_what_to_do() -> None:
    one = asked()
    of_value = b64encode(ANN.key.sign(encode(one)))
    (problem,) = seal(one, ANN.signed(one), fraudstream_signature=of_value).problems
    assert problem.code == "wrong_signature"
    assert "sign with this version" in problem.detail


@given(st.binary(max_size=100))
def test_no_other_bytes_are_a_signature(signature: bytes) -> None:
    assert codes(seal(asked(), ANN.signed(asked()), fraudstream_signature=signature)) == ["wrong_signature"]


def test_another_key_than_the_one_that_is_named_is_refused() -> None:
    found = seal(asked(), ANN.signed(asked()), fraudstream_key=BOB.key_id.encode())
    assert codes(found) == ["wrong_signature"]
    assert found.person is None
    for name in (holder("ann").key_id.encode(), b"", b"\xff" * 300):
        found = seal(asked(), ANN.signed(asked()), fraudstream_key=name)
        assert codes(found) == ["unknown_key"]
        assert len(found.problems[0].detail) < 200


@pytest.mark.parametrize(
    "headers", [(), ((KEY_HEADER, b"k"),), ((SIGNATURE_HEADER, b"s"),), 2 * ANN.signed(asked()).headers]
)
def test_a_record_without_exactly_one_signature_is_unsigned(headers: Any) -> None:
    found = seal_of(SealRules(KEYRING, HERE, verify), asked(), encode(asked()), headers)
    assert codes(found) == ["unsigned"]
    assert "FRAUDSTREAM_SIGNING_KEY" in found.problems[0].detail


@pytest.mark.parametrize("kind", list(CommandKind))
def test_a_guard_may_send_what_a_guard_decides_and_an_operator_everything(kind: CommandKind) -> None:
    permitted = kind in {"canary", "end_canary", "promote", "roll_back", "pause"}
    assert codes(seal(asked(kind, "guard"), GUARD.signed(asked(kind, "guard")))) == (
        [] if permitted else ["not_permitted"]
    )
    assert codes(seal(asked(kind), ANN.signed(asked(kind)))) == []
    assert codes(seal(asked(kind, "mo"), MODELLER.signed(asked(kind, "mo")))) == ["not_permitted"]


def test_a_guards_key_may_name_the_guard_by_its_host_and_an_operators_may_not() -> None:
    ended = asked("end_canary", "guard@host-1", model=None)
    assert codes(seal(ended, GUARD.signed(ended))) == []
    assert codes(seal(ended, ANN.signed(ended))) == ["wrong_actor"]
    of_ann = asked("end_canary", "ann", model=None)
    assert codes(seal(of_ann, GUARD.signed(of_ann))) == ["wrong_actor"]


def test_a_guard_may_not_roll_back_to_a_time() -> None:
    to_a_time = asked("roll_back", "guard", model=None, to="2026-01-01T00:00:00.000Z")
    found = seal(to_a_time, GUARD.signed(to_a_time))
    assert codes(found) == ["not_permitted"]
    assert "roll_back to a time" in found.problems[0].detail


def test_a_guard_may_end_a_split_but_may_not_let_an_arm_win() -> None:
    for winner, found in (("live", []), ("a", ["not_permitted"])):
        ended = asked("end_split", "guard", model=None, winner=winner)
        assert codes(seal(ended, GUARD.signed(ended))) == found
    assert "end_split with the winner a needs" in seal(ended, GUARD.signed(ended)).problems[0].detail


def test_a_command_of_another_actor_than_the_keys_person_is_refused_with_all_problems() -> None:
    found = seal(asked(actor="ann"), BOB.signed(asked(actor="ann")))
    assert codes(found) == ["wrong_actor"]
    assert "the key is that of 'bob', the command's actor is 'ann'" in found.problems[0].detail
    assert codes(seal(asked("demote"), GUARD.signed(asked("demote")))) == ["not_permitted", "wrong_actor"]


def test_a_file_of_keys_is_read_from_the_lines_that_are_printed() -> None:
    odd = holder('"ann" \\ é', Role.GUARD)
    assert (
        read_keyring("\n".join(one.line for one in (ANN, BOB, GUARD, odd))) == signatures(ANN, BOB, GUARD, odd).keyring
    )


WRONG = {
    "": "it holds no key; `fraudstream keys new` prints the line for one",
    "x = ": "no TOML: ",
    f"{ANN.line}\n{ANN.line}": "no TOML: ",
    "x = 1": r"key 'x': expected public, .* and role \(one of operator, guard, model, erase\): Expected `object`, got",
    ANN.line.replace("operator", "chief"): "key '[0-9a-f]{16}': expected .*: Invalid enum value 'chief'",
    ANN.line.replace("person", "name"): "unknown field `name`",
    ANN.line.replace('"ann"', '""'): "length >= 1",
    ANN.line.replace('public = "', 'public = "!'): "public is not base64",
    key_line(b"short", "ann", Role.OPERATOR): "public has 5 bytes; an Ed25519 public key has 32",
    ANN.line.replace(ANN.key_id, BOB.key_id): f"the id of this public key is '{ANN.key_id}'",
    f"{ANN.line}\n{holder(' Ann').line}": "'ann' and ' Ann' would count as two persons",
    f"x = 1\n{ANN.line.replace(ANN.key_id, BOB.key_id)}": r"key 'x'.*; key '",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_file_of_keys_that_cannot_be_used_is_refused_with_all_problems(text: str) -> None:
    with pytest.raises(InvalidKeysError, match=WRONG[text]):
        read_keyring(text)


ERASER = holder("eve", Role.ERASE)
ERASING: Any = signatures(ANN, ERASER)
ERASURE = b'{"kind":"erasure"}'


def erasure_headers(who: Any, scope: SealScope) -> list[tuple[str, bytes | None]]:
    """Return the headers of an erasure that somebody signed."""
    return list(Signer(who.key_id, who.key.sign).headers(scope, ERASURE))


def test_an_erasure_counts_if_a_key_with_that_role_signed_it_for_all_deployments() -> None:
    assert not ERASING.erasure_problem(HERE, ERASURE, erasure_headers(ERASER, HERE.of_all))
    assert not ERASING.erasure_problem(HERE._replace(deployment="other"), ERASURE, erasure_headers(ERASER, HERE.of_all))


@pytest.mark.parametrize(
    ("who", "scope", "value", "problem"),
    [
        (ANN, HERE.of_all, ERASURE, "ann's key has the role operator, and erasing needs erase"),
        (ERASER, HERE, ERASURE, "the signature is not that of eve's key"),
        (ERASER, HERE.of_all._replace(estate="there"), ERASURE, "the signature is not that of eve's key"),
        (ERASER, HERE.of_all, b'{"kind":"erasure" }', "the signature is not that of eve's key"),
        (holder("mallory", Role.ERASE), HERE.of_all, ERASURE, "no worker here trusts the key"),
    ],
)
def test_no_other_erasure_counts(who: Any, scope: SealScope, value: bytes, problem: str) -> None:
    assert ERASING.erasure_problem(HERE, value, erasure_headers(who, scope)).startswith(problem)


def test_without_a_signature_or_without_keys_no_erasure_counts() -> None:
    assert "expected one header" in ERASING.erasure_problem(HERE, ERASURE, [])
    assert "FRAUDSTREAM_COMMAND_KEYS" in Signatures().erasure_problem(
        HERE, ERASURE, erasure_headers(ERASER, HERE.of_all)
    )


def test_a_key_that_erases_sends_no_command() -> None:
    record = ERASER.signed(asked(actor="eve"))
    rules = SealRules(ERASING.keyring, HERE, verify)
    assert codes(seal_of(rules, asked(actor="eve"), record.value, list(record.headers))) == ["not_permitted"]

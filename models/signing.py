"""Who signed a command, and whether the role of that key may send it: a pure function of a record and a table of keys.

The erasure of a card is signed in the same way, for no deployment, since all obey it.

A signature covers the exact bytes of the record's value, so it covers the command's id, the revision that it expects
and its expiry: a copy gets the first answer again, and one for another revision or time is refused. It also covers
where the command is to count: a copy for another estate, topic prefix or deployment is refused.
"""

import binascii
import tomllib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

import msgspec

from fraudstream_client.arms import LIVE
from models.commands import Actor, Command, CommandKind
from models.errors import InvalidKeysError
from models.expected import expected, without_pattern
from models.problems import Problem, ProblemCode

KEY_HEADER = "fraudstream-key"
SIGNATURE_HEADER = "fraudstream-signature"
PUBLIC_BYTES = 32
_DOMAIN = b"fraudstream command signature 2 "
_ID_DIGITS = 16
_LONGEST_QUOTATION = 64

GUARD_AT = "guard@"
"""What a guard that names itself by its host begins its name with; its key says whose it is."""

Headers = Sequence[tuple[str, bytes | None]]
Verify = Callable[[bytes, bytes, bytes], bool]
"""Tells whether a signature is that of a public key over a value: (public key, signature, value)."""


class SealScope(NamedTuple):
    """Where a command counts: the estate (a cluster, or several of one purpose), its topics' prefix, the deployment."""

    estate: str
    topic_prefix: str
    deployment: str

    @property
    def of_all(self) -> "SealScope":
        """Where an erasure counts: for all deployments that read these topics."""
        return self._replace(deployment="")

    def statement(self, value: bytes) -> bytes:
        """Return the bytes that are signed: a line that says what this is and where it counts, and the record's value.

        No value begins as the line does: values are JSON objects.
        """
        return b"%s%s\n%s" % (_DOMAIN, msgspec.json.encode(tuple(self)), value)


class Role(StrEnum):
    """What a key may do."""

    OPERATOR = "operator"
    """Send every command."""
    GUARD = "guard"
    """Send what a guard decides, and nothing else: `canary`, `end_canary`, `promote`, `pause`, `roll_back` without a
    time, and `end_split` with the winner `live`."""
    MODEL = "model"
    """Sign models, and send no command."""
    ERASE = "erase"
    """Sign erasures of cards, and send no command."""


_GUARDS_KINDS = frozenset(
    {
        CommandKind.CANARY,
        CommandKind.END_CANARY,
        CommandKind.END_SPLIT,
        CommandKind.PROMOTE,
        CommandKind.ROLL_BACK,
        CommandKind.PAUSE,
    }
)


class TrustedKey(NamedTuple):
    """A public key that workers accept: its 32 bytes, whose it is, and what it may do."""

    public: bytes
    person: str
    role: Role


Keyring = Mapping[str, TrustedKey]
"""The trusted keys by id."""


class Seal(NamedTuple):
    """Who signed a command; or why it does not count. Both are empty where commands need no signature."""

    person: str | None = None
    role: Role | None = None
    problems: tuple[Problem, ...] = ()


class _KeyLine(msgspec.Struct, forbid_unknown_fields=True):
    """A key as a line of the file has it."""

    public: str
    person: Actor
    role: Role


def key_id(public: bytes) -> str:
    """Return the id of a public key: the first 16 hexadecimal digits of its SHA-256."""
    return sha256(public).hexdigest()[:_ID_DIGITS]


def key_line(public: bytes, person: str, role: Role) -> str:
    """Return the line of a file of keys for one key."""
    name = msgspec.json.encode(person).decode()
    return f'"{key_id(public)}" = {{ public = "{b64encode(public).decode()}", person = {name}, role = "{role}" }}'


def read_keyring(text: str) -> Keyring:
    """Read a file of keys: TOML, a line `"ID" = { public = "…", person = "…", role = "operator" }` for each.

    Raises:
        InvalidKeysError: names everything that is wrong with it.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidKeysError(f"no TOML: {' '.join(str(error).split())}") from error
    keys, problems = dict[str, TrustedKey](), list[str]()
    for name, entry in table.items():
        try:
            keys[name] = _trusted(name, entry)
        except InvalidKeysError as error:
            problems.append(f"key {name!r}: {error}")
    problems += _common_problems(keys)
    if not table:
        problems.append("it holds no key; `fraudstream keys new` prints the line for one")
    if problems:
        raise InvalidKeysError("; ".join(problems))
    return keys


def _trusted(name: str, entry: object) -> TrustedKey:
    try:
        found = msgspec.convert(entry, _KeyLine)
    except msgspec.ValidationError as error:
        form = f"public, person ({expected(Actor)}) and role ({expected(Role)})"
        raise InvalidKeysError(f"expected {form}: {without_pattern(error)}") from error
    try:
        public = b64decode(found.public, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidKeysError(f"public is not base64: {error}") from error
    if len(public) != PUBLIC_BYTES:
        raise InvalidKeysError(f"public has {len(public)} bytes; an Ed25519 public key has {PUBLIC_BYTES}")
    if name != key_id(public):
        raise InvalidKeysError(f"the id of this public key is {key_id(public)!r}: one of the two was changed")
    return TrustedKey(public, found.person, found.role)


def _common_problems(keys: Keyring) -> Iterator[str]:
    """Yield the names that look like one person's but would count as two."""
    spelled: dict[str, str] = {}
    for one in keys.values():
        first = spelled.setdefault(" ".join(one.person.casefold().split()), one.person)
        if first != one.person:
            yield f"{first!r} and {one.person!r} would count as two persons: write the name of one person in one way"


class SealRules(NamedTuple):
    """What is asked of a signature: a trusted key's, for this scope; `verify` is the cryptography."""

    keyring: Keyring
    scope: SealScope
    verify: Verify


def seal_of(rules: SealRules, command: Command, value: bytes, headers: Headers) -> Seal:
    """Return who signed a record of `model-control`, of which `command` was decoded, and what is wrong with that."""
    key = _signer(rules, value, headers)
    if isinstance(key, Problem):
        return Seal(problems=(key,))
    return Seal(key.person, key.role, tuple(_permission_problems(key, command)))


def erasure_problem(rules: SealRules, value: bytes, headers: Headers) -> str:
    """Say what is wrong with the signature of an erasure; empty if it counts."""
    key = _signer(rules, value, headers)
    if isinstance(key, Problem):
        return key.detail
    return "" if key.role is Role.ERASE else f"{key.person}'s key has the role {key.role}, and erasing needs erase"


def _signer(rules: SealRules, value: bytes, headers: Headers) -> TrustedKey | Problem:
    """Return the trusted key that signed a value, or why none has."""
    names, signatures = ([text for name, text in headers if name == one] for one in (KEY_HEADER, SIGNATURE_HEADER))
    if (len(names), len(signatures)) != (1, 1):
        found = f"got {len(names)} and {len(signatures)}"
        detail = f"expected one header {KEY_HEADER} and one {SIGNATURE_HEADER}, {found}; set FRAUDSTREAM_SIGNING_KEY"
        return Problem(ProblemCode.UNSIGNED, detail)
    key = rules.keyring.get((names[0] or b"").decode("ascii", "replace"))
    if key is None:
        shown = (names[0] or b"")[:_LONGEST_QUOTATION].decode("ascii", "replace")
        return Problem(ProblemCode.UNKNOWN_KEY, f"no worker here trusts the key {shown!r}; add it to the file of keys")
    if not _is_signed(key, signatures[0] or b"", rules.scope.statement(value), rules.verify):
        return Problem(ProblemCode.WRONG_SIGNATURE, _wrong(rules, key, signatures[0] or b"", value))
    return key


def _wrong(rules: SealRules, key: TrustedKey, signature: bytes, value: bytes) -> str:
    """Say what is wrong with a signature that is not the one that is asked for."""
    scope = rules.scope
    here = f"estate {scope.estate!r}, topic prefix {scope.topic_prefix!r}, deployment {scope.deployment!r}"
    if _is_signed(key, signature, value, rules.verify):
        what = "covers the value alone, as those of fraudstream 0.1 did, and could be a copy from elsewhere"
        return f"the signature by {key.person}'s key {what}: sign with this version, for {here}"
    return (
        f"the signature is not that of {key.person}'s key over this value for {here}: the value was changed, or it was "
        "signed for somewhere else"
    )


def _is_signed(key: TrustedKey, signature: bytes, value: bytes, verify: Verify) -> bool:
    try:
        return verify(key.public, b64decode(signature, validate=True), value)
    except (binascii.Error, ValueError):
        return False


def _permission_problems(key: TrustedKey, command: Command) -> Iterator[Problem]:
    if key.role in {Role.MODEL, Role.ERASE}:
        yield Problem(ProblemCode.NOT_PERMITTED, f"{command.kind} needs a key of the role operator, not {key.role}")
    elif key.role is Role.GUARD and not _is_a_guards(command):
        what = f"{command.kind} to a time" if command.to is not None else command.kind
        what = what if command.winner is None else f"{what} with the winner {command.winner}"
        yield Problem(ProblemCode.NOT_PERMITTED, f"{what} needs a key of the role operator, and this one is a guard's")
    if command.actor != key.person and not (key.role is Role.GUARD and command.actor.startswith(GUARD_AT)):
        detail = f"the key is that of {key.person!r}, the command's actor is {command.actor!r}: set FRAUDSTREAM_ACTOR"
        yield Problem(ProblemCode.WRONG_ACTOR, detail)


def _is_a_guards(command: Command) -> bool:
    lets_an_arm_win = command.kind is CommandKind.END_SPLIT and command.winner != LIVE
    return command.kind in _GUARDS_KINDS and command.to is None and not lets_an_arm_win

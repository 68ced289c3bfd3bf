"""Decode `command/1`, or say everything that is wrong with it: which fields a kind needs, takes, and of what form."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from fraudstream_client.field_types import FORM_OF_TOKENS
from guards.errors import GuardError
from guards.excluded import is_hash
from guards.ladder import Ladder
from guards.specs import read_guards
from models.commands import (
    ABOUT_PARTITIONS,
    MOST_DESPITE,
    NAMES_A_MODEL,
    TAKES_DESPITE,
    Command,
    CommandKind,
    Despite,
    Token,
    UnreadableRecord,
)
from models.errors import InvalidTimeError
from models.expected import expected, explained, quoted
from models.problems import Problem, ProblemCode
from models.splits import arms_problems, exclude_problems
from models.times import format_time, parse_time_ms

_NEEDED_BY = {
    "model": NAMES_A_MODEL,
    "share_bp": frozenset({CommandKind.CANARY}),
    "arms": frozenset({CommandKind.SPLIT}),
    "winner": frozenset({CommandKind.END_SPLIT}),
    "ladder": frozenset({CommandKind.ROLLOUT}),
    "topic": ABOUT_PARTITIONS,
    "partition": ABOUT_PARTITIONS,
    "log": frozenset({CommandKind.ACCEPT_LOSS}),
    "up_to": frozenset({CommandKind.ACCEPT_LOSS}),
    "offset": frozenset({CommandKind.SKIP}),
    "countersigns": frozenset({CommandKind.COUNTERSIGN}),
}
"""The fields that some kinds of command need, and no others take."""
_LIMITS = ("decline_cap", "let_through", "promote_needs_verdict", "volume_budget")
"""The fields of which a command about limits needs one at least."""
_TAKEN_BY = _NEEDED_BY | {
    **dict.fromkeys(_LIMITS, frozenset({CommandKind.LIMITS})),
    "salt": frozenset({CommandKind.CANARY, CommandKind.SPLIT, CommandKind.ROLLOUT}),
    "exclude": frozenset({CommandKind.SPLIT}),
    "exclude_key_check": frozenset({CommandKind.SPLIT}),
    "guards": frozenset({CommandKind.ROLLOUT}),
    "hands_off": frozenset({CommandKind.FREEZE}),
    "watch_seconds": frozenset({CommandKind.PROMOTE}),
    "to": frozenset({CommandKind.ROLL_BACK}),
    "first": frozenset({CommandKind.ACCEPT_LOSS}),
    "despite": TAKES_DESPITE,
}
"""The fields that only some kinds take. To others they would be ignored: a share would become a whole promotion."""
_ALIASES = {"rollback": "roll_back"}  # the command line's spelling
_TIMES = ("issued_at", "expires_at", "to")

LARGEST_EVIDENCE_BYTES = 16 * 1024
LARGEST_COMMAND_BYTES = 256 * 1024
"""The largest command that is decoded: lists of a thousand cards have room, and a compressed record has any size."""
MOST_CONTAINERS = 10_000
"""The most arrays and objects, counted by their brackets: decoded, they cost a hundred times their bytes."""

FREE_TEXTS = ("actor", "reason")
"""The fields of a command that may hold any text."""

_COMMANDS = msgspec.json.Decoder(float_hook=float)
"""Python's own parser of floats: that of msgspec takes 300 ns a byte for some."""


def read_command(value: bytes) -> Command | UnreadableRecord:
    """Decode one record of `model-control`, or return everything that is wrong with it.

    Times may have either form of the contract and are normalised to text; `rollback` means `roll_back`; unknown
    fields are ignored.
    """
    excess = _excess(value)
    if excess:
        return UnreadableRecord((Problem(ProblemCode.INVALID_RECORD, excess),))
    try:
        record = _COMMANDS.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return UnreadableRecord((Problem(ProblemCode.INVALID_RECORD, f"no JSON: {explained(error)}"),))
    if not isinstance(record, dict):
        return UnreadableRecord((Problem(ProblemCode.INVALID_RECORD, "no JSON object"),))
    fields = _normalised(record)
    problems = (*_field_problems(fields), *_kind_problems(fields))
    if problems:
        return UnreadableRecord(problems, _text(fields, "command_id"), _text(fields, "deployment"))
    command = msgspec.convert(fields, Command)
    disordered = _order_problems(command)
    return UnreadableRecord(disordered, command.command_id, command.deployment) if disordered else command


def argument_problems(arguments: Mapping[str, object]) -> tuple[Problem, ...]:
    """Return what `read_command` would refuse of these fields of a command, by name; one that is None is absent.

    For a sender: a command that is refused stays on its topic for ever.
    """
    given = (field for field in msgspec.structs.fields(Command) if arguments.get(field.name) is not None)
    found = [problem for field in given for problem in _value_problems(field, _plain(arguments[field.name]))]
    return (*found, *unprintable_problems(*(arguments.get(name) for name in FREE_TEXTS)))


def unprintable_problems(*texts: object) -> Iterator[Problem]:
    """Yield which of the `FREE_TEXTS` holds what is no glyph: it could write over other lines where it is shown."""
    for name, text in zip(FREE_TEXTS, texts, strict=True):
        if isinstance(text, str) and not text.isprintable():
            at = next(at for at, one in enumerate(text) if not one.isprintable())
            detail = f"{name}: character {at + 1}, U+{ord(text[at]):04X}, is no glyph; leave it out"
            yield Problem(ProblemCode.INVALID_FIELD, detail)


def _plain(value: object) -> object:
    """Return a struct as plain JSON: msgspec takes an instance for valid."""
    return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value


def _excess(value: bytes) -> str:
    """Return what there is too much of to decode a command; empty if nothing."""
    if len(value) > LARGEST_COMMAND_BYTES:
        return f"{len(value)} bytes, more than {LARGEST_COMMAND_BYTES}"
    brackets = value.count(b"[") + value.count(b"{")
    return f"{brackets} opening brackets, more than {MOST_CONTAINERS}" if brackets > MOST_CONTAINERS else ""


def _normalised(record: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in record.items() if value is not None}
    for name in _TIMES:
        try:
            fields[name] = format_time(parse_time_ms(fields.get(name)).epoch_ms)
        except InvalidTimeError:
            continue  # left unchanged: `_field_problems` reports it
    kind = fields.get("kind")
    if isinstance(kind, str):
        fields["kind"] = _ALIASES.get(kind, kind)
    return fields


def _field_problems(fields: dict[str, Any]) -> tuple[Problem, ...]:
    problems = []
    if fields.get("schema", "command/1") != "command/1":
        problems.append(Problem(ProblemCode.INVALID_FIELD, f"schema: {quoted(fields['schema'])} is not 'command/1'"))
    for field in msgspec.structs.fields(Command):
        if field.name in fields:
            problems += _value_problems(field, fields[field.name])
        elif field.required:
            problems.append(Problem(ProblemCode.INVALID_FIELD, f"{field.name}: missing"))
    return tuple(problems)


def _value_problems(field: msgspec.structs.FieldInfo, value: object) -> tuple[Problem, ...]:
    if field.name in _PROBLEMS_OF:
        return tuple(Problem(ProblemCode.INVALID_FIELD, problem) for problem in _PROBLEMS_OF[field.name](value))
    try:
        msgspec.convert(value, field.type)
        if field.name in _TIMES:
            parse_time_ms(value)  # the pattern alone admits the 31st of June
        if field.name in _READ_AS:
            _READ_AS[field.name](value)
    except msgspec.ValidationError:
        code = ProblemCode.UNSUPPORTED_KIND if field.name == "kind" else ProblemCode.INVALID_FIELD
        return (Problem(code, f"{field.name}: expected {expected(field.type)}, got {quoted(value)}"),)
    except InvalidTimeError as error:
        return (Problem(ProblemCode.INVALID_FIELD, f"{field.name}: {error}"),)
    except GuardError as error:  # names the field itself
        return (Problem(ProblemCode.INVALID_FIELD, str(error)),)
    return ()


def _read_evidence(value: object) -> None:
    size = len(msgspec.json.encode(value))
    if size > LARGEST_EVIDENCE_BYTES:
        raise GuardError(f"evidence: {size} bytes as JSON, more than {LARGEST_EVIDENCE_BYTES}; leave some of it out")


def _despite_problems(value: object) -> Iterator[str]:
    """Yield what is wrong with the `despite` of a command; nothing if it is a list of ids."""
    try:
        msgspec.convert(value, Despite)
    except msgspec.ValidationError:
        yield f"despite: expected a list of at most {MOST_DESPITE} ids, each {FORM_OF_TOKENS}, as a refusal names them"


_PROBLEMS_OF: Mapping[str, Callable[[object], Iterator[str]]] = {
    "arms": arms_problems,
    "exclude": exclude_problems,
    "despite": _despite_problems,
}
"""The fields whose problems are many, and name their parts."""
_READ_AS: Mapping[str, Callable[[object], object]] = {
    "ladder": Ladder.from_json,
    "guards": read_guards,
    "evidence": _read_evidence,
}
"""The fields that a type does not say all of."""


def _kind_problems(fields: dict[str, Any]) -> tuple[Problem, ...]:
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in set(CommandKind):
        return ()
    needed = [
        Problem(ProblemCode.INVALID_FIELD, f"{name}: missing, {kind} needs it")
        for name, kinds in _NEEDED_BY.items()
        if kind in kinds and name not in fields
    ]
    if kind == CommandKind.LIMITS and not any(name in fields for name in _LIMITS):
        detail = f"{_LIMITS[0]}: missing, {kind} needs it, {', '.join(_LIMITS[1:-1])} or {_LIMITS[-1]}"
        needed.append(Problem(ProblemCode.INVALID_FIELD, detail))
    ignored = [
        Problem(ProblemCode.INVALID_FIELD, f"{name}: {kind} takes none")
        for name, kinds in _TAKEN_BY.items()
        if kind not in kinds and name in fields
    ]
    return (*needed, *ignored, *_reason_problems(fields), *_key_problems(fields))


def _reason_problems(fields: dict[str, Any]) -> tuple[Problem, ...]:
    """Require a reason of a command that accepts what is on record against a model."""
    reason = fields.get("reason")
    if not fields.get("despite") or not isinstance(reason, str) or reason.strip():
        return ()
    return (Problem(ProblemCode.INVALID_FIELD, "reason: is empty; a command with `despite` has to say why"),)


def _key_problems(fields: dict[str, Any]) -> Iterator[Problem]:
    """Require the key's check value beside hashed cards, and nothing but hashes beside the check value."""
    if fields.get("kind") != CommandKind.SPLIT:
        return
    exclude, stated = fields.get("exclude"), "exclude_key_check" in fields
    entries = exclude if isinstance(exclude, list) else []
    hashes = sum(isinstance(one, str) and is_hash(one) for one in entries)
    if hashes and not stated:
        yield Problem(ProblemCode.INVALID_FIELD, "exclude_key_check: missing, the hashes in exclude need it")
    elif stated and not 0 < hashes == len(entries):
        detail = f"exclude_key_check: {hashes:,} of {len(entries):,} cards in exclude are hashes, and all have to be"
        yield Problem(ProblemCode.INVALID_FIELD, detail)


def _order_problems(command: Command) -> tuple[Problem, ...]:
    if command.expires_ms > parse_time_ms(command.issued_at).epoch_ms:
        return ()
    return (Problem(ProblemCode.INVALID_FIELD, "expires_at: not later than issued_at"),)


def _text(fields: dict[str, Any], name: str) -> str | None:
    """Return a field that is a valid token, or None."""
    try:
        return msgspec.convert(fields.get(name), Token)
    except msgspec.ValidationError:
        return None

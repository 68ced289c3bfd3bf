"""Which models a manifest names: its parent, its teachers, and whatever a later version names besides.

The names are found in the JSON itself, by value: any text that is the digest of a model in the repository. So what
keeps models for the sake of others does not depend on which fields a version knows.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_UNREADABLE = "named in a damaged manifest"


class Relation(NamedTuple):
    """A model that another's manifest names, and the field in which it does, such as `parent`."""

    digest: str
    field: str


class Relative(NamedTuple):
    """A model related to the one in question: how many steps away (1: a parent, a child), by which field, of whom."""

    digest: str
    steps: int
    field: str
    of: str


def named_models(manifest: bytes, digest: str, known: frozenset[str]) -> tuple[Relation, ...]:
    """Return the models of `known` that the manifest of `digest` names, each once, in the order of the manifest.

    A manifest that is no JSON is searched as text, so that damage to it hides no name.
    """
    try:
        found = list(_walk(msgspec.json.decode(manifest), ""))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = [Relation(one.decode(), _UNREADABLE) for one in _DIGEST.findall(manifest)]
    fields: dict[str, str] = {}
    for one in found:
        if one.digest in known and one.digest != digest:
            fields.setdefault(one.digest, one.field)
    return tuple(Relation(name, field) for name, field in fields.items())


def ancestors(digest: str, relations: Mapping[str, tuple[Relation, ...]]) -> tuple[Relative, ...]:
    """Return what a model descends from, nearest first; `relations` has what each model's manifest names."""
    return tuple(_reached(digest, relations))


def descendants(digest: str, relations: Mapping[str, tuple[Relation, ...]]) -> tuple[Relative, ...]:
    """Return the models that descend from one, nearest first."""
    reverse: dict[str, tuple[Relation, ...]] = {}
    for child, named in sorted(relations.items()):
        for one in named:
            reverse[one.digest] = (*reverse.get(one.digest, ()), Relation(child, one.field))
    return tuple(_reached(digest, reverse))


def _reached(digest: str, relations: Mapping[str, tuple[Relation, ...]]) -> Iterator[Relative]:
    seen, at = {digest}, [digest]
    steps = 0
    while at:
        steps += 1
        found = [Relative(one.digest, steps, one.field, of) for of in at for one in relations.get(of, ())]
        at = []
        for one in found:
            if one.digest not in seen:
                seen.add(one.digest)
                at.append(one.digest)
                yield one


def _walk(value: Any, field: str) -> Iterator[Relation]:  # noqa: ANN401 - JSON
    match value:
        case str():
            yield Relation(value, field)
        case dict():
            for name, one in value.items():
                yield from _walk(one, f"{field}.{name}" if field else str(name))
        case list():
            for one in value:
                yield from _walk(one, field)

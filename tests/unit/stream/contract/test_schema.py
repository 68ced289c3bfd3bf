"""The JSON Schemas serve in any language: engines compile their patterns, and accept what the decoder accepts."""

import base64
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Annotated, Any

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import Field, TypeAdapter, ValidationError

from fraudstream_client import field_types
from models import commands
from shadow import comparison
from stream.contract.schema import RECORDS, json_schema, portable
from support.paths import SUPPORT

TYPES: tuple[Any, ...] = (
    field_types.Token,
    field_types.CurrencyCode,
    field_types.CountryCode,
    field_types.CategoryCode,
    field_types.AttributeName,
    field_types.IncidentId,
    field_types.SettingsHash,
    commands.Token,
    commands.Digest,
    commands.ModelName,
    commands.Timestamp,
    commands.TopicName,
    commands.TopicId,
    commands.ExcludedCard,
    commands.KeyCheck,
    comparison.Currency,
)
"""Every type of the records that has a pattern."""


def schema_of(kind: Any) -> dict[str, Any]:
    return portable(msgspec.json.schema(kind))


PATTERNS = sorted({schema_of(kind)["pattern"] for kind in TYPES})
EXCLUDED = "[^!-~]"
"""The pattern under `not`."""
LINE_ENDS = ("\n", "\r", "\r\n", "\x85", "\u2028", "\u2029")
"""Before one of these at the end, Java's `$` matches; before the first, Python's does."""
OF_FORM = {
    "^[A-Z]{2}$": ("DE", "ZZ"),
    "^[A-Z]{3}$": ("EUR", "ZZZ"),
    "^[0-9]{4}$": ("5411", "0000"),
    "^[a-z][a-z0-9_]{0,63}$": ("a", "account_age_days", "x" * 64),
    "^[0-9a-f]{64}$": ("0" * 64, "9f" * 32),
    "^[0-9a-f]{32}$": ("0" * 32, "9f" * 16),
    "^[0-9a-f]{8,64}$": ("3f9a02c1", "9f" * 32),
    "^[0-9a-f]{8}$": ("3f9a02c1", "00000000"),
    "^[A-Za-z0-9._:@-]{1,64}$": ("a", "card-000123", "a.b_c:d@e-f", "9" * 64),
    "^(?:h1=[0-9a-f]{32}|[A-Za-z0-9._:@-]{1,64})$": ("h1=" + "9f" * 16, "card-000123", "h1:" + "0" * 32),
    "^[A-Za-z0-9._-]{1,249}$": ("scores", "bank.scores_1-x", "x" * 249),
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$": ("2026-01-31T12:00:00.000Z",),
}
"""Texts of each form."""
UNICODE_DIGITS = "\u0662\u0660\u0662\u0666"


def patterns_in(schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield each pattern of a schema that a text must match, with the pattern that it must not."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str) and schema != {"pattern": EXCLUDED}:
            yield schema["pattern"], schema.get("not")
        for part in schema.values():
            yield from patterns_in(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from patterns_in(part)


def test_the_types_tested_here_are_all_that_have_a_pattern() -> None:
    found = [pair for record in RECORDS for pair in patterns_in(json_schema(record))]
    assert {pattern for pattern, _ in found} == set(PATTERNS) == set(OF_FORM)
    assert [excluded for _, excluded in found if excluded != {"pattern": EXCLUDED}] == []


def near_texts(pattern: str) -> list[str]:
    """Return texts of a form, and texts that are nearly of it."""
    found = ["", "\n", UNICODE_DIGITS]
    for text in OF_FORM[pattern]:
        found += [text, text[1:], text[:-1], text.swapcase(), f"{text}\n{text}", UNICODE_DIGITS + text[4:]]
        found += [text + more for more in (*LINE_ENDS, " ", "é", "~", "A", "0", "\x00")]
        found += [more + text for more in (*LINE_ENDS, " ", "A")]
    return found


def is_of_form(pattern: str, text: str) -> bool:
    """Apply a pattern to the whole text, without its anchors."""
    return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), text) is not None


def is_decoded(kind: Any, text: str) -> bool:
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True


# --- engines: each matches pairs of a pattern and a text

Pairs = Sequence[tuple[str, str]]


def by_re2(pairs: Pairs) -> list[bool]:
    """Match as RE2 does, by DuckDB."""
    patterns, texts = zip(*pairs, strict=True)
    query = "SELECT regexp_matches(text, pattern) FROM (SELECT unnest(?) AS text, unnest(?) AS pattern)"
    with duckdb.connect() as connection:
        return [matched for (matched,) in connection.execute(query, [list(texts), list(patterns)]).fetchall()]


def by_pydantic(pairs: Pairs) -> list[bool]:
    """Match as Rust's engine does, by pydantic."""
    return [_is_valid_for_pydantic(pattern, text) for pattern, text in pairs]


def _is_valid_for_pydantic(pattern: str, text: str) -> bool:
    try:
        _adapter(pattern).validate_python(text)
    except ValidationError:
        return False
    return True


@cache
def _adapter(pattern: str) -> TypeAdapter[str]:
    return TypeAdapter(Annotated[str, Field(pattern=pattern)])


def by_go(pairs: Pairs) -> list[bool]:
    return _by_program(("go", "run", str(SUPPORT / "regex/patterns.go")), pairs)


def by_java(pairs: Pairs) -> list[bool]:
    return _by_program(("java", str(SUPPORT / "regex/Patterns.java")), pairs)


def by_javascript(pairs: Pairs) -> list[bool]:
    return _by_program(("node", str(SUPPORT / "regex/patterns.mjs")), pairs)


def _by_program(command: Sequence[str], pairs: Pairs) -> list[bool]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"not on PATH: {command[0]}")
    lines = [" ".join(base64.b64encode(one.encode()).decode() for one in pair) for pair in pairs]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return [line == "true" for line in done.stdout.splitlines()]


ENGINES = [
    by_re2,
    by_pydantic,
    pytest.param(by_go, marks=pytest.mark.acceptance),
    pytest.param(by_java, marks=pytest.mark.acceptance),
    pytest.param(by_javascript, marks=pytest.mark.acceptance),
]


@pytest.mark.parametrize("matches", ENGINES)
def test_an_engine_compiles_each_pattern_and_accepts_with_not_exactly_what_is_of_the_form(
    matches: Callable[[Pairs], list[bool]],
) -> None:
    pairs = [(pattern, text) for pattern in PATTERNS for text in near_texts(pattern)]
    matched, excluded = matches(pairs), matches([(EXCLUDED, text) for _, text in pairs])
    assert len(matched) == len(excluded) == len(pairs)
    accepted = [found and not bad for found, bad in zip(matched, excluded, strict=True)]
    assert accepted == [is_of_form(*pair) for pair in pairs]
    if matches is not by_java:
        assert matched == accepted, "an engine whose $ is the end of the text needs no `not`"


@given(st.sampled_from(TYPES).flatmap(lambda kind: st.tuples(st.just(kind), texts_for(kind))))
def test_the_decoder_the_schema_and_every_engine_accept_the_same_texts(drawn: tuple[Any, str]) -> None:
    kind, text = drawn
    schema = schema_of(kind)
    expected = is_of_form(schema["pattern"], text)
    assert is_decoded(kind, text) is expected
    assert Draft202012Validator(schema).is_valid(text) is expected
    assert by_re2([(schema["pattern"], text)]) == by_pydantic([(schema["pattern"], text)]) == [expected]


def texts_for(kind: Any) -> st.SearchStrategy[str]:
    """Draw texts that are of a type's form, nearly so, or anything."""
    pattern = schema_of(kind)["pattern"]
    of_form = st.from_regex(pattern.removeprefix("^").removesuffix("$"), fullmatch=True)
    ends = st.sampled_from(("", *LINE_ENDS)) | st.characters(codec="utf-8")
    near = st.tuples(ends, of_form, ends).map("".join)
    return of_form | near | st.sampled_from(near_texts(pattern)) | st.text(st.characters(codec="utf-8"))

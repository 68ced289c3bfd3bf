"""Which ids are card numbers: the whole of them, in the dress in which they come; and which shapes can be declared."""

import uuid
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.card_search import is_range_number, passes_luhn, schemes
from stream.id_rules import FIELDS, NO_SHAPES, is_card_number, read_shapes

AT = {"occurred_at": "2026-05-01T00:00:00.000Z"}


def digits(draw: np.random.Generator, count: int) -> str:
    return "".join(map(str, draw.integers(0, 10, count)))


def number(start: str, length: int, seed: int) -> str:
    """Return a number with this beginning and length that passes Luhn."""
    body = start + digits(np.random.default_rng(seed), length - len(start) - 1)
    return next(body + last for last in "0123456789" if passes_luhn(body + last))


VISA = number("4", 16, 1)
ALL = [
    (scheme, start, length)
    for scheme, low, high, lengths in schemes()
    for start in sorted({low, high})
    for length in (lengths[0], lengths[-1])
]


@pytest.mark.parametrize(("scheme", "start", "length"), ALL, ids=str)
def test_a_number_of_each_scheme_is_found_by_its_range_length_and_check_digit(
    scheme: str, start: str, length: int
) -> None:
    found = number(start, length, 2)
    assert is_range_number(found), scheme
    assert not is_range_number(found[:-1] + str((int(found[-1]) + 1) % 10))
    assert NO_SHAPES.refuses("card_id", found, AT)


@pytest.mark.parametrize("start", ["0", "2199", "2721", "3094", "33", "70", "80", "83", "9791", "99"])
def test_a_beginning_that_no_scheme_has_is_no_card_number(start: str) -> None:
    assert not any(is_range_number(number(start, length, 3)) for length in range(13, 20))


DRESSES = {
    "alone": "{n}",
    "dots": "{a}.{b}.{c}.{d}",
    "underscores": "{a}_{b}_{c}_{d}",
    "colons": "{a}:{b}:{c}:{d}",
    "at signs": "{a}@{b}@{c}@{d}",
    "dashes": "{a}-{b}-{c}-{d}",
    "spaces": "{a} {b} {c} {d}",
    "leading zeros": "000{n}",
    "separators around it": "-{n}.",
    "expiry of two digits": "{n}0729",
    "expiry of four digits": "{n}072029",
    "divided expiry": "{n}-07-29",
    "verification value": "{n}.123",
    "verification value of four digits": "{n}:1234",
    "expiry and verification value": "{n}-0729-123",
}


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES)
def test_a_card_number_in_common_dress_is_found(dress: str) -> None:
    parts = {"n": VISA, "a": VISA[:4], "b": VISA[4:8], "c": VISA[8:12], "d": VISA[12:]}
    assert is_card_number(dress.format(**parts), 2026)


@pytest.mark.parametrize(
    "text",
    [
        f"tok_{VISA}",
        f"{VISA}a",
        VISA * 2,
        f"{VISA}1329",
        f"{VISA}0725",
        f"{VISA}0737",
        "1234567890",
        "",
        "0" * 64,
        "-" * 64,
    ],
    ids=[
        "a letter before",
        "behind",
        "twice",
        "month 13",
        "last year",
        "in eleven years",
        "ten digits",
        "",
        "0s",
        "-s",
    ],
)
def test_what_is_not_wholly_a_card_number_is_none(text: str) -> None:
    assert not NO_SHAPES.refuses("card_id", text, AT)


def test_the_year_is_that_of_the_record() -> None:
    expired = f"{VISA}0725"
    assert NO_SHAPES.refuses("card_id", expired, {"labelled_at": "2025-01-01T00:00:00Z"})
    assert NO_SHAPES.refuses("card_id", expired, {"computed_at": 1_735_689_600_000})
    assert not NO_SHAPES.refuses("card_id", expired, AT)
    for unreadable in ({}, {"occurred_at": "soon"}, {"occurred_at": [1]}, {"occurred_at": 10**300}):
        assert NO_SHAPES.refuses("card_id", VISA, unreadable)


@given(st.text(max_size=70))
def test_any_text_is_refused_or_not_without_an_exception(text: str) -> None:
    assert NO_SHAPES.refuses("card_id", text, AT) in {True, False}


RANDOM_IDS: Mapping[str, tuple[float, Callable[[np.random.Generator], str]]] = {
    "uuid": (0.0, lambda draw: str(uuid.UUID(bytes=draw.bytes(16), version=4))),
    "hex32": (0.0, lambda draw: draw.bytes(16).hex()),
    "ulid": (0.0, lambda draw: "".join(draw.choice(list("0123456789ABCDEFGHJKMNPQRSTVWXYZ"), 26))),
    "prefixed": (0.0, lambda draw: f"card_{digits(draw, 16)}"),
    "12 digits": (0.0, lambda draw: digits(draw, 12)),
    "13 digits": (0.025, lambda draw: digits(draw, 13)),
    "16 digits": (0.05, lambda draw: digits(draw, 16)),
    "19 digits": (0.037, lambda draw: digits(draw, 19)),
    "20 digits": (0.006, lambda draw: digits(draw, 20)),
}


@pytest.mark.parametrize("kind", RANDOM_IDS)
def test_so_many_random_ids_of_a_shape_are_refused(kind: str) -> None:
    most, draw_one = RANDOM_IDS[kind]
    draw, count = np.random.default_rng(4), 5_000
    refused = sum(NO_SHAPES.refuses("card_id", draw_one(draw), AT) for _ in range(count)) / count
    assert most / 2 <= refused <= most, f"{refused:.4f}; SECURITY.md states it"


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ("digits:16", VISA),
        ("prefixed:4", VISA),
        ("hex32", f"{0:016}{VISA}"),
        ("hex64", f"{0:048}{VISA}"),
        ("base32", number("4", 16, 5).translate(str.maketrans("0189", "2345"))),
        ("ulid", f"{0:010}{VISA}"),
        ("uuid", str(uuid.UUID(f"{0:016}{VISA}"))),
    ],
)
def test_a_declared_shape_is_accepted_whatever_its_digits(shape: str, text: str) -> None:
    ids = read_shapes(f"card_id={shape}, merchant_id=uuid")
    assert not ids.refuses("card_id", text, AT)
    assert ids.refuses("merchant_id", VISA, AT)


def test_a_field_may_have_several_shapes() -> None:
    ids = read_shapes("card_id=digits:16,card_id=digits:19")
    assert not ids.refuses("card_id", VISA, AT)
    assert not ids.refuses("card_id", number("6", 19, 6), AT)
    assert ids.refuses("card_id", number("4", 13, 7), AT)
    assert not read_shapes("").shapes


@pytest.mark.parametrize(
    "text",
    [
        *("uuid", "card_id", "card_id=", "card_id=guid", "card=uuid", "card_id=digits:x", "card_id=digits:0"),
        *("card_id=digits:65", "card_id=prefixed:", "transaction_id=uuid", "redis://user:s3cr3t@host"),
    ],
)
def test_a_setting_that_cannot_be_read_names_the_entry_and_does_not_quote_it(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"entry 2: expected FIELD=SHAPE, with one of card_id, .* and uuid, "
    ) as refused:
        read_shapes(f"{FIELDS[0]}=uuid, {text}")
    assert "s3cr3t" not in str(refused.value)

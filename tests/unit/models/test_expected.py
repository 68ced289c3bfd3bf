"""Messages say in words what a field takes."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from fraudstream_client.field_types import text_like
from models.expected import expected, without_pattern

Code = Annotated[str, text_like("^[A-Z]{3}$", "3 capital letters", "a code")]


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Parcel(msgspec.Struct):
    code: Code
    size: Size = Size.SMALL


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Code, "3 capital letters"),
        (Code | None, "3 capital letters"),
        (Literal["pos", "atm"], "one of atm, pos"),
        (Literal["authorization"], "authorization"),
        (Size, "one of small, large"),
        (bool, "true or false"),
        (int | str, "an integer or a text"),
        (Annotated[int, msgspec.Meta(ge=0, le=9)], "an integer from 0 to 9"),
        (Annotated[int, msgspec.Meta(gt=0)], "an integer above 0"),
        (Annotated[float, msgspec.Meta(gt=0, le=5)], "a number above 0 and at most 5"),
        (Annotated[str, msgspec.Meta(min_length=1, max_length=64)], "a text of 1 to 64 characters"),
        (Annotated[str, msgspec.Meta(max_length=64)], "a text of 0 to 64 characters"),
        (Annotated[str, msgspec.Meta(min_length=1)], "a text that is not empty"),
        (dict[str, int], "an object"),
    ],
)
def test_a_type_is_given_in_words(kind: Any, words: str) -> None:
    assert expected(kind) == words


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x85", "\u2028", "\u2029"])
def test_a_text_with_a_line_end_behind_it_is_of_another_form(end: str) -> None:
    assert msgspec.convert("ABC", Code) == "ABC"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(f"ABC{end}", Code)


@pytest.mark.parametrize("value", [b'{"code": "no - at all"}', b'{"code": "x", "size": "small"}'])
def test_an_error_of_a_whole_record_is_shown_without_the_pattern(value: bytes) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(value, type=Parcel)
    assert without_pattern(refused.value) == "Expected `str` of another form - at `$.code`"

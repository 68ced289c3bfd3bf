"""The types of the records' fields: bounds, forms and what JSON Schemas say of them.

Texts with a form state it in words as well, from which messages are made: no reader should meet a regular expression.
"""

from typing import Annotated

import msgspec

EXPECTED = "expected"
"""The key of the words in the annotation's `extra`."""
FORM_OF_TOKENS = "1 to 64 letters, digits, . _ : @ -"
"""The form of the contract's tokens; the letters are those of ASCII."""
NO_NEWLINE_BEHIND = r"(?!\n)"
"""Stands behind each pattern's `$`, which in Python also matches before a last newline."""


def text_like(pattern: str, words: str, description: str | None = None) -> msgspec.Meta:
    """Return the annotation of a text that must match a pattern, whose form messages give in words.

    `pattern` goes from `^` to `$` and has only what all engines read alike: no look-around, and `[0-9]` for a digit.
    `description` goes into the JSON Schema.
    """
    return msgspec.Meta(pattern=pattern + NO_NEWLINE_BEHIND, description=description, extra={EXPECTED: words})


Token = Annotated[str, text_like("^[A-Za-z0-9._:@-]{1,64}$", FORM_OF_TOKENS, "a token, never a card number")]
TransactionId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
LARGEST_AMOUNT = 10**12
AmountMinor = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_AMOUNT, description="in the currency's minor unit")]
CurrencyCode = Annotated[str, text_like("^[A-Z]{3}$", "an ISO 4217 code, such as EUR", "ISO 4217, alphabetic")]
CountryCode = Annotated[str, text_like("^[A-Z]{2}$", "an ISO 3166-1 alpha-2 code, such as DE", "ISO 3166-1 alpha-2")]
CategoryCode = Annotated[str, text_like("^[0-9]{4}$", "4 digits", "merchant category code")]
Latitude = Annotated[float, msgspec.Meta(ge=-90, le=90, description="degrees north")]
Longitude = Annotated[float, msgspec.Meta(ge=-180, le=180, description="degrees east")]
ATTRIBUTE_NAME = "[a-z][a-z0-9_]{0,63}"
MOST_ATTRIBUTES, LONGEST_ATTRIBUTE = 200, 256
"""Names in `attributes`, and characters of a text."""
AttributeName = Annotated[
    str, text_like(f"^{ATTRIBUTE_NAME}$", "1 to 64 lower-case letters, digits and underscores, a letter first")
]
AttributeText = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ATTRIBUTE)]
Attributes = Annotated[
    dict[AttributeName, AttributeText | int | float | bool | None],
    msgspec.Meta(
        max_length=MOST_ATTRIBUTES, description="fields of one's own; at most 16,384 bytes of names and texts"
    ),
]
Time = Annotated[
    int | str,
    msgspec.Meta(description="RFC 3339 with a zone, or integer epoch milliseconds; cut to whole milliseconds"),
]
TimeText = Annotated[str, msgspec.Meta(description="RFC 3339, UTC, three decimals")]

LONGEST_FRAUD_TYPE = 64
FraudType = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_FRAUD_TYPE)]
LONGEST_MODEL = 200
"""Characters of a prediction's `model`."""
ModelText = Annotated[str, msgspec.Meta(max_length=LONGEST_MODEL, description="what predicted it; free text")]

Unit = Annotated[float, msgspec.Meta(ge=0, le=1, description="a calibrated probability of fraud")]
Band = Annotated[int, msgspec.Meta(ge=0, le=999, description="500 is odds of 1 in 100; 50 more double them")]
Propensity = Annotated[
    float, msgspec.Meta(gt=0, le=1, description="the probability with which the lot let the declined payment through")
]

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Total = Annotated[int, msgspec.Meta(ge=0)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**44 - 1)]
"""With a log's number it is one integer, see `validity.place_of`."""
LogNumber = Annotated[int, msgspec.Meta(ge=0, le=511)]
SettingsHash = Annotated[str, text_like("^[0-9a-f]{8}$", "a hash of 8 hexadecimal digits, 0-9 a-f")]
"""The first 4 bytes of the SHA-256 over the sorted `name=value` lines of the settings that can change a decision."""
IncidentId = Annotated[str, text_like("^[0-9a-f]{32}$", "32 hexadecimal digits, 0-9 a-f", "32 hexadecimal digits")]

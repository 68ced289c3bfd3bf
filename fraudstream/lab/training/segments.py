"""Segments that a fraud team looks at: bands of the amount, channel, country, whether a card is new, any category."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from features.declaration import DAY_MS
from features.history.records import ALPHABET, CHANNELS
from features.history.store import Ints
from fraudstream.lab.training.vectors import Table
from stream.contract.money import number_text

NOT_GIVEN = "not given"
NEW_CARD_MS = 7 * DAY_MS
"""A card is new for so long from its first payment in the file on."""
MOST_COUNTRIES = 8
"""Of the merchants, by payments; the others are one segment. So are those of any category."""
_KINDS = ("amount", "card", "channel", "country", "week")
_QUANTILES = (0.25, 0.5, 0.75, 0.95)
"""Where the amounts of a currency are cut into bands."""
_DIGITS = 2
_LEAST_CURRENCY_SHARE = 0.02
"""Amounts of a currency with fewer payments are one band."""


class NamedTexts(NamedTuple):
    """The texts of a field that is a category, in the order of their first payments; at place 0 none is given."""

    name: str
    texts: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The kind of its segments: its name, told apart from the other kinds."""
        return f"attributes.{self.name}" if self.name in _KINDS else self.name

    def text(self, place: int) -> str:
        """Return the name of a segment."""
        return self.texts[place] if place else NOT_GIVEN


class SegmentColumns(NamedTuple):
    """What segments are cut by, of n payments; each column has the shape (n,).

    `currency` is a place in a list of codes. `channel` and `country` (the merchant's) are packed as in histories; 0
    where the file gives none. `card_age_ms` is the time since the card's first payment in the file. `categories` has
    the shape (n, k): places in the texts of k fields.
    """

    amount_minor: Ints
    currency: Ints
    channel: Ints
    country: Ints
    card_age_ms: Ints
    categories: Ints


class Segment(NamedTuple):
    """Some of the payments, by their numbers: a kind such as `channel`, and a name such as `ecommerce`."""

    kind: str
    name: str
    rows: Ints


def segments(
    payments: SegmentColumns, currencies: Sequence[str], history_ms: int, named: Sequence[NamedTexts] = ()
) -> list[Segment]:
    """Return the segments of every kind that the file tells apart, those without payments left out.

    Args:
        payments: the columns of n payments.
        currencies: the codes that `payments.currency` are places in.
        history_ms: how long before the first of these payments the file begins; if cards cannot have become known
            meanwhile, new cards are no segment.
        named: the k fields that `payments.categories` are places in; one that the file does not give is no kind.
    """
    found = list(_amount_bands(payments, currencies))
    for kind, column, name in (
        ("channel", payments.channel, channel_name),
        ("country", payments.country, country_name),
    ):
        if column.any():
            found += _named(kind, column, name)
    if history_ms >= NEW_CARD_MS:
        is_new = payments.card_age_ms < NEW_CARD_MS
        names = ("card in its first 7 days", "card known for longer")
        found += [
            Segment("card", name, np.flatnonzero(which)) for name, which in zip(names, (is_new, ~is_new), strict=True)
        ]
    for at, field in enumerate(named):
        if payments.categories[:, at].any():
            found += _named(field.kind, payments.categories[:, at], field.text)
    return [one for one in found if len(one.rows)]


def _amount_bands(payments: SegmentColumns, currencies: Sequence[str]) -> Iterator[Segment]:
    counts = np.bincount(payments.currency, minlength=len(currencies))
    for place in np.argsort(-counts, kind="stable").tolist():
        rows, currency = np.flatnonzero(payments.currency == place), currencies[place]
        if len(rows) < _LEAST_CURRENCY_SHARE * len(payments.currency):
            yield Segment("amount", f"{currency}, any", rows)
            continue
        amounts = payments.amount_minor[rows]
        edges = np.unique([_rounded(one) for one in np.quantile(amounts, _QUANTILES).tolist()])
        band = np.searchsorted(edges, amounts, side="right")
        names = [number_text(edge, currency) for edge in edges.tolist()]
        for at in range(len(edges) + 1):
            low = f"from {names[at - 1]}" if at else ""
            high = f"below {names[at]}" if at < len(edges) else ""
            yield Segment("amount", " ".join(filter(None, (currency, low, high))), rows[band == at])


def _rounded(minor: float) -> int:
    """Return an amount with its first two digits."""
    whole = round(minor)
    return int(round(whole, _DIGITS - len(str(whole))))


def _named(kind: str, column: Ints, name: Callable[[int], str]) -> Iterator[Segment]:
    """Yield a segment for each of the most frequent values, and one for all others."""
    values, counts = np.unique(column, return_counts=True)
    most = values[np.argsort(-counts, kind="stable")][:MOST_COUNTRIES]
    for value in most.tolist():
        yield Segment(kind, name(value), np.flatnonzero(column == value))
    yield Segment(kind, "others", np.flatnonzero(~np.isin(column, most)))


def card_ages_ms(table: Table) -> Ints:
    """Return the time from each card's first payment in the file to each payment, in milliseconds, of shape (n,)."""
    first = np.full(int(table.card.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, table.card, table.occurred_ms)
    ages: Ints = table.occurred_ms - first[table.card]
    return ages


def channel_name(packed: int) -> str:
    """Return the name of a channel."""
    return CHANNELS[packed - 1] if packed else NOT_GIVEN


def country_name(packed: int) -> str:
    """Return the two letters of a country."""
    if not packed:
        return NOT_GIVEN
    return "".join(chr(ord("A") + letter) for letter in divmod(packed - 1, ALPHABET))

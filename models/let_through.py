"""Let-through: a drawn share of what models decline is approved, so that the truth about declines can be learned.

Nobody learns whether a payment that was declined was fraud. Those that a lot lets through tell it, and each of them
stands for 1 / propensity payments for which a lot was drawn (Horvitz and Thompson, 1952). A cap in money, for each
currency and UTC day, bounds what that costs; every partition has its share of it, so that none has to ask another.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, NamedTuple

import msgspec

from fraudstream_client.arms import WHOLE_BP, bucket
from fraudstream_client.field_types import EXPECTED, FORM_OF_TOKENS, text_like

LET_THROUGH = "let_through"
"""The entry of a score's `overruled.by`."""
MOST_CURRENCIES = 16
"""How many currencies may have a cap, and of how many a commit's note holds the day's amount: 20 bytes each."""
LARGEST_CAP_MINOR = 10**12

Currency = Annotated[str, text_like("^[A-Z]{3}$", "an ISO 4217 code, such as EUR", "ISO 4217, alphabetic")]
CapMinor = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_CAP_MINOR, description="in the currency's minor unit, a day")]
Caps = Annotated[dict[Currency, CapMinor], msgspec.Meta(max_length=MOST_CURRENCIES)]
Salt = Annotated[str, text_like("^[A-Za-z0-9._:@-]{1,64}$", FORM_OF_TOKENS)]

Amounts = Mapping[str, int]
"""Minor units by currency."""
_NO_AMOUNTS: Amounts = MappingProxyType({})


class LetThroughWish(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a command asks for.

    Attributes:
        share_bp: of the declines for which a lot is drawn, the share that is let through, in 0.01 %; 0: none any more.
        caps: how much may be let through on a UTC day, by currency; others are never let through.
        salt: keys the hash that draws; absent: the id of the command.
    """

    share_bp: Annotated[int, msgspec.Meta(ge=0, le=WHOLE_BP)]
    caps: Caps = msgspec.field(default_factory=dict)
    salt: Salt | None = None


LetThroughArgument = Annotated[
    LetThroughWish,
    msgspec.Meta(
        extra={
            EXPECTED: f"an object of share_bp, 0 to {WHOLE_BP} in 0.01 %, and caps, at most {MOST_CURRENCIES} amounts "
            'in minor units a day by currency, such as {"share_bp": 50, "caps": {"EUR": 50000}}'
        }
    ),
]


class LetThrough(msgspec.Struct, frozen=True):
    """The let-through in force.

    Attributes:
        share_bp: the share of the lots that let a payment through, 1 to 10,000, in 0.01 %.
        caps: how much may be let through on a UTC day over all partitions, by currency.
        salt: keys the hash that draws.
        partitions: of `transactions` when it was accepted; each has this part of the caps, later ones have none.
    """

    share_bp: Annotated[int, msgspec.Meta(ge=1, le=WHOLE_BP)]
    caps: Caps
    salt: Salt
    partitions: Annotated[int, msgspec.Meta(ge=1)]

    @property
    def propensity(self) -> float:
        """The probability with which a lot lets a payment through."""
        return self.share_bp / WHOLE_BP

    def takes(self, transaction_id: str) -> bool:
        """Tell whether the lot of a payment lets it through: its bucket, as that of a card, is below the share."""
        return bucket(self.salt, transaction_id) < self.share_bp

    def share_of(self, partition: int) -> dict[str, int]:
        """Return how much a partition may let through on a day, by currency."""
        return {name: cap // self.partitions for name, cap in self.caps.items()} if partition < self.partitions else {}


class LetThroughTotals(NamedTuple):
    """What a partition has let through on the last day on which it let anything through; the day is as in 2026-01-31.

    Days never go back: a decision by a clock that is behind counts to the day that was reached.
    """

    day: str = ""
    amounts: Amounts = _NO_AMOUNTS

    def on(self, day: str) -> Amounts:
        """Return what counts against the caps on a day."""
        return self.amounts if day <= self.day else _NO_AMOUNTS

    def after(self, day: str, currency: str, amount_minor: int) -> "LetThroughTotals":
        """Return the totals after one more payment that was let through, as its score records it."""
        before = self.on(day)
        return LetThroughTotals(max(day, self.day), {**before, currency: before.get(currency, 0) + amount_minor})

    def left(self, rule: LetThrough, partition: int, day: str) -> Amounts:
        """Return how much of a partition's share is left on a day, by currency."""
        used = self.on(day)
        return {name: max(0, share - used.get(name, 0)) for name, share in rule.share_of(partition).items()}


class DeclinedPayment(NamedTuple):
    """A payment that a model declined, and the UTC day of the decision."""

    transaction_id: str
    currency: str
    amount_minor: int
    day: str


def draw_lots(
    rule: LetThrough, partition: int, totals: LetThroughTotals, declined: Iterable[DeclinedPayment]
) -> tuple[list[bool | None], LetThroughTotals]:
    """Return what the lot of each of a partition's next declined payments says, and the totals after them.

    None: no lot was drawn, because more than is left would have been let through, or because the amount is 0, which no
    cap in money bounds. Whether a lot is drawn depends on what was let through before and on the payment, never on its
    own lot, so the propensity is exact.
    """
    shares, found = rule.share_of(partition), list[bool | None]()
    for payment in declined:
        left = shares.get(payment.currency, 0) - totals.on(payment.day).get(payment.currency, 0)
        if not 0 < payment.amount_minor <= left:
            found.append(None)
            continue
        found.append(rule.takes(payment.transaction_id))
        if found[-1]:
            totals = totals.after(payment.day, payment.currency, payment.amount_minor)
    return found, totals


def noted_totals(totals: LetThroughTotals) -> tuple[str, dict[str, int]]:
    """Return what a commit notes of a partition's totals: the largest, if caps of other currencies came in that day."""
    largest = sorted(totals.amounts.items(), key=lambda one: (-one[1], one[0]))[:MOST_CURRENCIES]
    return totals.day, dict(largest)


def totals_from_note(note: tuple[str, Mapping[str, int]]) -> LetThroughTotals:
    """Return the totals that a commit has noted."""
    day, amounts = note
    return LetThroughTotals(day, dict(amounts))

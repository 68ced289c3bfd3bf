"""How many payments a policy alerts on: the budget that was stated for it, and what validation lets expect.

An alert is a payment that is reviewed or declined. Volumes are of what the model says; rules, lots and the cap come
after it, and depend on lists and days that no validation part knows.
"""

from typing import Annotated

import msgspec

from fraudstream_client.field_types import text_like

VolumeShare = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""A share of all payments."""
ADay = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Instant = Annotated[
    str,
    text_like(
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        "RFC 3339 in UTC, as in 2026-01-31T12:00:00.000Z",
    ),
]


ROUNDING = 1e-9
"""How far beyond a bound a share may be: more than the error of its arithmetic, less than one payment of a volume."""


class Allowance(msgspec.Struct, frozen=True, omit_defaults=True):
    """At most so many payments: a share of all, or a number a day on average; exactly one of the two is stated."""

    share: VolumeShare | None = None
    a_day: ADay | None = None

    def __post_init__(self) -> None:
        if (self.share is None) is (self.a_day is None):
            raise ValueError("expected a share of payments, or a number a day: one of the two")

    def most(self, payments: int, days: float) -> int:
        """Return the most of `payments` payments on `days` days that it allows."""
        wanted = self.share * payments if self.share is not None else (self.a_day or 0.0) * days
        return min(payments, int(wanted + ROUNDING * max(wanted, 1.0)))

    def text(self) -> str:
        """Return it as people write it: "0.5%" or "200 a day"."""
        return f"{self.share * 100:g}%" if self.share is not None else f"{self.a_day:g} a day"


class AlertBudget(msgspec.Struct, frozen=True):
    """The most alerts, and the most declines among them, from which thresholds were computed."""

    alerts: Allowance
    declines: Allowance


class ExpectedVolume(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The volume of a policy on payments that neither chose its model's trees nor its calibration.

    Attributes:
        since: the time of the first of the payments.
        until: the time of the last.
        payments: how many there are.
        review_share: of all payments, those that the model reviews.
        decline_share: of all payments, those that it declines.
        alerts_a_day: alerts on a day, on average.
        busiest_day: alerts on the UTC day that has most of them.
        budget: what the thresholds were computed from; absent: from something else.
    """

    since: _Instant
    until: _Instant
    payments: Annotated[int, msgspec.Meta(ge=1)]
    review_share: VolumeShare
    decline_share: VolumeShare
    alerts_a_day: ADay
    busiest_day: Annotated[int, msgspec.Meta(ge=0)]
    budget: AlertBudget | None = None

    @property
    def alert_share(self) -> float:
        """Of all payments, those that the model reviews or declines."""
        return self.review_share + self.decline_share


class VolumeBudget(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a fleet asks of the volume of a model that is promoted; what is absent is not asked.

    Attributes:
        alert_share: of all payments, at most this share may be alerts.
        decline_share: of all payments, at most this share may be declines.
        change: the alert share may differ from the live model's by at most this share of that, in either direction.
    """

    alert_share: VolumeShare | None = None
    decline_share: VolumeShare | None = None
    change: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether it has no bound."""
        return self == VolumeBudget()

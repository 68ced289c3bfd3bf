"""The reason codes of alerts: which features a code stands for, and the sentences for an analyst and a customer.

A code is a promise to whoever stores or counts it: its meaning and its features stay. A feature of another meaning gets
a new code, and `VERSION` rises with every change of the table. `features.reasons` reads it.

The customer's sentence holds no value, no window, no threshold and no name of a feature, and the codes from which a
fraudster could learn what to do otherwise share one sentence.
"""

from typing import Literal, NamedTuple

VERSION = 2
"""The version of the table below; it rises when a code is added, or the features or sentences of one change."""

OTHER = "other"
"""The code of features that no other code names."""
DECLINE_CAP, RULE, RULES = "decline_cap", "rule", "rules"
"""The codes of decisions that a cap or a rule changed, and of those that the rules made since no model could."""

Unit = Literal["amount", "count", "flag", "km", "km/h", "ratio", "share", "days", "duration", "plain"]
"""How the value of a feature is written."""


class Phrase(NamedTuple):
    """How a feature is called in an analyst's sentence.

    Attributes:
        stem: the feature's name without `_delayed` and window, such as `card_count`, or its whole name.
        unit: how its value is written.
        text: what the value is, before a colon; `{window}` is the window. Of a flag: the whole sentence where it is 1.
        otherwise: of a flag: the sentence where it is 0.
    """

    stem: str
    unit: Unit
    text: str
    otherwise: str = ""


class ReasonCode(NamedTuple):
    """One code: what a customer may be told, and its features with their phrases."""

    code: str
    customer: str
    phrases: tuple[Phrase, ...] = ()


_USAGE = "Your card was used in another way than usual."
_AMOUNT_USUAL = "The amount of this payment is not usual for your card."
_PLACE = "The place of this payment is not usual for your card."
_CHECKED = "This payment was selected for a check."


def _known_frauds(entity: str, where: str) -> tuple[Phrase, ...]:
    """Return the phrases of what is known of an entity by labels."""
    return (
        Phrase(f"{entity}_fraud_share", "share", f"Share of known frauds {where}, over {{window}}"),
        Phrase(f"{entity}_fraud_run", "count", f"Known frauds in a row {where}, at the end of {{window}}"),
        Phrase(
            f"{entity}_fraud_latest",
            "flag",
            f"The latest payment {where} is a known fraud, at the end of {{window}}",
            f"The latest payment {where} is no known fraud, at the end of {{window}}",
        ),
        Phrase(f"{entity}_fraud_share_of_last_5", "share", f"Known frauds among the last 5 {where}, over {{window}}"),
        Phrase(
            f"{entity}_days_since_first_fraud", "days", f"Time since the first known fraud {where}, over {{window}}"
        ),
    )


REASON_CODES: tuple[ReasonCode, ...] = (
    ReasonCode(
        "card_velocity",
        _USAGE,
        (Phrase("card_count", "count", "Payments with this card within {window}, this one included"),),
    ),
    ReasonCode(
        "card_spending",
        _AMOUNT_USUAL,
        (
            Phrase("card_amount_sum", "amount", "Sum of this card's payments within {window}, this one included"),
            Phrase("card_amount_mean", "amount", "Mean of this card's payments within {window}, this one included"),
            Phrase("card_amount_max", "amount", "Largest payment with this card within {window}, this one included"),
            Phrase("card_amount_deviation", "amount", "Standard deviation of this card's payments within {window}"),
            Phrase("card_large_amounts", "count", "Earlier payments within {window} that are large for this card"),
            Phrase(
                "card_largest_to_median",
                "ratio",
                "Largest earlier payment within {window} compared with this card's usual one",
            ),
        ),
    ),
    ReasonCode(
        "amount_unusual",
        _AMOUNT_USUAL,
        (
            Phrase("card_amount_to_mean", "ratio", "Amount compared with the mean of this card within {window}"),
            Phrase("card_amount_to_earlier_mean", "ratio", "Amount compared with this card's earlier mean of {window}"),
            Phrase(
                "card_amount_to_earlier_median", "ratio", "Amount compared with this card's earlier median of {window}"
            ),
            Phrase(
                "card_amount_to_smallest",
                "ratio",
                "Amount compared with this card's smallest other one within {window}",
            ),
        ),
    ),
    ReasonCode(
        "amount_repeated",
        _AMOUNT_USUAL,
        (
            Phrase(
                "card_amount_repeated", "count", "Other payments of exactly this amount with this card within {window}"
            ),
        ),
    ),
    ReasonCode(
        "card_merchants",
        _USAGE,
        (Phrase("card_merchants", "count", "Different merchants of this card within {window}"),),
    ),
    ReasonCode(
        "merchant_new",
        _USAGE,
        (
            Phrase(
                "card_merchant_first",
                "flag",
                "This card's first payment at this merchant within {window}",
                "This card has paid at this merchant before, within {window}",
            ),
        ),
    ),
    ReasonCode(
        "card_timing",
        _USAGE,
        (Phrase("card_seconds_since_last", "duration", "Time since this card's previous payment"),),
    ),
    ReasonCode(
        "card_location",
        _PLACE,
        (
            Phrase(
                "card_country_jump",
                "flag",
                "This card's previous payment was in another country, within {window}",
                "This card's previous payment was in the same country, within {window}",
            ),
            Phrase("card_countries", "count", "Different countries of this card's merchants within {window}"),
            Phrase("card_distance_from_last", "km", "Distance from the place of this card's previous payment"),
            Phrase("card_speed_from_last", "km/h", "Speed from the place of this card's previous payment to this one"),
        ),
    ),
    ReasonCode(
        "card_devices",
        _USAGE,
        (
            Phrase("card_devices", "count", "Different devices of this card within {window}"),
            Phrase(
                "card_device_first",
                "flag",
                "This card's first payment from this device within {window}",
                "This card has paid from this device before, within {window}",
            ),
        ),
    ),
    ReasonCode(
        "card_habits",
        _USAGE,
        (
            Phrase("card_category_share", "share", "Share of this card's payments in this category within {window}"),
            Phrase("card_channel_share", "share", "Share of this card's payments through this channel within {window}"),
            Phrase("card_time_of_day_share", "share", "Share of this card's payments near this hour within {window}"),
        ),
    ),
    ReasonCode(
        "time_of_payment",
        _USAGE,
        (
            Phrase("is_night", "flag", "Paid at night by the local clock", "Paid by day by the local clock"),
            Phrase("is_weekend", "flag", "Paid at a weekend by the local clock", "Paid on a working day"),
        ),
    ),
    ReasonCode(
        "card_risk",
        _CHECKED,
        _known_frauds("card", "with this card"),
    ),
    ReasonCode(
        "merchant_risk",
        _CHECKED,
        _known_frauds("merchant", "at this merchant"),
    ),
    ReasonCode(
        "merchant_activity",
        _CHECKED,
        (
            Phrase("merchant_count", "count", "Payments at this merchant, over {window}"),
            Phrase("merchant_cards", "count", "Different cards at this merchant, over {window}"),
            Phrase(
                "merchant_card_first",
                "flag",
                "This merchant's first payment with this card within {window}",
                "This merchant has been paid with this card before, within {window}",
            ),
            Phrase("merchant_amount_sum", "amount", "Sum of the payments at this merchant, over {window}"),
            Phrase("merchant_amount_mean", "amount", "Mean of the payments at this merchant, over {window}"),
            Phrase("merchant_amount_max", "amount", "Largest payment at this merchant, over {window}"),
            Phrase("merchant_amount_to_mean", "ratio", "Amount compared with the mean at this merchant, over {window}"),
            Phrase(
                "merchant_amount_to_smallest",
                "ratio",
                "Amount compared with the smallest at this merchant, over {window}",
            ),
            Phrase(
                "merchant_amount_deviation", "amount", "Standard deviation of payments at this merchant, over {window}"
            ),
            Phrase("merchant_seconds_since_last", "duration", "Time since this merchant's previous payment"),
        ),
    ),
    ReasonCode(
        "device_risk",
        _CHECKED,
        _known_frauds("device", "from this device"),
    ),
    ReasonCode(
        "device_activity",
        _CHECKED,
        (
            Phrase("device_count", "count", "Payments from this device, over {window}"),
            Phrase("device_cards", "count", "Different cards on this device, over {window}"),
            Phrase(
                "device_card_first",
                "flag",
                "This device's first payment with this card within {window}",
                "This device has been used with this card before, within {window}",
            ),
            Phrase("device_amount_sum", "amount", "Sum of the payments from this device, over {window}"),
            Phrase("device_amount_mean", "amount", "Mean of the payments from this device, over {window}"),
            Phrase("device_amount_max", "amount", "Largest payment from this device, over {window}"),
            Phrase("device_amount_to_mean", "ratio", "Amount compared with the mean of this device, over {window}"),
            Phrase("device_amount_to_smallest", "ratio", "Amount compared with this device's smallest, over {window}"),
            Phrase("device_amount_deviation", "amount", "Standard deviation of this device's payments, over {window}"),
            Phrase("device_seconds_since_last", "duration", "Time since this device's previous payment"),
        ),
    ),
    ReasonCode(OTHER, _CHECKED),
    ReasonCode(RULES, _CHECKED),
    ReasonCode(RULE, _CHECKED),
    ReasonCode(DECLINE_CAP, _CHECKED),
)
"""All codes. Ties between contributions are decided by this order."""

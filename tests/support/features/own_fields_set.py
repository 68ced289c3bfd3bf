"""A feature table with twenty fields of one's own, five of them categories, and three formulas; and payments with them.

What is fraud follows from them alone: an account of few days, paid from another country than the card's.
"""

from typing import Any

import numpy as np

from features.formulas import Formula, Payments
from features.own_fields import category, flag, number, token
from features.own_payment import OwnPayment
from features.rows import card, merchant, own

COUNTRIES = ("AT", "DE", "FR", "NG", "US")
BROWSERS = tuple(f"browser-{at}" for at in range(40))
FIELDS = (
    number("account_age_days", unit="days", meaning="age of the account", least=0, most=40_000),
    number("ip_distance", decimals=1, unit="km", meaning="distance of the IP address from home", least=0),
    number("device_risk", decimals=3, least=0, most=1),
    *(number(f"signal_{at}", decimals=at % 4) for at in range(8)),
    category("ip_country", meaning="IP country"),
    category("browser"),
    category("bin"),
    category("three_ds_result"),
    category("shipping"),
    flag("three_ds"),
    flag("new_address"),
    token("ip", meaning="IP address"),
    token("email_hash"),
)


def distance_for_age(one: OwnPayment) -> float | None:
    """Divide the distance by the age of the account."""
    distance, age = one["ip_distance"], one["account_age_days"]
    return None if distance is None or age is None else float(distance) / (1 + float(age))


def is_abroad(one: OwnPayment) -> float | None:
    """Tell whether the payment comes from another country than the card."""
    at, of_card = one["ip_country"], one["card_country"]
    return None if at is None or of_card is None else float(at != of_card)


def risk_beside_count(one: Payments, others: Payments) -> float | None:
    """Multiply the device's risk by the number of other payments."""
    risk = one["device_risk"]
    return None if risk is None else float(risk) * len(others)


FEATURES = (
    card("count", "1d"),
    card("amount_to_mean", "30d"),
    merchant("fraud_share", "30d", delay="7d"),
    *(own(one.name) for one in FIELDS if one.name not in {"ip", "email_hash", "signal_7"}),
    *(own(name) for name in ("amount", "hour", "mcc", "channel", "merchant_country", "card_country", "currency")),
    own(Formula("distance_for_age", 1, distance_for_age, "km a day", "distance by age of the account")),
    own(Formula("is_abroad", 1, is_abroad, "0 or 1", "paid from another country than the card's")),
    card(Formula("risk_beside_count", 1, risk_beside_count, "", "risk of the device times other payments"), "30d"),
)


def attributes(number: int) -> dict[str, Any]:
    """Return the attributes of payment `number`: some are absent, of a wrong type, out of bounds, or undeclared."""
    random = np.random.default_rng(number)
    found: dict[str, Any] = {
        "account_age_days": int(random.integers(0, 3_000)),
        "ip_distance": round(float(random.exponential(300)), 3),
        "device_risk": float(random.random()),
        **{f"signal_{at}": float(random.normal()) for at in range(8)},
        "ip_country": str(random.choice(COUNTRIES)),
        "browser": BROWSERS[min(int(random.exponential(6)), len(BROWSERS) - 1)],
        "bin": str(400_000 + int(random.integers(300))),
        "three_ds_result": str(random.choice(["Y", "N", "A", "U"])),
        "shipping": str(random.choice(["home", "shop", "locker"])),
        "three_ds": bool(random.integers(2)),
        "new_address": bool(random.integers(2)),
        "ip": f"10.0.{random.integers(256)}.{random.integers(256)}",
        "email_hash": f"{random.integers(2**60):016x}",
        "not_declared": "x",
    }
    for name in random.choice(sorted(found), int(random.integers(4)), replace=False).tolist():
        found[name] = (None, "", [1], "wrong", 10**13, -5)[int(random.choice([0, 0, 0, 3, 4, 5]))]
    return found


def is_fraud(payment: dict[str, Any]) -> bool:
    """Tell whether a payment with such attributes is fraud."""
    given = payment["attributes"]
    age, country = given["account_age_days"], given["ip_country"]
    return isinstance(age, int) and age < 400 and isinstance(country, str) and country != payment["card_country"]


def fields_of(number: int) -> dict[str, Any]:
    """Return the optional fields of payment `number`."""
    random = np.random.default_rng(10**6 + number)
    return {
        "mcc": str(random.choice(["5411", "6011", "0742"])),
        "channel": str(random.choice(["pos", "ecommerce", "moto"])),
        "merchant_country": str(random.choice(["AT", "DE"])),
        "card_country": str(random.choice(["AT", "DE", "FR"])),
        "attributes": attributes(number),
    }

"""The records that others publish: a payment to decide, the label of one, a prediction about a card.

`msgspec.json.encode` writes them; the key of each is its `card_id`. They state the contract's fields; what a worker
checks beyond their types (currencies, clocks, card numbers in place of tokens) is in the guide for producers.
"""

from typing import Literal

import msgspec

from fraudstream_client.field_types import (
    AmountMinor,
    Attributes,
    CategoryCode,
    CountryCode,
    CurrencyCode,
    FraudType,
    Latitude,
    Longitude,
    ModelText,
    Time,
    Token,
    TransactionId,
)

Channel = Literal["pos", "ecommerce", "moto", "atm"]
Reporter = Literal["chargeback", "customer", "analyst", "rule"]


class TransactionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A card payment to decide."""

    schema: Literal["transaction/1"] = "transaction/1"
    transaction_id: TransactionId
    card_id: Token
    merchant_id: Token
    occurred_at: Time
    amount_minor: AmountMinor
    currency: CurrencyCode
    kind: Literal["authorization"] = "authorization"
    account_id: Token | None = None
    customer_id: Token | None = None
    device_id: Token | None = None
    mcc: CategoryCode | None = None
    channel: Channel | None = None
    merchant_country: CountryCode | None = None
    card_country: CountryCode | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    merchant_amount_minor: AmountMinor | None = None
    merchant_currency: CurrencyCode | None = None
    attributes: Attributes | None = None


class LabelRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a transaction was fraud, as reported at `labelled_at`."""

    schema: Literal["label/1"] = "label/1"
    transaction_id: TransactionId
    card_id: Token
    fraud: bool
    labelled_at: Time
    reported_by: Reporter
    merchant_id: Token | None = None
    occurred_at: Time | None = None
    fraud_type: FraudType | None = None


class PredictionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a model predicts about a card, computed at `computed_at`; `value` is null where it has no prediction."""

    schema: Literal["prediction/1"] = "prediction/1"
    card_id: Token
    name: Token
    value: float | None
    computed_at: Time
    model: ModelText | None = None

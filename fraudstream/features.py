"""What a module declares by: tables `FEATURES` and `FIELDS`, formulas, and reason codes of its own."""

from features.declaration import Feature, FeatureSet, load
from features.default_set import FEATURES as DEFAULT
from features.default_set_2 import FEATURES as DEFAULT_2
from features.errors import DeclarationError, FormulaError
from features.extended_set import FEATURES as EXTENDED
from features.formulas import Formula, Payments
from features.own_fields import category, flag, number, token
from features.own_payment import OwnPayment
from features.reason_codes import Phrase, ReasonCode
from features.rows import card, device, merchant, own, paned, prediction, prediction_age
from features.vector.places import distance_km

__all__ = [
    "DEFAULT",
    "DEFAULT_2",
    "EXTENDED",
    "DeclarationError",
    "Feature",
    "FeatureSet",
    "Formula",
    "FormulaError",
    "OwnPayment",
    "Payments",
    "Phrase",
    "ReasonCode",
    "card",
    "category",
    "device",
    "distance_km",
    "flag",
    "load",
    "merchant",
    "number",
    "own",
    "paned",
    "prediction",
    "prediction_age",
    "token",
]

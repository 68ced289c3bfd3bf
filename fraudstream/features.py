"""What a module of features declares its rows by: a table `FEATURES`, formulas, and reason codes of its own."""

from features.declaration import Feature, FeatureSet, load
from features.default_set import FEATURES as DEFAULT
from features.default_set_2 import FEATURES as DEFAULT_2
from features.errors import DeclarationError, FormulaError
from features.extended_set import FEATURES as EXTENDED
from features.formulas import Formula, Payments
from features.reason_codes import Phrase, ReasonCode
from features.rows import card, device, merchant, own, paned, prediction, prediction_age

__all__ = [
    "DEFAULT",
    "DEFAULT_2",
    "EXTENDED",
    "DeclarationError",
    "Feature",
    "FeatureSet",
    "Formula",
    "FormulaError",
    "Payments",
    "Phrase",
    "ReasonCode",
    "card",
    "device",
    "load",
    "merchant",
    "own",
    "paned",
    "prediction",
    "prediction_age",
]

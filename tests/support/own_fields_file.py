"""A transactions file with a column for each of the own fields of `support.features.own_fields_set`."""

from pathlib import Path

from features.declaration import load
from support.features.own_fields_set import FIELDS, fields_of
from support.training_files import transactions, write

SET = load("support.features.own_fields_set")


def file_of(path: Path, rows: int = 2_500) -> Path:
    """Write a file with a column for each field, wrong values and too many decimals among them."""
    columns = transactions(rows=rows, days=60)
    fields = [fields_of(at) for at in range(rows)]
    for name in ("mcc", "channel", "merchant_country", "card_country"):
        columns[name] = [one[name] for one in fields]
    for field in FIELDS:
        raw = [one["attributes"][field.name] for one in fields]
        columns[field.name] = [None if one is None or field.read(one) is None else one for one in raw]
    return write(path, columns)

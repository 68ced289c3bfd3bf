"""The fields of `support.features.own_fields_set` a version later: one more, one less, and a row of the new one."""

from features.own_fields import number
from features.rows import own
from support.features import own_fields_set as before

DROPPED, ADDED = "signal_6", "velocity"
FIELDS = (*(one for one in before.FIELDS if one.name != DROPPED), number(ADDED, decimals=2, unit="km/h", least=0))
FEATURES = (*(row for row in before.FEATURES if row.name != f"own_{DROPPED}"), own(ADDED))

"""What a metric is: its kind, and what the catalogue says of each. Nothing here names one."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a metric does: only rises, holds the last value, or sorts values into buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One row; `unit` is a UCUM code as OpenTelemetry has it, `{…}` counting things; `look_when` says who needs it."""

    kind: Kind
    unit: str
    attributes: tuple[str, ...]
    meaning: str
    look_when: str
    bounds: tuple[float, ...] = ()
    """A histogram's bucket bounds, in its unit."""

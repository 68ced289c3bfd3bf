"""What a row of the catalogue of metrics says."""

from enum import StrEnum
from typing import NamedTuple


class MetricKind(StrEnum):
    """A metric that only rises, one that holds the last value, or one that counts values by bucket."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One row; `unit` is a UCUM code as OpenTelemetry uses it, `{…}` for counts; `look_when` names the occasion."""

    kind: MetricKind
    unit: str
    attributes: tuple[str, ...]
    meaning: str
    look_when: str
    bounds: tuple[float, ...] = ()
    """A histogram's bucket bounds, in its unit."""

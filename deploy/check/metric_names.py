"""The names of the catalogue's metrics in Prometheus, by the rules of OpenTelemetry's exporter."""

from stream.telemetry.catalogue import CATALOGUE
from stream.telemetry.metric import MetricKind

_UNITS = {"By": "_bytes", "d": "_days", "s": "_seconds"}
_ENDINGS = {
    MetricKind.COUNTER: ("_total",),
    MetricKind.GAUGE: ("",),
    MetricKind.HISTOGRAM: ("_bucket", "_sum", "_count"),
}


def prometheus_names() -> frozenset[str]:
    """Return the names of all series; annotations such as `{record}` and the unit 1 are not part of a name."""
    return frozenset(
        name.replace(".", "_") + _UNITS.get(metric.unit, "") + ending
        for name, metric in CATALOGUE.items()
        for ending in _ENDINGS[metric.kind]
    )

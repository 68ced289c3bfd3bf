"""The names of the catalogue's series in Prometheus, by the rules of OpenTelemetry's exporter."""

from stream.telemetry.catalogue import CATALOGUE, prometheus_name
from stream.telemetry.metric import MetricKind

_OF_A_HISTOGRAM = ("_bucket", "_sum", "_count")


def prometheus_names() -> frozenset[str]:
    """Return the names of all series."""
    return frozenset(
        prometheus_name(name) + ending
        for name, metric in CATALOGUE.items()
        for ending in (_OF_A_HISTOGRAM if metric.kind is MetricKind.HISTOGRAM else ("",))
    )

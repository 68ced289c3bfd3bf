"""What Prometheus calls the metrics of the catalogue, by the rules of OpenTelemetry's exporter."""

from stream.telemetry.catalogue import CATALOGUE, MetricKind

_UNITS = {"By": "_bytes", "s": "_seconds"}
_ENDINGS = {
    MetricKind.COUNTER: ("_total",),
    MetricKind.GAUGE: ("",),
    MetricKind.HISTOGRAM: ("_bucket", "_sum", "_count"),
}


def prometheus_names() -> frozenset[str]:
    """Return the name of every series: annotations such as `{record}` and the unit 1 leave no trace in it."""
    return frozenset(
        name.replace(".", "_") + _UNITS.get(metric.unit, "") + ending
        for name, metric in CATALOGUE.items()
        for ending in _ENDINGS[metric.kind]
    )

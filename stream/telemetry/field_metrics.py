"""The metrics of the fields of records: what came, what was dropped, and what nobody reads. A part of the catalogue."""

from stream.telemetry.metric import Metric, MetricKind, MetricName

OF_FIELDS: dict[MetricName, Metric] = {
    "fraudstream.attributes": Metric(
        MetricKind.COUNTER,
        "{payment}",
        ("field",),
        "Payments that had a valid value of a declared field.",
        "a field stopped coming, or began to: compare with the rate of decisions.",
    ),
    "fraudstream.attributes.undeclared": Metric(
        MetricKind.COUNTER,
        "{payment}",
        ("name",),
        "Payments with an attribute that nobody declares; from the 101st name on, and of long numbers, as `-other`.",
        "a producer sends a field that no feature reads: declare it, or leave it out.",
    ),
    "fraudstream.dropped_fields": Metric(
        MetricKind.COUNTER,
        "{field}",
        ("field",),
        "Optional fields that were invalid and were dropped.",
        "a producer sends a field in another format.",
    ),
    "fraudstream.unknown_fields": Metric(
        MetricKind.COUNTER,
        "{field}",
        ("topic",),
        "Input fields that this version does not know and ignores.",
        "a producer is newer than the workers.",
    ),
}

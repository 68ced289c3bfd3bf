"""The metrics of a process that explains alerts: what it wrote, how late, and what it has still to read.

A part of the catalogue.
"""

from stream.telemetry.metric import Metric, MetricKind, MetricName

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0)

OF_EXPLANATIONS: dict[MetricName, Metric] = {
    "fraudstream.explanations.delay": Metric(
        MetricKind.HISTOGRAM,
        "s",
        (),
        "Time from a score's timestamp on `scores` to the acknowledgement of its explanation.",
        "analysts open alerts before their reasons are there: start another process.",
        _SECONDS,
    ),
    "fraudstream.explanations.lag": Metric(
        MetricKind.GAUGE,
        "{record}",
        (),
        "Scores of own partitions that this process has not read or explained yet.",
        "it grows: start another process, or train with `--max-depth`.",
    ),
    "fraudstream.explanations.lost": Metric(
        MetricKind.GAUGE,
        "{record}",
        (),
        "Scores that retention removed before this process read them, at most, since it started.",
        "above 0: the process was away for longer than `scores` keeps records.",
    ),
    "fraudstream.explanations.unreadable": Metric(
        MetricKind.GAUGE,
        "{record}",
        (),
        "Records of `scores` that this process passed over since it started, because they are no scores it can read.",
        "above 0: the log names the first of each fetch; another program writes to `scores`, or a later version does.",
    ),
    "fraudstream.explanations.waiting": Metric(
        MetricKind.GAUGE,
        "{alert}",
        (),
        "Alerts that were read and are not explained yet.",
        "it stays above 0: `/health/ready` says why (a model, Kafka); if it does not, start another process.",
    ),
    "fraudstream.explanations.written": Metric(
        MetricKind.COUNTER,
        "{alert}",
        ("outcome",),
        "Explanations written: `explained`, `by_rules`, or why the reasons of the model are missing.",
        "`no_features`, `other_features`, `other_score` or `inexact` rises: the log names the alert and the model.",
    ),
}

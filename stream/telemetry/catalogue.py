"""Every metric of fraudstream: its name, its unit, its attributes, what it means, and when to look at it.

`docs/reference/metrics-and-spans.md` is generated from this table; instruments are made from it and from nothing else;
the alert rules and the dashboard in `deploy/` are held to it by a test. Nothing here counts.

What a metric is: its kind, and what the catalogue says of each. Nothing here names one.
"""

from enum import StrEnum
from typing import Literal, NamedTuple, get_args


class MetricKind(StrEnum):
    """What a metric does: only rises, holds the last value, or sorts values into buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One row; `unit` is a UCUM code as OpenTelemetry has it, `{…}` counting things; `look_when` says who needs it."""

    kind: MetricKind
    unit: str
    attributes: tuple[str, ...]
    meaning: str
    look_when: str
    bounds: tuple[float, ...] = ()
    """A histogram's bucket bounds, in its unit."""


MetricName = Literal[
    "fraudstream.batch.size",
    "fraudstream.cache.evictions",
    "fraudstream.cache.lookups",
    "fraudstream.cache.size",
    "fraudstream.dead_letters",
    "fraudstream.deadline.missed_amount",
    "fraudstream.deadline.misses",
    "fraudstream.decided.amount",
    "fraudstream.decisions",
    "fraudstream.degraded",
    "fraudstream.dropped_fields",
    "fraudstream.halted",
    "fraudstream.history.incomplete",
    "fraudstream.history.open_parts",
    "fraudstream.history.reapplied",
    "fraudstream.labels",
    "fraudstream.lag",
    "fraudstream.latency",
    "fraudstream.model.info",
    "fraudstream.partitions",
    "fraudstream.ready",
    "fraudstream.repeated",
    "fraudstream.retries",
    "fraudstream.revision",
    "fraudstream.shadow.changed_amount",
    "fraudstream.shadow.compared",
    "fraudstream.shadow.decisions_changed",
    "fraudstream.shadow.missed",
    "fraudstream.shadow.queued",
    "fraudstream.shadow.score_shift",
    "fraudstream.stage.duration",
    "fraudstream.unknown_fields",
    "fraudstream.void_scores",
]


_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
_STAGE_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
_SHIFTS = (-0.5, -0.2, -0.1, -0.05, -0.02, -0.01, -0.001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)

CATALOGUE: dict[MetricName, Metric] = {
    "fraudstream.batch.size": Metric(
        MetricKind.HISTOGRAM,
        "{transaction}",
        (),
        "Transactions decided together.",
        "throughput is low: small batches mean a quiet stream, full ones a backlog.",
        _SIZES,
    ),
    "fraudstream.cache.evictions": Metric(
        MetricKind.COUNTER,
        "{history}",
        ("entity",),
        "Histories that were forgotten to stay within FRAUDSTREAM_CACHE_MB.",
        "it rises steadily: what this worker meets does not fit.",
    ),
    "fraudstream.cache.lookups": Metric(
        MetricKind.COUNTER,
        "{history}",
        ("entity", "result"),
        "Histories that a batch needed, by whether this worker remembered them: `hit`, or `miss` and a fetch.",
        "the share of hits falls: `observe` takes longer; raise FRAUDSTREAM_CACHE_MB.",
    ),
    "fraudstream.cache.size": Metric(
        MetricKind.GAUGE, "By", ("entity",), "What this worker remembers of histories.", "sizing a worker's memory."
    ),
    "fraudstream.dead_letters": Metric(
        MetricKind.COUNTER,
        "{record}",
        ("topic", "code"),
        "Records that went to `dead-letters`, by source topic and code.",
        "a producer changed, or `fraudstream.halted` rises.",
    ),
    "fraudstream.deadline.missed_amount": Metric(
        MetricKind.COUNTER,
        "{minor_unit}",
        ("currency",),
        "Money of the decisions that came past the deadline, in minor units.",
        "deciding what a late answer costs.",
    ),
    "fraudstream.deadline.misses": Metric(
        MetricKind.COUNTER,
        "{decision}",
        (),
        "Decisions later than FRAUDSTREAM_DEADLINE_MS after their record's timestamp.",
        "customers wait: compare with `fraudstream.lag` and the stages.",
    ),
    "fraudstream.decided.amount": Metric(
        MetricKind.COUNTER,
        "{minor_unit}",
        ("currency", "decision"),
        "Money decided on, in minor units.",
        "a change of policy or model moved money, not only counts.",
    ),
    "fraudstream.decisions": Metric(
        MetricKind.COUNTER,
        "{decision}",
        ("decision", "decided_by"),
        "Decisions written, by what they were and who decided.",
        "the approval rate moves, or anything but `model` decides.",
    ),
    "fraudstream.degraded": Metric(
        MetricKind.COUNTER,
        "{decision}",
        ("reason",),
        "Decisions made with less than the whole, by reason.",
        "Redis was away or lost, or the live model fails.",
    ),
    "fraudstream.dropped_fields": Metric(
        MetricKind.COUNTER,
        "{field}",
        ("field",),
        "Optional fields that could not be used and were dropped.",
        "a producer sends a field in another form.",
    ),
    "fraudstream.halted": Metric(
        MetricKind.GAUGE,
        "{partition}",
        (),
        "Partitions that are halted by a run of dead letters.",
        "above 0: the producer is broken; mend it, then restart the worker.",
    ),
    "fraudstream.history.incomplete": Metric(
        MetricKind.GAUGE,
        "1",
        (),
        "1 while histories are known to be behind Kafka, as far back as the live model looks.",
        "1: Redis lost records; decisions wait or carry `history_incomplete` until all are applied again.",
    ),
    "fraudstream.history.open_parts": Metric(
        MetricKind.GAUGE,
        "{part}",
        (),
        "Partitions of transactions and labels that this worker is about to apply again to histories.",
        "histories stay incomplete, or a longer table's models refused: 0 everywhere then means that nobody owns them.",
    ),
    "fraudstream.history.reapplied": Metric(
        MetricKind.COUNTER,
        "{record}",
        ("topic",),
        "Records that were applied again, to histories that Redis had lost or that are kept for longer from now on.",
        "histories are incomplete, or models refused: its rate says how long that will last.",
    ),
    "fraudstream.labels": Metric(
        MetricKind.COUNTER,
        "{label}",
        ("status",),
        "Labels taken in, by outcome status.",
        "case management stops reporting, or reports what is unknown here.",
    ),
    "fraudstream.lag": Metric(
        MetricKind.GAUGE,
        "{record}",
        ("topic", "partition"),
        "Records of an own partition that are not done with.",
        "it grows: more arrives than is decided; add workers or partitions.",
    ),
    "fraudstream.latency": Metric(
        MetricKind.HISTOGRAM,
        "s",
        (),
        "From a record's timestamp to its decision's encoding.",
        "p99 nears the deadline.",
        _SECONDS,
    ),
    "fraudstream.model.info": Metric(
        MetricKind.GAUGE,
        "1",
        ("role", "digest", "name", "version"),
        "1 for each model that this worker works with; of the challenger only the digest is known to it.",
        "asking who is live on which worker.",
    ),
    "fraudstream.partitions": Metric(
        MetricKind.GAUGE,
        "{partition}",
        ("topic",),
        "Partitions assigned to this worker.",
        "load is uneven, or a rebalance does not end.",
    ),
    "fraudstream.ready": Metric(
        MetricKind.GAUGE,
        "1",
        (),
        "1 where `/health/ready` says so.",
        "0: ask `/health/ready` for the reasons.",
    ),
    "fraudstream.repeated": Metric(
        MetricKind.COUNTER,
        "{transaction}",
        (),
        "Transactions sent again with the same content; they get no second decision.",
        "a producer retries too much.",
    ),
    "fraudstream.retries": Metric(
        MetricKind.COUNTER,
        "{attempt}",
        ("topic", "error"),
        "Batches tried again because something they need was away.",
        "Redis or Kafka flaps.",
    ),
    "fraudstream.revision": Metric(
        MetricKind.GAUGE,
        "1",
        (),
        "The newest revision of the lineup that is folded here.",
        "workers disagree: one does not read `model-events`.",
    ),
    "fraudstream.shadow.changed_amount": Metric(
        MetricKind.COUNTER,
        "{minor_unit}",
        ("currency", "live", "challenger"),
        "Money on which live model and challenger decide differently, in minor units.",
        "weighing a promotion.",
    ),
    "fraudstream.shadow.compared": Metric(
        MetricKind.COUNTER,
        "{decision}",
        (),
        "Decisions that the challenger scored as well.",
        "a challenger is in and this stands still.",
    ),
    "fraudstream.shadow.decisions_changed": Metric(
        MetricKind.COUNTER,
        "{decision}",
        ("live", "challenger"),
        "Comparisons in which the challenger decides differently.",
        "weighing a promotion.",
    ),
    "fraudstream.shadow.missed": Metric(
        MetricKind.COUNTER,
        "{decision}",
        ("reason",),
        "Decisions that got no comparison: `skipped` (lane full) or `failed`.",
        "the challenger is slow or broken; the live path does not notice.",
    ),
    "fraudstream.shadow.queued": Metric(
        MetricKind.GAUGE,
        "{decision}",
        (),
        "Decisions that wait for the challenger.",
        "it stays near its bound: the challenger is too slow for this stream.",
    ),
    "fraudstream.shadow.score_shift": Metric(
        MetricKind.HISTOGRAM,
        "1",
        (),
        "Challenger's score minus live score.",
        "the challenger scores on another scale.",
        _SHIFTS,
    ),
    "fraudstream.stage.duration": Metric(
        MetricKind.HISTOGRAM,
        "s",
        ("stage",),
        "Time of one batch in a stage: decode, observe, vectorise, score, encode, publish.",
        "latency rises: which stage is it?",
        _STAGE_SECONDS,
    ),
    "fraudstream.unknown_fields": Metric(
        MetricKind.COUNTER,
        "{field}",
        ("topic",),
        "Fields of inputs that this version does not know; ignored.",
        "a producer is ahead of the workers.",
    ),
    "fraudstream.void_scores": Metric(
        MetricKind.COUNTER,
        "{score}",
        (),
        "Void scores met when a partition was taken over.",
        "above 0: a worker outlived its assignment; consumers drop its scores.",
    ),
}


assert set(CATALOGUE) == set(get_args(MetricName))  # noqa: S101 - a table with a hole is no table

_UNIT_NAMES = {"By": "_bytes", "s": "_seconds"}


def prometheus_name(name: MetricName) -> str:
    """Return what a metric is called on `/metrics`; a histogram's series add `_bucket`, `_sum` and `_count`."""
    metric = CATALOGUE[name]
    suffix = "_total" if metric.kind is MetricKind.COUNTER else ""
    return f"{name.replace('.', '_')}{_UNIT_NAMES.get(metric.unit, '')}{suffix}"

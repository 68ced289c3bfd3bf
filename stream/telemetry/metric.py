"""What a row of the catalogue of metrics says, and the names of all metrics."""

from enum import StrEnum
from typing import Literal, NamedTuple

MetricName = Literal[
    "fraudstream.already_decided",
    "fraudstream.already_refused",
    "fraudstream.attributes",
    "fraudstream.attributes.undeclared",
    "fraudstream.aside",
    "fraudstream.backfilled",
    "fraudstream.batch.size",
    "fraudstream.cache.evictions",
    "fraudstream.cache.lookups",
    "fraudstream.cache.size",
    "fraudstream.canary.share",
    "fraudstream.clock.behind",
    "fraudstream.control_log.lost",
    "fraudstream.control_log.unsaved",
    "fraudstream.dead_letters",
    "fraudstream.dead_letters.late",
    "fraudstream.deadline.missed_amount",
    "fraudstream.deadline.misses",
    "fraudstream.decided.amount",
    "fraudstream.decisions",
    "fraudstream.decline_cap.active",
    "fraudstream.degraded",
    "fraudstream.drift.alarm",
    "fraudstream.drift.behind",
    "fraudstream.drift.estimated_precision",
    "fraudstream.drift.index",
    "fraudstream.drift.matured_precision",
    "fraudstream.drift.over",
    "fraudstream.drift.share",
    "fraudstream.dropped_fields",
    "fraudstream.erasures",
    "fraudstream.explanations.delay",
    "fraudstream.explanations.lag",
    "fraudstream.explanations.lost",
    "fraudstream.explanations.unreadable",
    "fraudstream.explanations.waiting",
    "fraudstream.explanations.written",
    "fraudstream.field.begun",
    "fraudstream.field.share",
    "fraudstream.field.stopped",
    "fraudstream.guard.behind",
    "fraudstream.guard.commands",
    "fraudstream.guard.evidence_ratio",
    "fraudstream.guard.watching",
    "fraudstream.halted",
    "fraudstream.history.damaged",
    "fraudstream.history.incomplete",
    "fraudstream.history.missing",
    "fraudstream.history.open_parts",
    "fraudstream.history.reapplied",
    "fraudstream.incidents.behind",
    "fraudstream.incidents.open",
    "fraudstream.incidents.unwritten",
    "fraudstream.labels",
    "fraudstream.labels.age",
    "fraudstream.labels.missing",
    "fraudstream.labels.ratio",
    "fraudstream.labels.waiting",
    "fraudstream.lag",
    "fraudstream.latency",
    "fraudstream.let_through.amount",
    "fraudstream.let_through.cap",
    "fraudstream.let_through.left",
    "fraudstream.let_through.lots",
    "fraudstream.lost_unread",
    "fraudstream.model.info",
    "fraudstream.model.review",
    "fraudstream.over_budget",
    "fraudstream.overruled",
    "fraudstream.partitions",
    "fraudstream.predictions",
    "fraudstream.publishes",
    "fraudstream.ready",
    "fraudstream.repeated",
    "fraudstream.retries",
    "fraudstream.revision",
    "fraudstream.setting.info",
    "fraudstream.shadow.changed_amount",
    "fraudstream.shadow.compared",
    "fraudstream.shadow.decisions_changed",
    "fraudstream.shadow.missed",
    "fraudstream.shadow.queued",
    "fraudstream.shadow.score_shift",
    "fraudstream.split.share",
    "fraudstream.stage.duration",
    "fraudstream.term",
    "fraudstream.topics.deviating",
    "fraudstream.uncommitted",
    "fraudstream.uncommitted.age",
    "fraudstream.unknown_fields",
    "fraudstream.void_scores",
    "fraudstream.webhook.events",
    "fraudstream.webhook.waiting",
    "fraudstream.worker.info",
]


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

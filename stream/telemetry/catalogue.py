"""Every metric of fraudstream: its name, unit, attributes, meaning, and when to look at it.

Instruments are created from this table alone and `docs/reference/metrics-and-spans.md` is generated from it; a test
compares the alert rules and the dashboard in `deploy/` with it.
"""

from typing import get_args

from stream.telemetry.explanation_metrics import OF_EXPLANATIONS
from stream.telemetry.field_metrics import OF_FIELDS
from stream.telemetry.guard_metrics import OF_GUARDS
from stream.telemetry.metric import Metric, MetricKind, MetricName
from stream.telemetry.verdict_metrics import OF_VERDICTS

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
_STAGE_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
_SHIFTS = (-0.5, -0.2, -0.1, -0.05, -0.02, -0.01, -0.001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)

_OF_WORKERS: dict[MetricName, Metric] = {
    "fraudstream.aside": Metric(
        MetricKind.GAUGE,
        "{partition}",
        (),
        "Own partitions that cannot go on for now and are tried again, while the others go on.",
        "above 0 for long: `/health/ready` names each partition and its reason.",
    ),
    "fraudstream.backfilled": Metric(
        MetricKind.COUNTER,
        "{transaction}",
        (),
        "Payments of `fraudstream backfill` that were applied to histories, without a decision.",
        "it stands still during a backfill, or rises without one: a producer writes its header.",
    ),
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
        "Histories evicted from the cache to stay within FRAUDSTREAM_CACHE_MB.",
        "it rises steadily: the histories that this worker needs do not fit.",
    ),
    "fraudstream.cache.lookups": Metric(
        MetricKind.COUNTER,
        "{history}",
        ("entity", "result"),
        "Histories that a batch needed, by whether this worker had them cached: `hit`, or `miss` and a fetch.",
        "the share of hits falls: `observe` takes longer; raise FRAUDSTREAM_CACHE_MB.",
    ),
    "fraudstream.cache.size": Metric(
        MetricKind.GAUGE, "By", ("entity",), "Memory of the histories that this worker caches.", "sizing its memory."
    ),
    "fraudstream.canary.share": Metric(
        MetricKind.GAUGE,
        "1",
        (),
        "The share of the cards that a canary decides, from 0 to 1; 0 without one.",
        "a rollout runs: compare the arms of `fraudstream.decisions`.",
    ),
    "fraudstream.control_log.lost": Metric(
        MetricKind.GAUGE,
        "{record}",
        (),
        "Records of `model-events` that a worker which starts needs, and Kafka no longer has.",
        "above 0: no worker can start; `fraudstream model restore`.",
    ),
    "fraudstream.control_log.unsaved": Metric(
        MetricKind.GAUGE,
        "{event}",
        (),
        "Events of `model-events` that the judge has not written to the snapshot in the model repository yet.",
        "it stays above 0: the repository cannot be written, so a loss could not be restored.",
    ),
    "fraudstream.deadline.missed_amount": Metric(
        MetricKind.COUNTER,
        "{minor_unit}",
        ("currency",),
        "Amount of the decisions that missed the deadline, in minor units.",
        "estimating what late answers cost.",
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
        "Amount of the decisions, in minor units.",
        "a change of policy or model shifted amounts, not only counts.",
    ),
    "fraudstream.decisions": Metric(
        MetricKind.COUNTER,
        "{decision}",
        ("decision", "decided_by", "arm"),
        "Decisions written, by decision, by what decided, and by arm: `live`, `canary`, or that of a split.",
        "the approval rate changes, anything but `model` decides, or a canary decides otherwise than live.",
    ),
    "fraudstream.decline_cap.active": Metric(
        MetricKind.GAUGE,
        "{partition}",
        ("arm",),
        "Own partitions in which the cap on declines holds: what the arm's model declines is reviewed.",
        "above 0: a model declines more than `fraudstream limits show` allows; end the canary, or roll back.",
    ),
    "fraudstream.degraded": Metric(
        MetricKind.COUNTER,
        "{decision}",
        ("reason",),
        "Decisions made in degraded mode, by reason.",
        "Redis was down or lost data, the live model fails, or producers use different partitioners.",
    ),
    "fraudstream.erasures": Metric(
        MetricKind.COUNTER,
        "{erasure}",
        (),
        "Erasures of cards that were applied to histories.",
        "it rises without a request: somebody has a key with the role `erase`.",
    ),
    "fraudstream.halted": Metric(
        MetricKind.GAUGE,
        "{partition}",
        (),
        "Partitions halted by a run of dead letters.",
        "above 0: the producer is broken; fix it, then end the halt by `fraudstream dead-letters skip`.",
    ),
    "fraudstream.history.damaged": Metric(
        MetricKind.GAUGE,
        "{history}",
        (),
        "Histories that another client overwrote or damaged, while the owner of the first partition rebuilds them.",
        "above 0: their payments are decided by rules, and their cards' labels wait; find out who writes to Redis.",
    ),
    "fraudstream.history.incomplete": Metric(
        MetricKind.GAUGE,
        "1",
        (),
        "1 while histories are known to lack records of Kafka, as far back as the live model looks.",
        "1: Redis lost records; decisions wait or carry `history_incomplete` until all are applied again.",
    ),
    "fraudstream.history.missing": Metric(
        MetricKind.GAUGE,
        "d",
        (),
        "Days by which the histories go back less far than the features look, as in a deployment's first weeks.",
        "the share of alerts is not that of the model's evaluation.",
    ),
    "fraudstream.history.open_parts": Metric(
        MetricKind.GAUGE,
        "{part}",
        (),
        "Partitions of transactions and labels that this worker has yet to apply again to histories.",
        "histories stay incomplete, or models of a longer table are refused: 0 everywhere means no worker owns them.",
    ),
    "fraudstream.history.reapplied": Metric(
        MetricKind.COUNTER,
        "{record}",
        ("topic",),
        "Records applied again, to histories that Redis had lost or that are kept for longer from now on.",
        "histories are incomplete, or models are refused: its rate says how long that will last.",
    ),
    "fraudstream.labels": Metric(
        MetricKind.COUNTER,
        "{label}",
        ("status",),
        "Labels applied, by outcome status.",
        "case management stops reporting, or reports unknown transactions.",
    ),
    "fraudstream.labels.waiting": Metric(
        MetricKind.GAUGE,
        "{label}",
        (),
        "Labels that wait until their card's history is rebuilt; offsets behind them are not committed.",
        "above 0: histories were damaged, see `fraudstream.history.damaged`.",
    ),
    "fraudstream.lag": Metric(
        MetricKind.GAUGE,
        "{record}",
        ("topic", "partition"),
        "Records of an assigned partition that are not finished.",
        "it grows: more records arrive than are decided; add workers or partitions.",
    ),
    "fraudstream.latency": Metric(
        MetricKind.HISTOGRAM,
        "s",
        (),
        "Time from a record's timestamp to the encoding of its decision.",
        "p99 approaches the deadline.",
        _SECONDS,
    ),
    "fraudstream.let_through.amount": Metric(
        MetricKind.COUNTER,
        "{minor_unit}",
        ("currency",),
        "Amount that was approved by lot though a model declined it, in minor units.",
        "what the truth about declines costs at most.",
    ),
    "fraudstream.let_through.cap": Metric(
        MetricKind.GAUGE,
        "{minor_unit}",
        ("currency",),
        "How much own partitions may let through on a day, in minor units: their parts of the caps.",
        "`fraudstream.let_through.left` is low: compare with it.",
    ),
    "fraudstream.let_through.left": Metric(
        MetricKind.GAUGE,
        "{minor_unit}",
        ("currency",),
        "How much own partitions may still let through today (UTC), in minor units.",
        "near 0 long before midnight: declines get no lot any more, so they are not represented; raise the cap.",
    ),
    "fraudstream.let_through.lots": Metric(
        MetricKind.COUNTER,
        "{decision}",
        ("currency", "outcome"),
        "Lots drawn for declined payments, by what they said: `let_through` or `declined`.",
        "few against the declines in `fraudstream.decisions`: most exceed what is left, or their currency has no cap.",
    ),
    "fraudstream.lost_unread": Metric(
        MetricKind.COUNTER,
        "{record}",
        ("topic",),
        "Records that Kafka removed before they were read, or that a moved commit would pass over: an upper bound.",
        "above 0: the partition waits until the loss is accepted; check the topic's retention and the lag.",
    ),
    "fraudstream.model.info": Metric(
        MetricKind.GAUGE,
        "1",
        ("role", "digest", "name", "version"),
        "1 for each model that this worker uses, `arm` for one of a split; of the challenger it knows the digest.",
        "finding out which model is live on which worker.",
    ),
    "fraudstream.model.review": Metric(
        MetricKind.GAUGE,
        "d",
        ("digest", "name", "version"),
        "Days until the review of each model that decides is due, by its card; below 0 once it is overdue.",
        "below 30: plan the review, and record it by `fraudstream model card`.",
    ),
    "fraudstream.over_budget": Metric(
        MetricKind.GAUGE,
        "{partition}",
        ("topic", "partition", "card"),
        "1 for an own partition that takes more than its share of time, and goes on apart from the others, in small "
        "pieces. `card` is the hash of a card with most of the records that it had then.",
        "above 0 for long: a producer sends more than is decided, or records that take long.",
    ),
    "fraudstream.overruled": Metric(
        MetricKind.COUNTER,
        "{decision}",
        ("by", "arm"),
        "Decisions that were changed after the model had spoken, by what changed them: `decline_cap`, `let_through` or "
        "`rule:` and the name of a rule.",
        "`fraudstream.decline_cap.active` is above 0: how many payments it is about.",
    ),
    "fraudstream.partitions": Metric(
        MetricKind.GAUGE,
        "{partition}",
        ("topic",),
        "Partitions assigned to this worker.",
        "load is uneven, or a rebalance does not finish.",
    ),
    "fraudstream.predictions": Metric(
        MetricKind.COUNTER,
        "{prediction}",
        ("status",),
        "Predictions from storage applied, by outcome status; `late` ones came after their delay, and none sees them.",
        "`late` rises: the batch job is slower than the delay of its features; or none are applied after its schedule.",
    ),
    "fraudstream.publishes": Metric(
        MetricKind.GAUGE,
        "1",
        (),
        "1 if this worker's deployment writes its decisions to `scores`, 0 if it decides silently.",
        "no worker has 1, or those of two deployments do for long.",
    ),
    "fraudstream.ready": Metric(
        MetricKind.GAUGE, "1", (), "1 if `/health/ready` answers 200.", "0: `/health/ready` has the reasons."
    ),
    "fraudstream.repeated": Metric(
        MetricKind.COUNTER,
        "{transaction}",
        (),
        "Transactions sent again with the same content, which get no second decision.",
        "a producer retries too much.",
    ),
    "fraudstream.retries": Metric(
        MetricKind.COUNTER,
        "{attempt}",
        ("topic", "error"),
        "Batches retried because a service that they need was unavailable.",
        "Redis or Kafka is unstable.",
    ),
    "fraudstream.revision": Metric(
        MetricKind.GAUGE,
        "1",
        (),
        "The newest revision of the lineup that this worker follows.",
        "workers differ: one does not read `model-events`.",
    ),
    "fraudstream.setting.info": Metric(
        MetricKind.GAUGE,
        "1",
        ("setting", "value"),
        "1 for each setting that can change a decision, with its value; durations in seconds.",
        "workers differ: their decisions are not made alike; `fraudstream deployment status` names them.",
    ),
    "fraudstream.shadow.changed_amount": Metric(
        MetricKind.COUNTER,
        "{minor_unit}",
        ("currency", "live", "challenger"),
        "Amount on which live model and challenger decide differently, in minor units.",
        "judging a promotion.",
    ),
    "fraudstream.shadow.compared": Metric(
        MetricKind.COUNTER,
        "{decision}",
        (),
        "Decisions that the challenger scored as well.",
        "there is a challenger and this does not rise.",
    ),
    "fraudstream.shadow.decisions_changed": Metric(
        MetricKind.COUNTER,
        "{decision}",
        ("live", "challenger"),
        "Comparisons in which the challenger decides differently.",
        "judging a promotion.",
    ),
    "fraudstream.shadow.missed": Metric(
        MetricKind.COUNTER,
        "{decision}",
        ("reason",),
        "Decisions without a comparison: `skipped` (queue full) or `failed`.",
        "the challenger is slow or broken; the live path is not affected.",
    ),
    "fraudstream.shadow.queued": Metric(
        MetricKind.GAUGE,
        "{decision}",
        (),
        "Decisions queued for the challenger.",
        "it stays near its limit: the challenger is too slow for this stream.",
    ),
    "fraudstream.shadow.score_shift": Metric(
        MetricKind.HISTOGRAM,
        "1",
        (),
        "Challenger's score minus live score.",
        "the challenger scores on a different scale.",
        _SHIFTS,
    ),
    "fraudstream.split.share": Metric(
        MetricKind.GAUGE,
        "1",
        ("arm",),
        "The share of the cards that each arm of a split decides, from 0 to 1; absent without one.",
        "an experiment runs: compare the arms of `fraudstream.decisions`.",
    ),
    "fraudstream.stage.duration": Metric(
        MetricKind.HISTOGRAM,
        "s",
        ("stage",),
        "Time of one batch in a stage: decode, observe, vectorise, score, encode, publish.",
        "latency rises, to find the stage.",
        _STAGE_SECONDS,
    ),
    "fraudstream.term": Metric(
        MetricKind.GAUGE,
        "1",
        (),
        "The term that this worker follows: how many hand-overs between deployments it knows of.",
        "workers differ, of whichever deployment: one does not read `model-events`.",
    ),
    "fraudstream.topics.deviating": Metric(
        MetricKind.GAUGE,
        "{setting}",
        ("topic",),
        "Settings of a topic by which Kafka loses records, or deletes them sooner than they are needed.",
        "above 0: records will be lost; `fraudstream topics apply` mends the settings.",
    ),
    "fraudstream.uncommitted": Metric(
        MetricKind.GAUGE,
        "{record}",
        ("topic", "partition"),
        "Records of an assigned partition behind its last stable offset: they wait for a producer's open transaction.",
        "finding out how many payments wait for it; the lag does not count them.",
    ),
    "fraudstream.uncommitted.age": Metric(
        MetricKind.GAUGE,
        "s",
        ("topic", "partition"),
        "How long the last stable offset has stood still while records lie behind it.",
        "it exceeds a few seconds: `/health/ready` names the partition; find the producer with kafka-transactions.sh.",
    ),
    "fraudstream.void_scores": Metric(
        MetricKind.COUNTER,
        "{score}",
        (),
        "Void scores found when a partition was taken over.",
        "above 0: a worker outlived its assignment; consumers drop its scores.",
    ),
    "fraudstream.worker.info": Metric(
        MetricKind.GAUGE,
        "1",
        ("version", "settings"),
        "1, with the version of the code, which tells commits apart, and the hash of the settings that decide.",
        "decisions of two workers differ: both are on each score, as `code_version` and `settings`.",
    ),
}
CATALOGUE: dict[MetricName, Metric] = dict(
    sorted((_OF_WORKERS | OF_FIELDS | OF_VERDICTS | OF_EXPLANATIONS | OF_GUARDS).items())
)

assert set(CATALOGUE) == set(get_args(MetricName))  # noqa: S101 - checked at import

_UNIT_NAMES = {"By": "_bytes", "d": "_days", "s": "_seconds"}


def prometheus_name(name: MetricName) -> str:
    """Return a metric's name on `/metrics`; a histogram's series add `_bucket`, `_sum` and `_count`."""
    metric = CATALOGUE[name]
    suffix = "_total" if metric.kind is MetricKind.COUNTER else ""
    return f"{name.replace('.', '_')}{_UNIT_NAMES.get(metric.unit, '')}{suffix}"

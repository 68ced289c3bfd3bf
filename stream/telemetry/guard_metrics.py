"""The metrics of a guard's process: what it watches, what it tells of incidents, and what its webhook has to send.

A part of the catalogue.
"""

from stream.telemetry.metric import Metric, MetricKind, MetricName

OF_GUARDS: dict[MetricName, Metric] = {
    "fraudstream.drift.alarm": Metric(
        MetricKind.GAUGE,
        "1",
        ("model", "arm"),
        "1 while what a live model sees or says has moved from its reference for some windows in a row, else 0.",
        "1: `fraudstream model watch MODEL` says what has moved, and the incident what to do.",
    ),
    "fraudstream.drift.behind": Metric(
        MetricKind.GAUGE,
        "s",
        (),
        "How far behind now a guard has read what drift is found in.",
        "above an hour: drift is found late: Kafka, as `/health/ready` of the guard says, or too little CPU time.",
    ),
    "fraudstream.drift.estimated_precision": Metric(
        MetricKind.GAUGE,
        "1",
        ("model", "arm"),
        "The mean score of the alerts of a model's last window: their precision, if its scores are calibrated.",
        "it falls: alerts are less often fraud than they were, before labels say so.",
    ),
    "fraudstream.drift.index": Metric(
        MetricKind.GAUGE,
        "1",
        ("model", "arm", "quantity"),
        "Population stability index of a model's last window, of the score and of the five features that moved most.",
        "above 0.2: the payments of that window are not those that the model was made for.",
    ),
    "fraudstream.drift.matured_precision": Metric(
        MetricKind.GAUGE,
        "1",
        ("model", "arm"),
        "The share of frauds among alerts that were not declined, of the latest week with half of them known.",
        "it falls: the model finds less; `model watch` says if its scores are not calibrated any more.",
    ),
    "fraudstream.drift.over": Metric(
        MetricKind.GAUGE,
        "{quantity}",
        ("model", "arm"),
        "Features, score and decisions that have moved by more than chance and by so much that it matters.",
        "above 0 for three windows: an alarm is raised.",
    ),
    "fraudstream.drift.share": Metric(
        MetricKind.GAUGE,
        "1",
        ("model", "arm", "decision"),
        "The share of payments of a model's last window that it wants reviewed or declined, and declined.",
        "it has doubled or halved: the work of analysts and the harm to customers have, too.",
    ),
    "fraudstream.guard.behind": Metric(
        MetricKind.GAUGE,
        "s",
        (),
        "How far behind now a guard has read everything, of what it watches.",
        "it grows: the guard reads slower than workers write, or a partition cannot be read.",
    ),
    "fraudstream.guard.commands": Metric(
        MetricKind.COUNTER,
        "{command}",
        ("command", "outcome"),
        "Commands that a guard has sent, by kind and by what became of them.",
        "a canary changed or ended and nobody did it, or a guard's commands are refused.",
    ),
    "fraudstream.guard.evidence_ratio": Metric(
        MetricKind.GAUGE,
        "1",
        ("guard",),
        "log E of a guard divided by the logarithm of its bound: 1 or more is a breach, below 0 speaks for the arm.",
        "it rises towards 1: a canary or an arm does more harm than the live model.",
    ),
    "fraudstream.guard.watching": Metric(
        MetricKind.GAUGE,
        "1",
        (),
        "1 while a guard reads a canary, a split, or a promotion that is watched; else 0.",
        "0 or absent while `fraudstream.canary.share` or `fraudstream.split.share` is above 0: nothing ends harm.",
    ),
    "fraudstream.incidents.behind": Metric(
        MetricKind.GAUGE,
        "s",
        (),
        "How far behind now a guard has read what incidents are found in.",
        "above a minute: incidents are told of late, or not at all; `/health/ready` of the guard says why.",
    ),
    "fraudstream.incidents.open": Metric(
        MetricKind.GAUGE,
        "{incident}",
        ("rule",),
        "Incidents that are open, by rule.",
        "above 0: `fraudstream incident list`.",
    ),
    "fraudstream.incidents.unwritten": Metric(
        MetricKind.GAUGE,
        "{record}",
        (),
        "Records of incidents that a guard could not write to `incidents` yet.",
        "above 0: Kafka refuses them; `/health/ready` of the guard says why.",
    ),
    "fraudstream.labels.age": Metric(
        MetricKind.GAUGE,
        "s",
        ("labels",),
        "How long ago a worker took the newest label in: of all `labels`, and of `cards with fraud`.",
        "beyond a day or two: what writes to the topic `labels` has stopped.",
    ),
    "fraudstream.labels.missing": Metric(
        MetricKind.GAUGE,
        "1",
        (),
        "1 while labels, or a share of them, are missing against the weeks before, else 0.",
        "1: the incident `labels_missing` says which, and since when.",
    ),
    "fraudstream.labels.ratio": Metric(
        MetricKind.GAUGE,
        "1",
        ("labels",),
        "Labels of the last two days divided by what the weeks before let expect: all, by reporter, by kind of fraud.",
        "0: that share has stopped; a half or less for two days, beyond chance, is an alarm.",
    ),
    "fraudstream.webhook.events": Metric(
        MetricKind.COUNTER,
        "{event}",
        ("outcome",),
        "Events of incidents that the webhook took (`delivered`) or refused for ten minutes (`given_up`).",
        "`given_up` rises: somebody was not told; the guard's log names the incident.",
    ),
    "fraudstream.webhook.waiting": Metric(
        MetricKind.GAUGE,
        "{event}",
        (),
        "Records of `incidents` that the webhook has not accepted yet, of the guard that sends.",
        "above 0: the receiver does not answer, or refuses; the guard's log says what it answers.",
    ),
}

"""The metrics of verdicts: what was refused, what already has a verdict, and clocks that may give none."""

from stream.telemetry.metric import Metric, MetricKind, MetricName

OF_VERDICTS: dict[MetricName, Metric] = {
    "fraudstream.already_decided": Metric(
        MetricKind.COUNTER,
        "{transaction}",
        (),
        "Transactions read again that have a valid decision: applied to histories, not decided again.",
        "it rises without a restart or a rebalance: a producer may write to a topic that was made anew.",
    ),
    "fraudstream.already_refused": Metric(
        MetricKind.COUNTER,
        "{transaction}",
        (),
        "Transactions read again that have a dead letter, or that an operator let pass: they get no other verdict.",
        "it rises without a restart or a rebalance.",
    ),
    "fraudstream.clock.behind": Metric(
        MetricKind.GAUGE,
        "{partition}",
        (),
        "Own partitions that are set aside since this worker's clock is behind the brokers', as their records prove.",
        "above 0: set the clock of that machine; no payment is refused meanwhile.",
    ),
    "fraudstream.dead_letters": Metric(
        MetricKind.COUNTER,
        "{record}",
        ("topic", "code"),
        "Records written to `dead-letters`, by source topic and code.",
        "a producer changed, or `fraudstream.halted` rises.",
    ),
    "fraudstream.dead_letters.late": Metric(
        MetricKind.COUNTER,
        "{record}",
        (),
        "Dead letters, found when a partition was taken over, of workers that had lost it: they are void.",
        "above 0: a worker outlived its assignment; its letters are no verdicts.",
    ),
}

"""Facts in, Prometheus text out: exactly the metrics of the catalogue."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from fraudstream_client.outputs import Decision
from stream.scoring.facts import Compared, Fact, ignore_fact
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.telemetry.catalogue import CATALOGUE, prometheus_name
from stream.telemetry.metric import MetricKind
from stream.telemetry.metrics import Gauges, HistogramTally
from stream.telemetry.setup import begin
from support.stream_records import Told
from support.telemetry_facts import CAPPED, DIGEST, PASSED, decided, one_of_each, scored

GAUGES: Gauges = {
    "fraudstream.aside": lambda: {(): 2},
    "fraudstream.cache.evictions": lambda: {("card",): 2},
    "fraudstream.cache.lookups": lambda: {("card", "hit"): 9, ("card", "miss"): 1},
    "fraudstream.cache.size": lambda: {("card",): 4096},
    "fraudstream.canary.share": lambda: {(): 0.25},
    "fraudstream.split.share": lambda: {("a",): 0.25, ("b",): 0.5},
    "fraudstream.clock.behind": lambda: {(): 1},
    "fraudstream.control_log.lost": lambda: {(): 0},
    "fraudstream.control_log.unsaved": lambda: {(): 2},
    "fraudstream.explanations.lag": lambda: {(): 4},
    "fraudstream.explanations.lost": lambda: {(): 2},
    "fraudstream.explanations.unreadable": lambda: {(): 1},
    "fraudstream.explanations.waiting": lambda: {(): 1},
    "fraudstream.guard.behind": lambda: {(): 2.5},
    "fraudstream.guard.commands": lambda: {("end_canary", "accepted"): 1},
    "fraudstream.guard.evidence_ratio": lambda: {("declined",): 0.4},
    "fraudstream.guard.watching": lambda: {(): 1},
    "fraudstream.decline_cap.active": lambda: {("canary",): 1},
    "fraudstream.drift.alarm": lambda: {(DIGEST[:12], "live"): 1},
    "fraudstream.drift.behind": lambda: {(): 2.5},
    "fraudstream.drift.estimated_precision": lambda: {(DIGEST[:12], "live"): 0.4},
    "fraudstream.drift.index": lambda: {(DIGEST[:12], "live", "(score)"): 0.01},
    "fraudstream.drift.matured_precision": lambda: {(DIGEST[:12], "live"): 0.3},
    "fraudstream.drift.over": lambda: {(DIGEST[:12], "live"): 2},
    "fraudstream.drift.share": lambda: {(DIGEST[:12], "live", "alerts"): 0.005},
    "fraudstream.labels.age": lambda: {("labels",): 60.0},
    "fraudstream.labels.missing": lambda: {(): 0},
    "fraudstream.labels.ratio": lambda: {("labels reported by customer",): 0.9},
    "fraudstream.field.begun": lambda: {("three_ds",): 1},
    "fraudstream.field.share": lambda: {("ip_country",): 0.4},
    "fraudstream.field.stopped": lambda: {("device_id",): 1},
    "fraudstream.halted": lambda: {(): 0},
    "fraudstream.history.damaged": lambda: {(): 2},
    "fraudstream.history.incomplete": lambda: {(): 1},
    "fraudstream.history.missing": lambda: {(): 30},
    "fraudstream.history.open_parts": lambda: {(): 4},
    "fraudstream.incidents.behind": lambda: {(): 2.5},
    "fraudstream.incidents.open": lambda: {("stand_ins",): 1},
    "fraudstream.incidents.unwritten": lambda: {(): 1},
    "fraudstream.labels.waiting": lambda: {(): 3},
    "fraudstream.lag": lambda: {("transactions", "0"): 17},
    "fraudstream.let_through.cap": lambda: {("EUR",): 50_000},
    "fraudstream.let_through.left": lambda: {("EUR",): 45_834},
    "fraudstream.model.info": lambda: {("live", DIGEST[:12], "cards", "1"): 1},
    "fraudstream.model.review": lambda: {(DIGEST[:12], "cards", "1"): 12.5},
    "fraudstream.over_budget": lambda: {("transactions", "0", "00ff00ff00ff00ff"): 1},
    "fraudstream.partitions": lambda: {("transactions",): 4},
    "fraudstream.ready": lambda: {(): 1},
    "fraudstream.publishes": lambda: {(): 1},
    "fraudstream.revision": lambda: {(): 7},
    "fraudstream.term": lambda: {(): 2},
    "fraudstream.setting.info": lambda: {("FRAUDSTREAM_FEATURES", ""): 1},
    "fraudstream.shadow.queued": lambda: {(): 3},
    "fraudstream.topics.deviating": lambda: {("model-events",): 1},
    "fraudstream.uncommitted": lambda: {("transactions", "0"): 2},
    "fraudstream.uncommitted.age": lambda: {("transactions", "0"): 31},
    "fraudstream.webhook.events": lambda: {("delivered",): 3, ("given_up",): 0},
    "fraudstream.webhook.waiting": lambda: {(): 2},
    "fraudstream.worker.info": lambda: {("0.1.0+g1a2b3c4d5e6f", "aca8e9b3"): 1},
}


def export(facts: Sequence[Fact], gauges: Gauges | None = None) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Emit facts to new telemetry and parse its metrics page: series by sample name."""
    telemetry = begin(Settings(), {})
    telemetry.watch(gauges or {})
    for fact in facts:
        telemetry.emit(fact)
    page = telemetry.metrics().decode()
    telemetry.stop()
    series: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            series.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return series


def value(series: dict[str, dict[tuple[tuple[str, str], ...], float]], name: str, **labels: str) -> float:
    return series[name][tuple(sorted(labels.items()))]


def test_exactly_the_metrics_of_the_catalogue_are_exported_with_their_attributes() -> None:
    series = export(one_of_each(), GAUGES)
    ours = {name: labels for name, labels in series.items() if name.startswith("fraudstream_")}
    expected = set()
    for name, metric in CATALOGUE.items():
        sample = prometheus_name(name) + ("_bucket" if metric.kind is MetricKind.HISTOGRAM else "")
        expected.add(sample)
        keys = {key for labels in ours[sample] for key, _ in labels} - {"le"}
        assert keys == set(metric.attributes), name
        assert any(value for value in ours[sample].values()) or metric.kind is MetricKind.GAUGE, name
    parts = tuple(f"{name.removesuffix('_bucket')}_{part}" for name in expected for part in ("sum", "count"))
    assert set(ours) - set(parts) == expected
    assert "process_cpu_seconds_total" in series
    assert value(series, "target_info", **dict(next(iter(series["target_info"]))))


def test_a_batch_counts_decisions_amounts_latencies_and_missed_deadlines() -> None:
    fact = decided(scored([Told(offset=at) for at in range(40)], [20] * 39 + [101], decision=Decision.REVIEW))
    series = export([fact, fact])
    assert value(series, "fraudstream_decisions_total", decision="review", decided_by="model", arm="live") == 80
    assert value(series, "fraudstream_decided_amount_total", decision="review", currency="EUR") == 80 * 1250
    assert value(series, "fraudstream_deadline_misses_total") == 2
    assert value(series, "fraudstream_deadline_missed_amount_total", currency="EUR") == 2 * 1250
    assert value(series, "fraudstream_latency_seconds_bucket", le="0.02") == 78
    assert value(series, "fraudstream_latency_seconds_count") == 80
    assert value(series, "fraudstream_latency_seconds_sum") == pytest.approx(2 * (39 * 0.02 + 0.101))
    assert value(series, "fraudstream_batch_size_bucket", le="64.0") == 2
    assert value(series, "fraudstream_stage_duration_seconds_count", stage="observe") == 2


def test_lots_are_counted_by_what_they_said_and_what_was_let_through_by_amount() -> None:
    passed = scored([Told(), Told(offset=1)], decision=Decision.APPROVE, overruled=PASSED, propensity=0.005)
    drawn = scored([Told(offset=2)], decision=Decision.DECLINE, propensity=0.005)
    capped = scored([Told(offset=3)], decision=Decision.REVIEW, overruled=CAPPED, propensity=0.005)
    without = scored([Told(offset=4)], decision=Decision.DECLINE)
    series = export([decided(one) for one in (passed, drawn, capped, without)])
    lots = "fraudstream_let_through_lots_total"
    assert value(series, lots, currency="EUR", outcome="let_through") == 2
    assert value(series, lots, currency="EUR", outcome="declined") == 2
    assert value(series, "fraudstream_let_through_amount_total", currency="EUR") == 2 * 1250
    assert value(series, "fraudstream_overruled_total", by="let_through", arm="live") == 2
    assert value(series, "fraudstream_decisions_total", decision="approve", decided_by="model", arm="live") == 2


def test_counters_with_known_attributes_are_exported_as_zero_from_the_start() -> None:
    series = export([])
    assert value(series, "fraudstream_dead_letters_total", topic="transactions", code="not_json") == 0
    assert value(series, "fraudstream_decisions_total", decision="decline", decided_by="rules", arm="live") == 0
    assert value(series, "fraudstream_void_scores_total") == 0
    assert value(series, "fraudstream_degraded_total", reason="history_incomplete") == 0
    assert value(series, "fraudstream_degraded_total", reason="undecidable") == 0
    assert value(series, "fraudstream_degraded_total", reason="card_on_two_partitions") == 0
    assert value(series, "fraudstream_degraded_total", reason="history_young") == 0


def test_only_differing_decisions_count_as_changed_and_a_missing_score_adds_no_shift() -> None:
    approve, decline = Decision.APPROVE, Decision.DECLINE
    fact = Compared(DIGEST, [-0.3, 0.3], [approve] * 3, [approve, decline, decline], [5, 7, 11], ["EUR", "EUR", "JPY"])
    series = export([fact])
    assert value(series, "fraudstream_shadow_compared_total") == 3
    assert value(series, "fraudstream_shadow_decisions_changed_total", live="approve", challenger="decline") == 2
    assert (
        value(series, "fraudstream_shadow_changed_amount_total", currency="JPY", live="approve", challenger="decline")
        == 11
    )
    assert value(series, "fraudstream_shadow_score_shift_bucket", le="-0.2") == 1
    assert value(series, "fraudstream_shadow_score_shift_bucket", le="+Inf") == 2


@given(st.lists(st.lists(st.floats(-2, 2, width=32), max_size=60), max_size=5))
def test_values_added_in_bulk_fall_into_the_same_buckets_as_one_by_one(lots: list[list[float]]) -> None:
    bounds = (-0.5, 0.0, 0.001, 1.0)
    tally = HistogramTally(bounds)
    for lot in lots:
        tally.add(lot)
    values = [one for lot in lots for one in lot]
    expected = [0] * 5
    for one in values:
        expected[sum(one > bound for bound in bounds)] += 1
    now = tally.now()
    assert now.buckets == tuple(expected)
    assert now.total == pytest.approx(sum(values))
    if values:
        assert (now.lowest, now.highest) == (min(values), max(values))


def test_with_the_sdk_disabled_only_process_metrics_are_exported() -> None:
    telemetry = begin(Settings(), {"OTEL_SDK_DISABLED": "true"})
    assert telemetry.emit is ignore_fact
    assert isinstance(telemetry.tracing, NoTracing)
    telemetry.watch(GAUGES)
    page = telemetry.metrics().decode()
    assert "fraudstream_" not in page
    assert "process_resident_memory_bytes" in page

"""Settings by which Kafka deletes records sooner than the layout says are told of, all others are left alone."""

import pytest

from features.declaration import FeatureSet
from features.history.store import Entity
from features.rows import card, merchant, prediction
from stream.kafka.topic_settings import deviations_of
from stream.kafka.topics import LABELS, LAYOUTS, MODEL_EVENTS, PREDICTIONS, SCORES, TRANSACTIONS, TopicLayout, kept_for

DAY_MS = 86_400_000
GOOD = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_what_topics_apply_sets_deviates_in_nothing(layout: TopicLayout) -> None:
    assert list(deviations_of(layout, layout.name, layout.configuration(3) | {"retention.bytes": "-1"})) == []
    assert list(deviations_of(layout, layout.name, GOOD)) == []
    assert list(deviations_of(layout, layout.name, {})) == [], "some brokers do not have all settings"


@pytest.mark.parametrize(
    ("layout", "setting", "found"),
    [
        (MODEL_EVENTS, "retention.ms", str(7 * DAY_MS)),
        (MODEL_EVENTS, "retention.ms", "9223372036854775807"),
        (TRANSACTIONS, "retention.ms", str(45 * DAY_MS - 1)),
        (TRANSACTIONS, "retention.ms", ""),
        (TRANSACTIONS, "retention.bytes", "1073741824"),
        (TRANSACTIONS, "cleanup.policy", "compact"),
        (TRANSACTIONS, "cleanup.policy", "compact,delete"),
        (TRANSACTIONS, "unclean.leader.election.enable", "true"),
        (SCORES, "unclean.leader.election.enable", "true"),
    ],
)
def test_a_setting_that_loses_records_or_deletes_them_too_soon_is_a_deviation(
    layout: TopicLayout, setting: str, found: str
) -> None:
    (deviation,) = deviations_of(layout, "eu.topic", GOOD | {setting: found})
    assert (deviation.topic, deviation.setting, deviation.found) == ("eu.topic", setting, found)
    assert f"--entity-name eu.topic --add-config {setting}={deviation.wanted}" in str(deviation)


@pytest.mark.parametrize("found", ["-1", str(45 * DAY_MS), str(400 * DAY_MS)])
def test_a_longer_retention_is_none(found: str) -> None:
    assert list(deviations_of(TRANSACTIONS, "t", GOOD | {"retention.ms": found})) == []


FURTHER = FeatureSet((card("count", "90d"), merchant("count", "30d"), prediction("teacher", "6h", "60d")))
"""Cards' histories are kept for 97 days."""


@pytest.mark.parametrize(("layout", "days"), [(TRANSACTIONS, 98), (LABELS, 98), (PREDICTIONS, 68)])
def test_inputs_are_kept_for_as_long_as_the_declared_features_need_them(layout: TopicLayout, days: int) -> None:
    kept = kept_for(FURTHER.horizons_ms, layout)
    assert kept.configuration(3)["retention.ms"] == str(days * DAY_MS)
    (short,) = deviations_of(kept, "t", GOOD | {"retention.ms": str(45 * DAY_MS)})
    assert (short.found, short.wanted) == (str(45 * DAY_MS), str(days * DAY_MS))
    assert list(deviations_of(kept, "t", GOOD | {"retention.ms": str(days * DAY_MS)})) == []


def test_features_that_look_back_less_far_leave_every_layout_as_it_is() -> None:
    least = {Entity.CARD: DAY_MS, Entity.MERCHANT: 44 * DAY_MS}
    assert [kept_for(least, layout) for layout in LAYOUTS] == list(LAYOUTS)
    assert [kept_for({}, layout) for layout in LAYOUTS] == list(LAYOUTS)
    assert kept_for(FURTHER.horizons_ms, MODEL_EVENTS) is MODEL_EVENTS

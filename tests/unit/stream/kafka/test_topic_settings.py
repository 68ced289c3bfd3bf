"""Settings by which Kafka deletes records sooner than the layout says are told of, all others are left alone."""

import pytest

from stream.kafka.topic_settings import deviations_of
from stream.kafka.topics import LAYOUTS, MODEL_EVENTS, TRANSACTIONS, TopicLayout

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
    ],
)
def test_a_setting_that_deletes_records_too_soon_is_a_deviation(layout: TopicLayout, setting: str, found: str) -> None:
    (deviation,) = deviations_of(layout, "eu.topic", GOOD | {setting: found})
    assert (deviation.topic, deviation.setting, deviation.found) == ("eu.topic", setting, found)
    assert f"--entity-name eu.topic --add-config {setting}={deviation.wanted}" in str(deviation)


@pytest.mark.parametrize("found", ["-1", str(45 * DAY_MS), str(400 * DAY_MS)])
def test_a_longer_retention_is_none(found: str) -> None:
    assert list(deviations_of(TRANSACTIONS, "t", GOOD | {"retention.ms": found})) == []

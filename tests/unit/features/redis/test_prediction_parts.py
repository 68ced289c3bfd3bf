"""Predictions as a part of the log of a repair: its stored form, and when the transactions may begin."""

import pytest

from features.history.records import PANE_BIT, source
from features.redis.progress import LogPart, PartProgress, TopicName, parse_part
from features.redis.retention import Coverage, read_retention, retention_needs
from features.vector.sets import load_sets
from stream.recovery.repair import RepairStatus, needs_predictions

SETS, PLAIN = load_sets("support.features.prediction_set"), load_sets("")


def stored(number: int) -> LogPart:
    return LogPart(of_labels=False, partition=number, of_predictions=True)


def labels(number: int) -> LogPart:
    return LogPart(of_labels=True, partition=number)


PREDICTIONS = stored(7)


@pytest.mark.parametrize("part", [labels(7), LogPart(of_labels=False, partition=7), PREDICTIONS])
def test_a_part_is_read_back_from_its_stored_form(part: LogPart) -> None:
    assert parse_part(part.text) == part


def test_a_version_that_knows_no_predictions_takes_their_part_for_none() -> None:
    """It reads what is behind the colon as a number, and would take another topic for the transactions."""
    topic, _, partition = PREDICTIONS.text.partition(":")
    assert topic == "predictions"
    assert not partition.isdecimal()
    assert parse_part("predictions:px") is None


def test_no_record_is_looked_up_by_the_source_of_predictions() -> None:
    assert PREDICTIONS.source not in {source(7, of_labels=False), source(7, of_labels=True)}
    assert PREDICTIONS.source < 2**63
    assert not PREDICTIONS.source & PANE_BIT


def test_transactions_wait_for_labels_and_predictions_of_all_partitions() -> None:
    done, left = PartProgress(0, 5, 5), PartProgress(0, 4, 5)
    of_labels, of_predictions = ({part(number): done for number in range(2)} for part in (labels, stored))
    two: dict[TopicName, int] = {"transactions": 2, "labels": 2}
    three: dict[TopicName, int] = {**two, "predictions": 2}
    assert RepairStatus(of_labels, two).transactions_may_begin
    assert not RepairStatus(of_labels, three).transactions_may_begin
    assert not RepairStatus(of_labels | of_predictions | {stored(1): left}, three).transactions_may_begin
    assert RepairStatus(of_labels | of_predictions, three).transactions_may_begin


@pytest.mark.parametrize("transactions", [1, 2, 3])
def test_transactions_wait_for_no_more_and_no_fewer_labels_than_there_are(transactions: int) -> None:
    """While partitions are added, the topics differ in their number."""
    done = PartProgress(0, 5, 5)
    partitions: dict[TopicName, int] = {"transactions": transactions, "labels": 2}
    assert not RepairStatus({labels(0): done}, partitions).transactions_may_begin
    assert RepairStatus({labels(0): done, labels(1): done}, partitions).transactions_may_begin
    assert RepairStatus({}, partitions).parts == transactions + 2


def test_the_needs_of_a_deployment_say_whether_predictions_are_a_part_of_its_repairs() -> None:
    for sets, expected in ((SETS, True), (PLAIN, False)):
        needs = retention_needs(sets.retentions)
        kept = read_retention("\n".join(("5", *needs)).encode())
        assert kept.retentions == sets.retentions
        assert needs_predictions(kept.cover) is expected
        assert needs_predictions(Coverage.of(sets.horizons_ms)) is expected

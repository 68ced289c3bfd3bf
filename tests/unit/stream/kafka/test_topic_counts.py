"""Topics whose partition counts differ are told of by name, with both counts and what to do."""

from stream.kafka.topics import LAYOUTS, count_problems
from stream.settings import Settings

SETTINGS = Settings(topic_prefix="bank.")


def counts(**others: int) -> dict[str, int]:
    wanted = {layout.name: 6 if layout.partitioned else 1 for layout in LAYOUTS} | others
    return {f"bank.{name}": number for name, number in wanted.items()}


def test_each_topic_with_fewer_partitions_than_transactions_is_told_of_with_both_counts() -> None:
    problems = count_problems(SETTINGS, counts(transactions=8))
    assert [one.split(": ")[0] for one in problems] == [
        f"topic bank.{name} has 6 partitions, but bank.transactions has 8"
        for name in ("labels", "scores", "shadow-scores", "outcomes")
    ]


def test_a_topic_that_no_worker_uses_may_have_any_number() -> None:
    assert count_problems(SETTINGS, counts(explanations=2, predictions=2, incidents=3)) == []


def test_predictions_are_used_where_features_read_them() -> None:
    (problem,) = count_problems(SETTINGS, counts(predictions=2), reads_predictions=True)
    assert problem.startswith("topic bank.predictions has 2 partitions, but bank.transactions has 6")


def test_a_log_with_more_than_one_partition_is_told_of() -> None:
    (problem,) = count_problems(SETTINGS, counts(**{"model-control": 3}))
    assert problem == "topic bank.model-control has 3 partitions, but must have 1: make it anew"

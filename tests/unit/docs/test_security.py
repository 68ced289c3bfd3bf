"""The rights that docs/how-to/secure.md grants are those that the code needs; test_secured.py uses real servers."""

from itertools import pairwise
from typing import Any

from features.redis.client import COMMANDS
from fraudstream.ops.rollout.guard.presence import guards_group
from fraudstream.ops.watch.explanations.reader import group_of
from stream.kafka.topics import LAYOUTS, PREDICTIONS, silent_scores
from stream.settings import Settings
from support.security_page import acl_commands, redis_rules

WITH_SILENT = (*LAYOUTS, silent_scores(Settings()))


def named(words: list[str], option: str) -> set[str]:
    return {value for name, value in pairwise(words) if name == option}


def allowed(user: str, operation: str, what: str = "--topic") -> set[str]:
    """Return the topics or groups on which a user may do something."""
    granted: set[str] = set()
    for words in acl_commands():
        if f"User:{user}" in words and operation in named(words, "--operation"):
            granted |= named(words, what)
    return granted


def test_the_operator_may_create_every_topic_and_a_worker_may_read_or_write_each_of_its_own() -> None:
    assert allowed("operator", "Create") == {layout.name for layout in WITH_SILENT}
    of_workers = {layout.name for layout in WITH_SILENT if layout.of_workers}
    where_features_read_them = {PREDICTIONS.name}
    assert allowed("worker", "Read") | allowed("worker", "Write") == of_workers | where_features_read_them


def test_each_topic_may_be_written_by_exactly_one_role_and_the_input_by_a_backfill_too() -> None:
    roles = ("operator", "worker", "guard", "explain", "producer", "backfill", "teacher", "consumer")
    writers: dict[str, Any] = {
        layout.name: {user for user in roles if layout.name in allowed(user, "Write")} for layout in WITH_SILENT
    }
    assert writers == {
        "transactions": {"producer", "backfill"},
        "labels": {"producer", "backfill"},
        "predictions": {"teacher"},
        "scores": {"worker"},
        "scores-default": {"worker"},
        "shadow-scores": {"worker"},
        "outcomes": {"worker"},
        "model-control": {"operator", "guard"},
        "model-events": {"worker"},
        "dead-letters": {"worker"},
        "explanations": {"explain"},
        "incidents": {"guard"},
    }


def test_a_worker_may_use_the_default_group_alone() -> None:
    assert allowed("worker", "Read", "--group") == {Settings().group}


def test_a_guard_may_use_a_group_of_its_own_to_send_incidents_and_look_at_that_of_the_workers() -> None:
    assert allowed("guard", "Read", "--group") == {guards_group(Settings())}
    assert allowed("guard", "Describe", "--group") == {Settings().group}


def test_what_explains_alerts_may_use_a_group_of_its_own_and_reads_decisions_alone() -> None:
    assert allowed("explain", "Read", "--group") == {group_of(Settings())}
    assert allowed("explain", "Read") == {"scores"}


def test_redis_allows_exactly_the_commands_that_a_worker_uses() -> None:
    assert {rule for rule in redis_rules() if rule[0] in "+-"} == {"-@all", *(f"+{command}" for command in COMMANDS)}

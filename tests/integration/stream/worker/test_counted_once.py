"""The same stream with its labels is run without and with faults: both runs give the same decisions.

Faults: workers killed, or stopped past their session timeout; Redis connections cut during calls, replies lost, delayed
and stalled; retries and replays of a producer; a new group that reads from the beginning. The stream is the handbook's
if that is available.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from fraudstream_client.outputs import Score
from support import handbook
from support.fleet.chaos import Chaos
from support.fleet.fleet import Fleet, new_fleet, until
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster
from support.redis.proxy import RedisProxy

SEED = 20_260_705
COUNT = 3_000
STRETCHES = 8
PARTS, PUBLISHED_SECONDS = 12, 4.0
"""A stretch is published in so many parts over about this time."""
SLOWLY = {"POLL_RECORDS": "16"}
"""Small batches, so that faults occur during work."""
WITH_VALUES = {"DEAD_LETTER_VALUES": "redacted"}
"""By their values the dead letters of both runs are compared."""
OWN = ("epoch", "positions", "latency_ms", "scored_at", "source", "deployment")
"""Fields of a score that describe how it was made, not the decision."""
Sent = dict[str, Any] | tuple[str, bytes]


class Stretch(NamedTuple):
    """Transactions of less than a label delay, with some in between that become dead letters, and their labels."""

    transactions: list[Sent]
    labels: list[Sent]
    decided: int


class Results(NamedTuple):
    """Results of a run: decisions by transaction, dead letters by code and value, status of each first label."""

    scores: dict[str, dict[str, Any]]
    dead: set[tuple[bytes, bytes]]
    statuses: dict[str, str]
    void: int
    outcomes: int


def simulated() -> list[dict[str, Any]]:
    """Make `COUNT` rows: weeks of a few busy cards and merchants."""
    random = np.random.default_rng(SEED)
    times = np.sort(random.integers(0, STRETCHES * handbook.LABEL_DELAY_MS, COUNT)) + 1_700_000_000_000
    return [
        {
            "transaction_id": f"s-{number}",
            "card_id": f"c-{random.integers(80)}",
            "merchant_id": f"m-{random.integers(25)}",
            "occurred_at": int(at),
            "amount_minor": int(random.integers(1, 90_000)),
            "currency": "EUR",
            "fraud": bool(random.random() < 0.1),
        }
        for number, at in enumerate(times)
    ]


def stretches() -> Iterator[Stretch]:
    """Split the stream, and add payments that become dead letters to each stretch."""
    stream = handbook.rows(terminals=60, most=COUNT) if handbook.TRANSACTIONS.exists() else simulated()
    for rows in list(handbook.weeks(stream))[:STRETCHES]:
        sent: list[Sent] = [handbook.transaction(row) for row in rows]
        first, last = handbook.transaction(rows[0]), handbook.transaction(rows[-1])
        sent.insert(len(sent) // 2, {**first, "amount_minor": first["amount_minor"] + 1})
        sent.insert(len(sent) // 3, (first["card_id"], f'{{"transaction_id": "{rows[0]["transaction_id"]}'.encode()))
        too_late = last["occurred_at"] - handbook.HORIZON_MS
        sent.append({**last, "transaction_id": f"{last['transaction_id']}-late", "occurred_at": too_late})
        yield Stretch(sent, [handbook.label(row) for row in rows], len(rows))


def with_retries(sent: Sequence[Sent], draw: np.random.Generator) -> list[Sent]:
    """Repeat one record in ten some records later, as a producer does that received no acknowledgement."""
    due: dict[int, list[Sent]] = {}
    out: list[Sent] = []
    for at, one in enumerate(sent):
        out.append(one)
        out += due.pop(at, [])
        if draw.random() < 0.1:
            due.setdefault(at + int(draw.integers(1, 40)), []).append(one)
    return out + [one for late in due.values() for one in late]


def run_without_faults(fleet: Fleet, stream: Iterable[Stretch]) -> Results:
    fleet.go_live()
    decided = 0
    for stretch in stream:
        decided += stretch.decided
        fleet.publish(stretch.transactions)
        fleet.await_scores(decided, seconds=60)
        fleet.publish(stretch.labels, topic="labels")
        fleet.await_outcomes(decided, seconds=60)
    return results_of(fleet)


def run_with_faults(fleet: Fleet, proxy: RedisProxy, stream: Sequence[Stretch]) -> tuple[Results, Counter[str]]:
    draw, counts, decided = np.random.default_rng(SEED), Counter[str](), 0
    fleet.environment |= SLOWLY
    workers = fleet.go_live(workers=2)
    for number, stretch in enumerate(stream):
        decided += stretch.decided
        if number == len(stream) // 2:
            workers = restart_in_a_new_group(fleet, workers)
        with Chaos(fleet, workers, proxy, SEED + number) as chaos:
            publish_slowly(fleet, with_retries(stretch.transactions, draw))
            if number % 2:
                fleet.publish(stretch.transactions)
        fleet.await_scores(decided, seconds=60)
        fleet.publish(with_retries(stretch.labels, draw), topic="labels")
        until(lambda done=decided: len(statuses(fleet)[0]) >= done, f"outcomes up to stretch {number}", 60)
        counts += chaos.counts
    return results_of(fleet), counts


def publish_slowly(fleet: Fleet, records: Sequence[Sent]) -> None:
    """Publish over some seconds, so that faults happen in between."""
    size = len(records) // PARTS + 1
    for at in range(0, len(records), size):
        fleet.publish(records[at : at + size])
        time.sleep(PUBLISHED_SECONDS / PARTS)


def restart_in_a_new_group(fleet: Fleet, workers: Sequence[Worker]) -> list[Worker]:
    """Replace all workers by others in a new group, which read from the first record on."""
    for worker in workers:
        if worker.exit_code is None:
            worker.terminate()
    fleet.environment["GROUP"] += "-anew"
    return [fleet.worker(), fleet.worker()]


def statuses(fleet: Fleet) -> tuple[dict[str, str], int]:
    """Return the status of the first label of each transaction, and the number of outcomes."""
    by_offset: dict[tuple[int, int], set[tuple[str, str]]] = defaultdict(set)
    records = fleet.read("outcomes")
    for record in records:
        outcome = json.loads(record.value)
        by_offset[record.partition, outcome["source"]["offset"]].add((outcome["transaction_id"], outcome["status"]))
    assert [both for both in by_offset.values() if len(both) > 1] == [], "a redelivered label got another status"
    first: dict[str, str] = {}
    for _, ((transaction_id, status),) in sorted(by_offset.items()):
        first.setdefault(transaction_id, status)
    return first, len(records)


def results_of(fleet: Fleet) -> Results:
    valid, reader = fleet.scores()
    assert len({score.transaction_id for score in valid}) == len(valid), "decided twice"
    dead = {(dict(letter.headers)["error.code"], letter.value) for letter in fleet.read("dead-letters")}
    first, outcomes = statuses(fleet)
    return Results({score.transaction_id: decision(score) for score in valid}, dead, first, reader.void, outcomes)


def decision(score: Score) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(score)
    return {name: value for name, value in fields.items() if name not in OWN}


@pytest.mark.acceptance
def test_a_run_with_faults_gives_the_same_results_as_one_without(
    fleet: Fleet, kafka: Cluster, tmp_path: Path, start_worker: Callable[..., Worker], report: Callable[[str], None]
) -> None:
    stream = list(stretches())
    fleet.environment |= WITH_VALUES
    base = run_without_faults(fleet, stream)
    with RedisProxy(fleet.environment["REDIS_URL"]) as proxy:
        other = new_fleet(kafka, proxy.url, f"{fleet.prefix}disturbed-", tmp_path, start_worker)
        other.environment |= {"MODELS": fleet.models, **WITH_VALUES}
        faulty, counts = run_with_faults(other, proxy, stream)
    counts += proxy.counts
    figures = f"seed {SEED}: {len(base.scores)} decisions, {len(base.dead)} dead letters, {len(base.statuses)} labels; "
    figures += f"{faulty.void} void scores, {faulty.outcomes} outcomes; {dict(counts)}"
    report(figures)
    assert faulty.scores == base.scores, figures
    assert faulty.dead == base.dead, figures
    assert faulty.statuses == base.statuses, figures
    assert {code for code, _ in base.dead} == {b"transaction_conflict", b"not_json", b"too_late"}
    assert len(base.dead) == 3 * len(stream)
    assert set(base.statuses.values()) == {"applied"}
    shares = [score["features"]["merchant_fraud_share_delayed_30d"] for score in base.scores.values()]
    assert sum(share > 0 for share in shares) > COUNT // 40, "too few of the compared decisions saw a fraud label"
    assert min(counts[what] for what in ("SIGKILL", "SIGSTOP", "reply", "request", "cut", "stall")) > 0, figures

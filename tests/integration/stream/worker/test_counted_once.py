"""The same stream with its labels, once undisturbed and once through every fault: decision for decision the same.

Faults: workers killed and stopped past their session at random instants, Redis's connections cut in the middle of
calls, its answers lost, delayed and stalled, records that a producer sends again, a stretch of the topics that it
replays, and a group that reads all of them from the beginning. The stream is the public handbook's where it is at hand.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream.contract.outputs import Score
from support import handbook
from support.fleet.chaos import Chaos
from support.fleet.fleet import Fleet, new_fleet, until
from support.fleet.workers import Worker
from support.redis.proxy import RedisProxy

SEED = 20_260_705
COUNT = 3_000
STRETCHES = 8
PARTS, PUBLISHED_SECONDS = 12, 4.0
"""A stretch is published in so many parts within some such time."""
SLOWLY = {"POLL_RECORDS": "16"}
"""So that a blow hits the middle of something."""
OWN = ("epoch", "positions", "latency_ms", "scored_at", "source")
"""What a score says of how it came about, and not of what was decided."""
Sent = dict[str, Any] | tuple[str, bytes]


class Stretch(NamedTuple):
    """Transactions of less than a label delay, with what a producer does wrong in between, and their labels."""

    transactions: list[Sent]
    labels: list[Sent]
    decided: int


class Came(NamedTuple):
    """What a run came to: decisions by transaction, dead letters by code and value, each label's first answer."""

    scores: dict[str, dict[str, Any]]
    dead: set[tuple[bytes, bytes]]
    statuses: dict[str, str]
    void: int
    outcomes: int


def simulated() -> list[dict[str, Any]]:
    """Invent as many rows, weeks of a few busy cards and merchants."""
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
    """Cut the stream, and put among the payments of each part some that are dead letters."""
    stream = handbook.rows(terminals=60, most=COUNT) if handbook.TRANSACTIONS.exists() else simulated()
    for rows in list(handbook.weeks(stream))[:STRETCHES]:
        sent: list[Sent] = [handbook.transaction(row) for row in rows]
        first, last = handbook.transaction(rows[0]), handbook.transaction(rows[-1])
        sent.insert(len(sent) // 2, {**first, "amount_minor": first["amount_minor"] + 1})
        sent.insert(len(sent) // 3, (first["card_id"], f'{{"transaction_id": "{rows[0]["transaction_id"]}'.encode()))
        too_late = last["occurred_at"] - handbook.HORIZON_MS
        sent.append({**last, "transaction_id": f"{last['transaction_id']}-late", "occurred_at": too_late})
        yield Stretch(sent, [handbook.label(row) for row in rows], len(rows))


def again(sent: Sequence[Sent], draw: np.random.Generator) -> list[Sent]:
    """Send one record in ten once more, some records later, as a producer does that saw no acknowledgement."""
    due: dict[int, list[Sent]] = {}
    out: list[Sent] = []
    for at, one in enumerate(sent):
        out.append(one)
        out += due.pop(at, [])
        if draw.random() < 0.1:
            due.setdefault(at + int(draw.integers(1, 40)), []).append(one)
    return out + [one for late in due.values() for one in late]


def undisturbed(fleet: Fleet, stream: Iterable[Stretch]) -> Came:
    fleet.go_live()
    decided = 0
    for stretch in stream:
        decided += stretch.decided
        fleet.publish(stretch.transactions)
        fleet.await_scores(decided, seconds=60)
        fleet.publish(stretch.labels, topic="labels")
        fleet.await_records("outcomes", decided, seconds=60)
    return came(fleet)


def disturbed(fleet: Fleet, proxy: RedisProxy, stream: Sequence[Stretch]) -> tuple[Came, Counter[str]]:
    draw, counts, decided = np.random.default_rng(SEED), Counter[str](), 0
    fleet.environment |= SLOWLY
    workers = fleet.go_live(workers=2)
    for number, stretch in enumerate(stream):
        decided += stretch.decided
        if number == len(stream) // 2:
            workers = begin_anew(fleet, workers)
        with Chaos(fleet, workers, proxy, SEED + number) as chaos:
            slowly(fleet, again(stretch.transactions, draw))
            if number % 2:
                fleet.publish(stretch.transactions)
        fleet.await_scores(decided, seconds=60)
        fleet.publish(again(stretch.labels, draw), topic="labels")
        until(lambda done=decided: len(statuses(fleet)[0]) >= done, f"outcomes up to stretch {number}", 60)
        counts += chaos.counts
    return came(fleet), counts


def slowly(fleet: Fleet, records: Sequence[Sent]) -> None:
    """Publish within some seconds, so that what happens meanwhile happens in the middle."""
    size = len(records) // PARTS + 1
    for at in range(0, len(records), size):
        fleet.publish(records[at : at + size])
        time.sleep(PUBLISHED_SECONDS / PARTS)


def begin_anew(fleet: Fleet, workers: Sequence[Worker]) -> list[Worker]:
    """End all workers, and start others in a group that has committed nothing: they read from the first record on."""
    for worker in workers:
        if worker.exit_code is None:
            worker.terminate()
    fleet.environment["GROUP"] += "-anew"
    return [fleet.worker(), fleet.worker()]


def statuses(fleet: Fleet) -> tuple[dict[str, str], int]:
    """Return what the first label of each transaction did, and how many outcomes there are."""
    said: dict[tuple[int, int], set[tuple[str, str]]] = defaultdict(set)
    records = fleet.read("outcomes")
    for record in records:
        outcome = json.loads(record.value)
        said[record.partition, outcome["source"]["offset"]].add((outcome["transaction_id"], outcome["status"]))
    assert [both for both in said.values() if len(both) > 1] == [], "a redelivered label said something else"
    first: dict[str, str] = {}
    for _, ((transaction_id, status),) in sorted(said.items()):
        first.setdefault(transaction_id, status)
    return first, len(records)


def came(fleet: Fleet) -> Came:
    valid, reader = fleet.scores()
    assert len({score.transaction_id for score in valid}) == len(valid), "decided twice"
    dead = {(dict(letter.headers)["error.code"], letter.value) for letter in fleet.read("dead-letters")}
    first, outcomes = statuses(fleet)
    return Came({score.transaction_id: decision(score) for score in valid}, dead, first, reader.void, outcomes)


def decision(score: Score) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(score)
    return {name: value for name, value in told.items() if name not in OWN}


def test_a_disturbed_run_decides_what_an_undisturbed_one_does(
    fleet: Fleet, redis_url: str, tmp_path: Path, start_worker: Callable[..., Worker], report: Callable[[str], None]
) -> None:
    stream = list(stretches())
    calm = undisturbed(fleet, stream)
    with RedisProxy(redis_url) as proxy:
        other = new_fleet(fleet.brokers, proxy.url, f"{fleet.prefix}disturbed-", tmp_path, start_worker)
        other.environment |= {"MODELS": fleet.models}
        troubled, counts = disturbed(other, proxy, stream)
    counts += proxy.counts
    figures = f"seed {SEED}: {len(calm.scores)} decisions, {len(calm.dead)} dead letters, {len(calm.statuses)} labels; "
    figures += f"{troubled.void} void scores, {troubled.outcomes} outcomes; {dict(counts)}"
    report(figures)
    assert troubled.scores == calm.scores, figures
    assert troubled.dead == calm.dead, figures
    assert troubled.statuses == calm.statuses, figures
    assert {code for code, _ in calm.dead} == {b"transaction_conflict", b"not_json", b"too_late"}
    assert len(calm.dead) == 3 * len(stream)
    assert set(calm.statuses.values()) == {"applied"}
    shares = [score["features"]["merchant_fraud_share_delayed_30d"] for score in calm.scores.values()]
    assert sum(share > 0 for share in shares) > COUNT // 40, "the labels are seen by what is compared"
    assert min(counts[what] for what in ("SIGKILL", "SIGSTOP", "reply", "request", "cut", "stall")) > 0, figures

"""Scores a second that one process of a guard reads and counts, by step, and what it remembers for each card."""

import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from features.default_set import FEATURES
from fraudstream_client.outputs import Score
from fraudstream_client.validity import Standing
from guards.hashes import HashSet
from guards.report import evidence
from guards.specs import GuardKind, Guards, default_guards
from guards.state import GuardState
from stream.readers import ScoreView, read_view

_REVISION, _SHARE_BP = 3, 1_000
_CARDS = 50_000
_BATCH = 500
_LOOKS = 100
_SET_SIZE = 1_000_000
_DECISIONS = ("approve", "review", "decline")
_PARTS = (0.97, 0.02, 0.01)


class CountingLine(NamedTuple):
    """One step: scores a second, and microseconds of CPU for each."""

    step: str
    a_second: float
    us_each: float


class CountingFigures(NamedTuple):
    """The steps over generated scores of so many bytes; `look_us` is the CPU time of computing the evidence once.

    `set_bytes` are the bytes of memory for each of 10^6 remembered hashes, `set_us` the CPU time to look for one and
    add it.
    """

    scores: int
    score_bytes: float
    lines: list[CountingLine]
    look_us: float
    set_bytes: float
    set_us: float


def measure_counting(count: int, seed: int) -> CountingFigures:
    """Generate scores as a worker writes them, with all features, and time each step over all of them."""
    written = generated_scores(count, seed)
    scores, guards = [read_view(value) for value in written], default_guards()
    whole = msgspec.json.Decoder(Score).decode
    without_fraud: Guards = {kind: guard for kind, guard in guards.items() if kind is not GuardKind.FRAUD_APPROVED}
    steps: list[tuple[str, Callable[[], object]]] = [
        ("decode all fields of a score", lambda: [whole(value) for value in written]),
        ("decode what readers beside a fleet read", lambda: [read_view(value) for value in written]),
        ("count, with a guard on approved fraud", lambda: _counted(scores, guards)),
        ("count, without it", lambda: _counted(scores, without_fraud)),
        ("decode that, take what is valid, and count all", lambda: _read_and_count(written, guards)),
    ]
    lines = [_line(step, _seconds(run), count) for step, run in steps]
    state = _counted(scores, guards)
    look = _seconds(lambda: [evidence(state) for _ in range(_LOOKS)]) / _LOOKS
    set_bytes, set_seconds = _measure_set(_SET_SIZE, seed)
    size = sum(map(len, written)) / count
    return CountingFigures(count, size, lines, look * 1e6, set_bytes, set_seconds * 1e6)


def generated_scores(count: int, seed: int) -> list[bytes]:
    """Return scores of 50,000 cards, a tenth of them the canary's, with all features of the default set."""
    rng = np.random.default_rng(seed)
    names = [row.name for row in FEATURES]
    cards, decisions = rng.integers(_CARDS, size=count), rng.choice(_DECISIONS, count, p=_PARTS)
    return [
        msgspec.json.encode(
            _score(
                at, int(cards[at]), str(decisions[at]), dict(zip(names, rng.random(len(names)).tolist(), strict=True))
            )
        )
        for at in range(count)
    ]


def _score(at: int, card: int, decision: str, features: dict[str, float]) -> dict[str, object]:
    return {
        "schema": "score/1",
        "transaction_id": f"payment-{at:010}",
        "card_id": f"card-{card:08}",
        "merchant_id": "merchant-1234",
        "occurred_at": "2026-01-31T12:00:00.000Z",
        "amount_minor": 1250,
        "currency": "EUR",
        "score": 0.01234567,
        "band": 432,
        "decision": decision,
        "decided_by": "model",
        "model": {"name": "cards", "version": "3", "digest": "3f" * 32},
        "arm": "canary" if card % 10 == 0 else "live",
        "deployment": "default",
        "revision": _REVISION,
        "fingerprint": "a1" * 32,
        "code_version": "0.1.0",
        "features": features,
        "positions": {"history_epoch": 0, "card": 53, "merchant": 100},
        "degraded": [],
        "dropped": [],
        "epoch": 1,
        "source": {"topic": "transactions", "partition": 0, "offset": at, "log": 0},
        "scored_at": "2026-01-31T12:00:00.010Z",
        "latency_ms": 7,
    }


def _counted(scores: list[ScoreView], guards: Guards) -> GuardState:
    state = GuardState(guards, "default", {_REVISION: _SHARE_BP})
    for at in range(0, len(scores), _BATCH):
        state.count(0, scores[at : at + _BATCH], at + _BATCH)
    return state


def _read_and_count(written: list[bytes], guards: Guards) -> GuardState:
    state = GuardState(guards, "default", {_REVISION: _SHARE_BP})
    standing = Standing()
    for at in range(0, len(written), _BATCH):
        valid = []
        for score in map(read_view, written[at : at + _BATCH]):
            if standing.is_valid(score.epoch, score.place):
                valid.append(score)
            standing = standing.after(score.epoch, score.place)
        state.count(0, valid, at + _BATCH, standing)
    return state


def _measure_set(count: int, seed: int) -> tuple[float, float]:
    """Return bytes of memory and seconds of CPU for each hash of a set of so many."""
    hashes = np.random.default_rng(seed).integers(2**63, size=count).tolist()
    seconds = _seconds(lambda: _filled(hashes))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = _filled([one + 0 for one in hashes])
        size = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return size / len(found), seconds / count


def _filled(hashes: list[int]) -> HashSet:
    found = HashSet()
    for one in hashes:
        found.add(one)
    return found


def _line(step: str, seconds: float, count: int) -> CountingLine:
    return CountingLine(step, count / seconds, seconds / count * 1e6)


def _seconds(run: Callable[[], object]) -> float:
    """Return the CPU seconds of this thread, the least of three times."""
    fastest = float("inf")
    for _ in range(3):
        began = time.thread_time()
        run()
        fastest = min(fastest, time.thread_time() - began)
    return fastest

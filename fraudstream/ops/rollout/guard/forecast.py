"""How long a rollout waits for evidence to climb, by the decisions of the last day: what is told before it starts.

A canary that is like the live model is simulated on the ladder, with the present rates of cards' first bad events.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from fraudstream_client.arms import WHOLE_BP
from guards.evidence import log_climb_evidence
from guards.ladder import Ladder
from guards.records import bad_events
from guards.shares import share_text
from guards.specs import ClimbSpec, GuardKind
from stream.clock import now_ms
from stream.kafka.topics import SCORES
from stream.readers import read_scores
from stream.scan import scan_topic
from stream.settings import Settings

DAY_MS = 86_400_000
MOST_SCORES = 100_000
"""So many of the latest decisions are read at most."""
_RUNS = 100
_SEED = 0
_EVENTS = 12_000
"""More first bad events than a canary of 1 % needs in nine of ten runs; where that is not enough, it is said."""
_STEP = 4
_NAMES = {GuardKind.DECLINED: "declines", GuardKind.REVIEWED: "reviews"}
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


class PresentRates(NamedTuple):
    """The decisions that were read, over how many seconds, and how many cards had a first bad event among them."""

    payments: int
    seconds: float
    firsts: Mapping[GuardKind, int]

    def share_of(self, kind: GuardKind) -> float:
        """Return the part of payments that are a card's first bad event of a kind."""
        return self.firsts.get(kind, 0) / self.payments if self.payments else 0.0


NOTHING = PresentRates(0, 0.0, {})


class Wait(NamedTuple):
    """How many payments pass, in all, until an equal canary has the evidence: the median, and in nine of ten runs.

    None where it takes more events than were simulated.
    """

    median: int | None
    p90: int | None


async def read_rates(settings: Settings, most: int = MOST_SCORES) -> PresentRates:
    """Read the latest decisions of the deployment, of a day at most.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer, or the topic is missing.
    """
    until = now_ms()
    payments, times, cards = 0, list[int](), dict[GuardKind, set[str]]()
    async with scan_topic(settings, settings.topic(SCORES.name), until - DAY_MS) as scan:
        ends, firsts = await scan.ends(), dict(scan.first)
        each = most // max(len(ends), 1)
        scan.start_at({number: max(firsts[number], end - each) for number, end in ends.items()})
        async for records, _ in scan.read():
            for score in filter(None, (record.view for record in read_scores(records))):
                if score.deployment == settings.deployment:
                    payments += 1
                    times.append(score.scored_ms)
                    for kind in bad_events(score):
                        cards.setdefault(kind, set()).add(score.card_id)
    seconds = (max(times) - min(times)) / 1_000 if times else 0.0
    return PresentRates(payments, seconds, {kind: len(found) for kind, found in cards.items()})


def wait_for(ladder: Ladder, climb: ClimbSpec, rates: PresentRates, kind: GuardKind) -> Wait | None:
    """Return how many payments pass until an equal canary may take the first rung that asks for evidence.

    None if no rung asks, or no such event was among the decisions.
    """
    asking = next((at for at, rung in enumerate(ladder.rungs) if at and rung.share_bp >= climb.from_bp), None)
    share, per_second = rates.share_of(kind), rates.payments / rates.seconds if rates.seconds else 0.0
    if asking is None or not share or not per_second:
        return None
    ends = np.cumsum([(rung.seconds or 0) * per_second * share for rung in ladder.rungs[:asking]])[:-1]
    rung_of = np.searchsorted(ends, np.arange(_EVENTS), side="right")  # later events are those of the rung that waits
    shares = np.array([rung.share_bp / WHOLE_BP for rung in ladder.rungs[:asking]])
    rng, found = np.random.default_rng(_SEED), list[float]()
    on_rung = rung_of[:, None] == np.arange(asking)
    for _ in range(_RUNS):
        own = rng.random(_EVENTS) < shares[rung_of]
        canary = np.cumsum(on_rung & own[:, None], axis=0)[_STEP - 1 :: _STEP].astype(float)
        live = np.cumsum(on_rung & ~own[:, None], axis=0)[_STEP - 1 :: _STEP].astype(float)
        enough = log_climb_evidence(canary, live, shares, climb.ratio) >= math.log(climb.bound)
        found.append((int(enough.argmax()) + 1) * _STEP / share if enough.any() else math.inf)
    return Wait(*(_whole(float(np.quantile(found, part, method="higher"))) for part in (0.5, 0.9)))


def _whole(value: float) -> int | None:
    return None if math.isinf(value) else round(value)


def forecast(ladder: Ladder, climb: ClimbSpec, rates: PresentRates) -> Iterator[str]:
    """Say in words what the rungs of a rollout ask for, how long that takes, and what may be chosen instead."""
    asking = [rung for at, rung in enumerate(ladder.rungs) if at and rung.share_bp >= climb.from_bp]
    if not asking or not climb.kinds:
        yield "evidence to climb: none is asked for; a rung is left by time and decisions alone"
        return
    named = " and ".join(_NAMES[kind] for kind in climb.kinds)
    yield (
        f"evidence to climb: {share_text(asking[0].share_bp)} and more wait until cards' first {named} exclude a model "
        f"with {climb.ratio:g} times as many as live, at {climb.alpha:g} for each"
    )
    if not rates.seconds:
        yield "  how long that takes is not known: nothing was decided in the last day"
        return
    per_second = rates.payments / rates.seconds
    for kind in climb.kinds:
        wait = wait_for(ladder, climb, rates, kind)
        share = f"{rates.share_of(kind):.2%} of payments are a card's first now"
        if wait is None:
            yield f"  {_NAMES[kind]}: for ever, for there are none now"
        elif wait.median is None:
            yield f"  {_NAMES[kind]}: more than {_EVENTS / rates.share_of(kind):,.0f} payments; {share}"
        else:
            most = "" if wait.p90 is None else f", 9 in 10 within {wait.p90:,} ({_duration(wait.p90 / per_second)})"
            yield (
                f"  {_NAMES[kind]}: about {wait.median:,} payments, {_duration(wait.median / per_second)} at "
                f"{per_second:,.3g} a second{most}, if both models are alike; {share}"
            )
    yield (
        "  instead: a larger share on the rung before it, `--climb` with fewer kinds, or `--climb none`; `model canary "
        "--share` and `model promote` climb by hand"
    )


def _duration(seconds: float) -> str:
    unit, length = next((one for one in _UNITS if seconds >= 2 * one[1]), _UNITS[-1])
    return f"{seconds / length:,.0f} {unit}"

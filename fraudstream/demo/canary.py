"""The act in which a bad model becomes a canary and a guard ends it: who decided what, and how far the harm went.

Arms and the breach are computed here again, from the event log and the scores alone, as any consumer can.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fraudstream.demo.commands import CommandLog, CommandRecord
from fraudstream_client.arms import CANARY, LIVE, WHOLE_BP
from guards.evidence import BlockCounts, by_share, log_more_evidence_of
from guards.specs import GuardKind
from models.artifact import read_artifact
from models.commands import CommandKind, Event
from models.repository import Repository
from models.times import stated_ms

_HOUR_MS = 3_600_000
BAD = "bad"
"""The version of the model that must not stay."""
APPROVED_PART = 0.75
"""The bad model declines what scores above so much of the payments of the live model's training reference."""


def bad_threshold(repository: Repository, digest: str) -> float:
    """Return the score from which on a bad copy of the live model declines: a decile far below live's own threshold.

    Its scores are live's own: what shows that it is bad is what it declines.

    Raises:
        ModelError: the repository does not answer.
    """
    reference = read_artifact(repository.fetch(digest)).manifest.reference
    assert reference is not None  # noqa: S101 - whatever this version has trained has one
    score = reference.score
    below = np.cumsum(np.add(score.workdays, score.weekends)[: len(score.edges)]) / score.rows
    return score.edges[max(0, int(np.searchsorted(below, APPROVED_PART, side="right")) - 1)]


class ArmedDecision(NamedTuple):
    """A decision on a live transaction and its card's arm; `scored_ms` in epoch milliseconds."""

    transaction_id: str
    card_id: str
    revision: int
    arm: str | None
    declined: bool
    scored_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryFacts:
    """What the canary did, as far as it is known. Times in epoch milliseconds, None until they are known."""

    model: str | None
    revision: int
    share_bp: int
    decided: int
    """By the canary."""
    declined: int
    """By the canary."""
    first_declines: tuple[int, int]
    """Cards whose first decline was the canary's, and the live model's."""
    evidence: float
    """E of the guard on declines."""
    bound: float
    started_ms: int
    breached_ms: int | None
    """When the decision was made with which E reached the bound."""
    last_ms: int | None
    """When the canary decided last."""
    end: CommandRecord | None
    """The guard's command, once it was accepted."""
    wrong_arms: tuple[str, ...]
    """Transactions whose arm is not the one that the card's hash gives."""

    @property
    def after_breach_ms(self) -> int | None:
        """Time from the breach to the canary's last decision; None unless the canary has ended."""
        if self.end is None or self.breached_ms is None or self.last_ms is None:
            return None
        return self.last_ms - self.breached_ms


def canary_facts(decisions: Sequence[ArmedDecision], commands: CommandLog) -> CanaryFacts | None:
    """Return what the last canary did; None while no rollout was accepted."""
    record = commands.last(CommandKind.ROLLOUT)
    if record is None or record.answer is None or record.revision is None or record.answer.share_bp is None:
        return None
    started, share_bp = record.answer, record.answer.share_bp
    end = commands.last(CommandKind.END_CANARY)
    end = end if end is not None and end.accepted else None
    revisions = range(record.revision, sys.maxsize if end is None else end.revision or record.revision)
    own = sorted((one for one in decisions if one.revision in revisions), key=lambda one: one.scored_ms)
    by_canary = [one for one in own if one.arm == CANARY]
    bound = _bound(started)
    blocks, breached_ms = _first_declines(own, started, bound)
    canary, live = by_share(blocks).get(share_bp, (0, 0))
    return CanaryFacts(
        model=record.model,
        revision=record.revision,
        share_bp=share_bp,
        decided=len(by_canary),
        declined=sum(one.declined for one in by_canary),
        first_declines=(canary, live),
        evidence=math.exp(min(log_more_evidence_of(blocks), 700.0)),
        bound=bound,
        started_ms=record.answered_ms,
        breached_ms=breached_ms,
        last_ms=by_canary[-1].scored_ms if by_canary else None,
        end=end,
        wrong_arms=tuple(_wrong_arms(decisions, started, revisions)),
    )


def arm_of(card_id: str, salt: str, share_bp: int) -> str:
    """Return the arm of a card while a canary runs, as the contract defines it."""
    digest = hashlib.blake2b(card_id.encode(), digest_size=8, key=salt.encode()).digest()
    return CANARY if int.from_bytes(digest, "big") % WHOLE_BP < share_bp else LIVE


def _bound(started: Event) -> float:
    """Return the E of too many declines at which the guard is breached: half of its alpha is for too few."""
    guards = started.guards or {}
    return 2 / float(guards[str(GuardKind.DECLINED)]["alpha"]) if str(GuardKind.DECLINED) in guards else math.inf


def _first_declines(own: Iterable[ArmedDecision], started: Event, bound: float) -> tuple[BlockCounts, int | None]:
    """Count cards by hour and arm of their first decline; return the counts, and when E reached the bound."""
    seen, counts, breached_ms = set[str](), dict[tuple[int, int], tuple[int, int]](), None
    begin, share_bp = stated_ms(started.at) // _HOUR_MS, started.share_bp or 0
    for one in own:
        if not one.declined or one.card_id in seen:
            continue
        seen.add(one.card_id)
        key, is_canary = (max(0, one.scored_ms // _HOUR_MS - begin), share_bp), one.arm == CANARY
        canary, live = counts.get(key, (0, 0))
        counts[key] = (canary + is_canary, live + (not is_canary))
        if breached_ms is None and log_more_evidence_of(counts) >= math.log(bound):
            breached_ms = one.scored_ms
    return counts, breached_ms


def _wrong_arms(decisions: Iterable[ArmedDecision], started: Event, revisions: range) -> Iterable[str]:
    salt, share_bp = started.salt or "", started.share_bp or 0
    for one in decisions:
        expected = arm_of(one.card_id, salt, share_bp) if one.revision in revisions else LIVE
        if one.arm != expected:
            yield one.transaction_id

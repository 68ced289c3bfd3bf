"""The arm of each decision, computed again from the event log by the contract's text, with nothing of the code."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from fraudstream_client.outputs import Score
from support.fleet.fleet import Fleet, sources


class Rollout(NamedTuple):
    """Who decides at a revision: the live model, and a canary with its share and salt, or a split, if one runs.

    `arms` are those of a split as the event has them, `exclude` names the cards that are left out of it: by their ids,
    or by hashes with the deployment's `hash_key`.
    """

    live: str
    canary: str | None = None
    share_bp: int = 0
    salt: str = ""
    arms: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    exclude: frozenset[str] = frozenset()
    hash_key: bytes = b""

    def bucket(self, card_id: str) -> int:
        """Return the bucket of a card."""
        digest = hashlib.blake2b(card_id.encode("utf-8"), digest_size=8, key=self.salt.encode("utf-8")).digest()
        return int.from_bytes(digest, "big") % 10_000

    def arm(self, card_id: str) -> str:
        """Return the arm of a card."""
        if self.canary is not None:
            return "canary" if self.bucket(card_id) < self.share_bp else "live"
        if not self.arms or self.excludes(card_id):
            return "live"
        bucket, end = self.bucket(card_id), 0
        for name in sorted(self.arms):
            end += self.arms[name]["share_bp"]
            if bucket < end:
                return name
        return "live"

    def excludes(self, card_id: str) -> bool:
        """Tell whether a card is left out of the split."""
        hashed = hashlib.blake2b(card_id.encode("utf-8"), digest_size=16, person=b"excluded card", key=self.hash_key)
        return card_id in self.exclude or f"h1={hashed.hexdigest()}" in self.exclude

    def model(self, arm: str) -> str | None:
        """Return the model of an arm."""
        if arm in self.arms:
            return str(self.arms[arm]["model"])
        return self.live if arm == "live" else self.canary


def rollouts(fleet: Fleet) -> dict[int, Rollout]:
    """Return who decides at each revision, from the acceptances alone; promotions, canaries and splits are known.

    The fleet's setting `HASH_KEY_FILE` names the file of its hash key, if it has one.
    An acceptance that does not make the next revision is void: a judge wrote it that had been replaced.
    """
    found: dict[int, Rollout] = {}
    file = fleet.environment.get("HASH_KEY_FILE")
    key = b"" if file is None else bytes.fromhex(Path(file).read_text())
    now = Rollout("")
    for event in fleet.events("accepted"):
        if event["revision"] != len(found) + 1:
            continue
        now = _after(now, event)
        found[event["revision"]] = now._replace(hash_key=key)
    return found


def _after(now: Rollout, event: Mapping[str, Any]) -> Rollout:
    match event["command"]:
        case "promote":
            return Rollout(event["model"])
        case "canary" | "rollout":
            return Rollout(now.live, event["model"], event["share_bp"], event["salt"])
        case "split":
            return Rollout(now.live, None, 0, event["salt"], event["arms"], frozenset(event.get("exclude", ())))
        case "end_split":
            return Rollout(event.get("model", now.live))
        case "end_canary" | "roll_back" | "demote":
            assert now.canary or now.arms, "without arms these change the live model, which is not known here"
            return Rollout(now.live)
        case "challenge" | "withdraw" | "pause" | "resume" | "freeze" | "thaw":
            return now
    raise AssertionError(f"not known here: {event['command']}")


def assert_decided_by_arm(scores: Iterable[Score], by_revision: Mapping[int, Rollout]) -> None:
    """Assert that each decision has the arm of its card at its revision, and was made by that arm's model."""
    for score in scores:
        rollout = by_revision[score.revision]
        expected = rollout.arm(score.card_id)
        assert (score.arm, score.model and score.model.digest) == (expected, rollout.model(expected)), score


def assert_whole(fleet: Fleet, valid: Sequence[Score], count: int) -> None:
    """Assert one decision for each payment, by the arm of its card at its revision, revisions rising."""
    assert len(valid) == len(sources(list(valid))) == count
    assert_decided_by_arm(valid, rollouts(fleet))
    assert_revisions_rise(valid)


def assert_revisions_rise(scores: Iterable[Score]) -> None:
    """Assert that in each partition no decision was made under a revision before that of the one before it."""
    by_partition: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for score in scores:
        by_partition[score.source.partition].append((score.source.offset, score.revision))
    for partition, pairs in by_partition.items():
        revisions = [revision for _, revision in sorted(pairs)]
        assert revisions == sorted(revisions), f"partition {partition} goes back"

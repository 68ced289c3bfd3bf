"""The role of each model in a deployment, for `fraudstream model list` and `model show`."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from fraudstream.terminal import echo
from fraudstream_client.arms import CANARY
from guards.shares import share_text
from models.arms import Arm, Split
from models.lineup import Lineup
from models.logins import without_logins
from stream.clock import now_ms
from stream.kafka.client import explain_error
from stream.settings import Settings

_SHOWN = {"before": "live before"}
"""Roles as people read them, where the one word of the JSON output does not explain itself."""


class Roles(NamedTuple):
    """Roles by digest, and the revision.

    They are `live`, `canary`, `arm`, `challenger`, `before` (the roll-back target) and `quarantined`.
    The revision is None where the control log could not be read: then no role is known. `split` has the arms beside the
    live model, those of a split or the canary; the model of an arm may have the role `live`.
    """

    by_digest: Mapping[str, str]
    revision: int | None
    split: Split | None = None

    def arms(self, digest: str) -> list[str]:
        """Return the names of the arms of a split for which a model decides; a canary is no split."""
        arms = () if self.split is None else self.split.arms
        return [arm.name for arm in arms if arm.model == digest and arm.name != CANARY]

    def text(self, digest: str) -> str:
        """Return a model's role for people; empty if it has none, a question mark if none is known."""
        if self.revision is None:
            return "?"
        role = self.by_digest.get(digest, "")
        arms = () if self.split is None else self.split.arms
        shares = [_arm_text(arm) for arm in arms if arm.model == digest]
        return ", ".join(shares if role in ("canary", "arm") else [_SHOWN.get(role, role), *shares])


def _arm_text(arm: Arm) -> str:
    name = CANARY if arm.name == CANARY else f"arm {arm.name}"
    return f"{name} {share_text(arm.share_bp)}"


def roles_of(lineup: Lineup) -> Roles:
    """Return the present roles; of several roles of a model, the one that matters most."""
    found, canary = dict.fromkeys(lineup.quarantined, "quarantined"), lineup.canary
    arms = () if lineup.split is None else lineup.split.arms
    for digest, role in (
        (lineup.rollback_target, "before"),
        (lineup.challenger_at(now_ms()), "challenger"),
        *((arm.model, "arm") for arm in arms),
        (canary and canary.model, "canary"),
        (lineup.live, "live"),
    ):
        if digest is not None:
            found[digest] = role
    return Roles(found, lineup.revision, lineup.arms)


UNKNOWN = Roles({}, None)


def explained(settings: Settings, error: Exception) -> str:
    """Return what an error of Kafka means, without logins."""
    return without_logins(asyncio.run(explain_error(settings, error)))


def warn(message: str) -> None:
    """Say on standard error what an answer lacks."""
    echo(without_logins(message), err=True)

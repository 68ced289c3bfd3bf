"""The role of each model in a deployment, for `fraudstream model list` and `model show`."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import click

from guards.shares import share_text
from models.lineup import Lineup
from models.logins import without_logins
from stream.clock import now_ms
from stream.kafka.client import explain_error
from stream.settings import Settings

_SHOWN = {"before": "live before"}
"""Roles as people read them, where the one word of the JSON output does not explain itself."""


class Roles(NamedTuple):
    """Roles by digest, and the revision.

    They are `live`, `canary`, `challenger`, `before` (the roll-back target) and `quarantined`.
    The revision is None where the control log could not be read: then no role is known. `share` is the canary's.
    """

    by_digest: Mapping[str, str]
    revision: int | None
    share: str | None = None

    def text(self, digest: str) -> str:
        """Return a model's role for people; empty if it has none, a question mark if none is known."""
        if self.revision is None:
            return "?"
        role = self.by_digest.get(digest, "")
        if role == "canary":
            return f"canary {self.share}"
        return _SHOWN.get(role, role)


def roles_of(lineup: Lineup) -> Roles:
    """Return the present roles; of several roles of a model, the one that matters most."""
    found = dict.fromkeys(lineup.quarantined, "quarantined")
    canary = lineup.canary
    for digest, role in (
        (lineup.rollback_target, "before"),
        (lineup.challenger_at(now_ms()), "challenger"),
        (canary and canary.model, "canary"),
        (lineup.live, "live"),
    ):
        if digest is not None:
            found[digest] = role
    return Roles(found, lineup.revision, None if canary is None else share_text(canary.share_bp))


UNKNOWN = Roles({}, None)


def explained(settings: Settings, error: Exception) -> str:
    """Return what an error of Kafka means, without logins."""
    return without_logins(asyncio.run(explain_error(settings, error)))


def warn(message: str) -> None:
    """Say on standard error what an answer lacks."""
    click.echo(without_logins(message), err=True)

"""The volume of a model that is to be promoted, as evidence: from the shadow, or as manifests expect it.

`models.volume_rules` has what the judge asks of it. Where the fleet has no budget, a volume that moves far is told.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from fraudstream.cli.output import refuse
from fraudstream.cli.progress import ReadingProgress
from fraudstream.cli.refusals import Refusals
from fraudstream.ops.rollout.shadow.report import report
from fraudstream.terminal import echo
from fraudstream_client.outputs import Decision
from models.artifact import MANIFEST, Manifest, read_manifest
from models.errors import ModelError
from models.lineup import Lineup
from models.problems import Problem
from models.times import format_time
from models.volume_rules import VOLUME, StatedVolume, VolumeBasis, beyond_budget
from shadow.tally import Tally
from stream.clock import now_ms
from stream.control.trusted_models import ModelPlace
from stream.errors import ReportError
from stream.settings import Settings

LEAST_COMPARED = 1_000
"""With fewer comparisons of the last day, the manifests' expectations are taken: a share of few payments is chance."""
_FAR = 0.2
"""A change of the alert share by more than this part of it is told where the fleet has no budget."""


def volume_evidence(settings: Settings, lineup: Lineup, model: str) -> Mapping[str, Any]:
    """Return the evidence of a promotion's volume: empty if the fleet has no budget, or no model is live.

    Exits with 1 if the volume is not known or leaves the budget; nothing was sent then.
    """
    budget = None if lineup.limits is None else lineup.limits.volume_budget
    if lineup.live is None:
        return {}
    if budget is None:
        _tell_of_move(settings, lineup.live, model)
        return {}
    found = _from_shadow(settings, lineup.live, model) or _from_manifests(settings, lineup.live, model)
    if isinstance(found, str):
        refuse(f"{found}; nothing was sent. --force promotes all the same, on the record")
    if problems := list(beyond_budget(found, budget)):
        refuse(
            f"{'; '.join(problems)}; nothing was sent. `fraudstream model policy` makes other thresholds; --force "
            "promotes all the same, on the record"
        )
    return {VOLUME: msgspec.to_builtins(found)}


def _tell_of_move(settings: Settings, live: str, model: str) -> None:
    found = _from_manifests(settings, live, model)
    if isinstance(found, str) or found.live_alert_share is None:
        return
    if abs(found.alert_share - found.live_alert_share) > _FAR * found.live_alert_share:
        echo(
            f"warning: alerts are expected on {found.alert_share:.3%} of payments, with the live model on "
            f"{found.live_alert_share:.3%}; `limits set --alert-budget` refuses what a team cannot work on",
            err=True,
        )


def _from_shadow(settings: Settings, live: str, model: str) -> StatedVolume | None:
    """Return what both models said of the payments of the last day; None if too few were compared."""
    with Refusals(settings, "the command was not sent: "):
        try:
            found = asyncio.run(report(settings, model, None, ReadingProgress().show))
        except ReportError:
            return None
    return volume_of_tally(found.tally, found.digest, live)


def volume_of_tally(tally: Tally, model: str, live: str) -> StatedVolume | None:
    """Return the volume that comparisons show; None if there are too few, or some are with another live model."""
    if tally.compared < LEAST_COMPARED or set(tally.opponents) != {live}:
        return None
    approved, declined = tally.decided(Decision.APPROVE), tally.decided(Decision.DECLINE)
    return StatedVolume(
        model=model,
        live=live,
        basis=VolumeBasis.SHADOW,
        payments=tally.compared,
        alert_share=(tally.compared - approved[1]) / tally.compared,
        decline_share=declined[1] / tally.compared,
        live_alert_share=(tally.compared - approved[0]) / tally.compared,
        at=format_time(now_ms()),
    )


def _from_manifests(settings: Settings, live: str, model: str) -> StatedVolume | str:
    """Return what the manifests expect, or why they say nothing."""
    try:
        digest, own = _manifest(settings, model)
        _, other = _manifest(settings, live)
    except (ModelError, LookupError) as error:
        return f"the volume of {model} is not known: {error}"
    if own.volume is None:
        return (
            f"the volume of {model} is not known: fewer than {LEAST_COMPARED:,} decisions were compared in the last "
            "day, and its manifest states none; put it into the shadow, or use `fraudstream model policy --vectors`"
        )
    return StatedVolume(
        model=digest,
        live=live,
        basis=VolumeBasis.MANIFEST,
        payments=own.volume.payments,
        alert_share=own.volume.alert_share,
        decline_share=own.volume.decline_share,
        live_alert_share=None if other.volume is None else other.volume.alert_share,
        at=format_time(now_ms()),
    )


def _manifest(settings: Settings, name: str) -> tuple[str, Manifest]:
    """Return a model's digest and manifest.

    Raises:
        LookupError: there is no such model.
        ModelError: the repository does not answer, or the artifact is damaged.
    """
    repository = ModelPlace(settings.models).open()
    digest = repository.resolve(name)
    if isinstance(digest, Problem):
        raise LookupError(digest.detail)  # noqa: TRY004 - the repository's answer, no type that a caller chose
    return digest, read_manifest(repository.fetch(digest)[MANIFEST])

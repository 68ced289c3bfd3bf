"""What runs beside the guard in its process: incidents told of and sent, live models and payments' fields watched."""

import logging
from pathlib import Path

from fraudstream.ops.folds.beside import FoldThread, FoldThreads
from fraudstream.ops.folds.tail import SharedTail
from fraudstream.ops.rollout.guard.presence import GuardPresence
from fraudstream.ops.watch.drift.checkpoint import DriftCheckpoint
from fraudstream.ops.watch.drift.process import DriftWatcher
from fraudstream.ops.watch.fields.process import FieldWatcher
from fraudstream.ops.watch.incidents.checkpoint import IncidentCheckpoint
from fraudstream.ops.watch.incidents.deliveries import Deliveries
from fraudstream.ops.watch.incidents.process import IncidentTeller
from models.commands import SHORT_DIGEST
from stream.settings import PREFIX, Settings

_GUARD, _INCIDENTS = logging.getLogger("fraudstream.guard"), logging.getLogger("fraudstream.incidents")
_DRIFT, _FIELDS = logging.getLogger("fraudstream.drift"), logging.getLogger("fraudstream.fields")


def beside_guard(settings: Settings, checkpoint: Path | None, tail: SharedTail) -> FoldThreads:
    """Return the folds beside a guard.

    Args:
        settings: those of the guard's process.
        checkpoint: the file of the guard's own checkpoint, if it has one; theirs are beside it.
        tail: what the process fetches.
    """
    kept = None if checkpoint is None else IncidentCheckpoint(checkpoint)
    threads = [tells(IncidentTeller(settings, kept, tail))]
    threads.append(sends(Deliveries(settings)) if settings.incident_webhook else shows(GuardPresence(settings)))
    known = None if checkpoint is None else DriftCheckpoint(checkpoint)
    watched = watches(DriftWatcher(settings, known, tail=tail))
    return FoldThreads(*threads, watched, watches_fields(FieldWatcher(settings)))


def tells(teller: IncidentTeller) -> FoldThread:
    """Return what tells of incidents."""
    return FoldThread(teller, "incidents are not told of", teller.gauges.gauges, _INCIDENTS)


def sends(deliveries: Deliveries) -> FoldThread:
    """Return what sends incidents to a webhook."""
    return FoldThread(deliveries, "incidents are not sent to the webhook", deliveries.gauges, _INCIDENTS)


def shows(presence: GuardPresence) -> FoldThread:
    """Return what shows that the guard runs, where nothing is sent to a webhook."""
    return FoldThread(presence, "`fraudstream status` does not see this guard", presence.gauges, _GUARD)


def watches(watcher: DriftWatcher) -> FoldThread:
    """Return what watches live models for drift, and says which of them it cannot watch."""

    def unknown() -> list[str]:
        named = ", ".join(one[:SHORT_DIGEST] for one in watcher.unknown)
        said = f"models that decide are not in {PREFIX}MODELS, so they are not watched for drift: {named}"
        return [said] if named else []

    return FoldThread(watcher, "live models are not watched for drift", watcher.gauges.gauges, _DRIFT, unknown)


def watches_fields(watcher: FieldWatcher) -> FoldThread:
    """Return what watches the fields of payments, and says where it does not know the declared ones."""

    def unknown() -> list[str]:
        said = (
            f"attributes of payments are not watched, since {PREFIX}FEATURES cannot be loaded here: {watcher.unknown}"
        )
        return [said] if watcher.unknown else []

    return FoldThread(watcher, "the fields of payments are not watched", watcher.gauges, _FIELDS, unknown)

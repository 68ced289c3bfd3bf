"""From what is watched to what was seen of it: empty counts, the reader that fills them, the evidence in them."""

from collections.abc import Mapping

from fraudstream.ops.folds.tail import SharedTail
from fraudstream.ops.rollout.guard.finding import Sight
from fraudstream.ops.rollout.guard.reader import GuardReader
from fraudstream.ops.rollout.guard.watched import Past, Watched
from guards.first_payments import Training
from guards.report import evidence
from guards.row_time import row_time_evidence, slowest
from guards.state import GuardState
from models.times import format_time
from stream.clock import now_ms
from stream.settings import Settings


def empty_state(settings: Settings, watched: Watched) -> GuardState:
    """Return an empty state for what is watched.

    Raises:
        OtherHashKeyError: cards are excluded that are not known here, so that they would be counted.
    """
    if watched.split is not None:
        watched.split.exclude.require_key()
    is_paired = watched.pair is not None
    return GuardState(
        watched.guards,
        settings.deployment,
        watched.shares,
        watched.arms,
        since_ms=watched.since_ms,
        is_paired=is_paired,
    )


def reader_of(
    settings: Settings,
    watched: Watched,
    state: GuardState,
    ids: Mapping[str, str],
    tail: SharedTail | None = None,
    *,
    watches_events: bool = False,
) -> GuardReader:
    """Return a reader of the topics that tell of what is watched."""
    return GuardReader(settings, state, watched.since_ms, watched.pair, ids, tail=tail, watches_events=watches_events)


def sight_of(
    settings: Settings, past: Past, watched: Watched, reader: GuardReader, training: Training | None = None
) -> Sight:
    """Return what a reader has counted of what is watched, with the evidence for a command."""
    read_until_ms = reader.read_until_ms or 0
    about = {
        "watched": str(watched.stretch),
        "since": watched.since,
        "share_bp": watched.share_bp,
        "read_until": format_time(read_until_ms),
    }
    decided = reader.state.decided().get(watched.share_bp, (0, 0))[0]
    blind = (
        f"{tp.topic} partition {tp.partition}: records were removed before they were counted" for tp in reader.lost
    )
    spec = watched.row_time
    row_time = None if spec is None else row_time_evidence(spec, slowest(past.row_times.values()))
    found = evidence(reader.state, about, row_time, training, watched.climb)
    return Sight(now_ms(), read_until_ms, found, decided, (*blind, *silent(settings, past)))


def silent(settings: Settings, past: Past) -> tuple[str, ...]:
    """Return why the guard of this deployment does not act; nothing if its decisions are those that count."""
    if past.publisher in (None, settings.deployment):
        return ()
    return (f"this deployment decides silently: {past.publisher} publishes",)

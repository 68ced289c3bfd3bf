"""What a guard watches now, a canary, a split, or a promotion beside its predecessor: a fold of the event log alone.

Two guards, or one that was restarted, so watch the same from the same revision on.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from fraudstream_client.arms import LIVE, WHOLE_BP
from guards.errors import GuardSpecError
from guards.paired import PAIRED_SHARE_BP, Pair, paired_guards
from guards.report import PROMOTION, breached_kinds, declines_too_much
from guards.row_time import RowTime
from guards.shares import ArmShare, SplitArms
from guards.specs import OF_A_CANARY, ClimbSpec, GuardKind, Guards, RowTimeSpec, default_guards
from models.arms import Split
from models.commands import CommandKind, Event, EventKind
from models.lineup import Lineup, follow
from models.model_record import AFTER_A_BREACH
from models.rollouts import Rollout, row_time_budget
from models.times import stated_ms


class Stretch(StrEnum):
    """What is watched."""

    CANARY = "canary"
    """A canary decides for a share of the cards."""
    SPLIT = "split"
    """The arms of a split decide for fixed shares of the cards."""
    PROMOTION = PROMOTION
    """A model was promoted, and its predecessor scores in the shadow for a while."""


class Watched(NamedTuple):
    """A canary, a split or a promotion that is watched.

    Attributes:
        stretch: which of them.
        since: the revision that began it; with the deployment it names what is watched.
        since_ms: when that was accepted.
        models: the digests of the models that are new: of a split those of the arms, but for the live one.
        other: that of the model which they are compared with.
        guards: what is guarded by counts; without a rollout the default guards.
        rollout: the rollout that it belongs to, if any.
        shares: by revision, the share with which a bad event is the new model's if both are alike: the canary's, or
            one half, since a promotion is watched in pairs; of a split the share of all arms, at each of its revisions.
        share_bp: the share now; 10,000 for a promotion.
        share_since_ms: when the share was set.
        until_ms: when the watch of a promotion ends; else None.
        split: the arms of a split; else None.
    """

    stretch: Stretch
    since: int
    since_ms: int
    models: tuple[str, ...]
    other: str
    guards: Guards
    rollout: Rollout | None
    shares: Mapping[int, int]
    share_bp: int
    share_since_ms: int
    until_ms: int | None = None
    split: Split | None = None

    @property
    def model(self) -> str:
        """The new model of a canary or of a promotion."""
        return self.models[0]

    @property
    def arms(self) -> SplitArms | None:
        """The arms of a split as the guards count them."""
        if self.split is None:
            return None
        arms = (ArmShare(arm.name, arm.share_bp) for arm in self.split.arms)
        return SplitArms((*arms, ArmShare(LIVE, self.split.live_bp)), self.split.exclude)

    @property
    def row_time(self) -> RowTimeSpec | None:
        """The budget of the new model's time, if that is guarded."""
        return row_time_budget(self.rollout)

    @property
    def climb(self) -> ClimbSpec | None:
        """The evidence that rungs ask for; None where nothing climbs."""
        return self.rollout.climb if self.rollout is not None and self.stretch is Stretch.CANARY else None

    @property
    def waived(self) -> frozenset[GuardKind]:
        """The guards that an operator let go on."""
        return frozenset() if self.rollout is None else self.rollout.waived

    @property
    def pair(self) -> Pair | None:
        """The models whose comparisons are counted; None where the scores of two arms are."""
        return Pair(self.model, self.other) if self.stretch is Stretch.PROMOTION else None

    def is_over(self, now_ms: int) -> bool:
        """Tell whether the watch of a promotion has ended by the clock."""
        return self.until_ms is not None and now_ms >= self.until_ms


class Past(NamedTuple):
    """What the log says to a guard.

    Attributes:
        lineup: the deployment's.
        watched: what is to be watched, if anything.
        breached_ms: when guards were last breached.
        retreated_ms: since when a canary that declines too much has been paused, or back at the first rung; None once a
            person has let it go on.
        accepts_declines: whether a person has.
        publisher: the deployment whose decisions count; None before the first promotion.
        row_times: how long a new model takes for a row, by worker and model, as each worker measured last.
    """

    lineup: Lineup
    watched: Watched | None = None
    breached_ms: int | None = None
    retreated_ms: int | None = None
    accepts_declines: bool = False
    publisher: str | None = None
    row_times: Mapping[tuple[str, str | None], RowTime] = MappingProxyType({})


def past_of(deployment: str, events: Iterable[Event], publisher: str | None = None) -> Past:
    """Fold a deployment's events, in the order of the log; `publisher` is whose decisions count."""
    past = Past(Lineup(deployment), publisher=publisher)
    for event in events:
        past = after(past, event)
    return past


def after(past: Past, event: Event) -> Past:
    """Return what the log says after one more event."""
    if event.kind is EventKind.ROW_TIME:
        return _measured(past, event)
    lineup = follow(past.lineup, event)
    if lineup.revision == past.lineup.revision:
        return past._replace(lineup=lineup)
    at_ms = stated_ms(event.at)
    breached = event.command in AFTER_A_BREACH and breached_kinds(event.evidence)
    watched = _watched(past, lineup, at_ms)
    goes_on = watched is not None and past.watched is not None and watched.since == past.watched.since
    return past._replace(
        lineup=lineup,
        watched=watched,
        row_times=past.row_times if goes_on else {},
        breached_ms=at_ms if breached else past.breached_ms,
        retreated_ms=_retreated_ms(past, event, at_ms) if goes_on else None,
        accepts_declines=goes_on and (past.accepts_declines or _resumes(past, event)),
    )


def _resumes(past: Past, event: Event) -> bool:
    """Tell whether a person lets a canary go on that stands back."""
    return event.command is CommandKind.RESUME and past.retreated_ms is not None


def _retreated_ms(past: Past, event: Event, at_ms: int) -> int | None:
    """Return since when a canary stands back, after one more event of it."""
    if event.command is CommandKind.RESUME:
        return None
    before = past.watched
    lowers = event.command is CommandKind.CANARY and before is not None and (event.share_bp or 0) < before.share_bp
    stands_back = event.command is CommandKind.PAUSE or lowers
    if past.retreated_ms is None and stands_back and declines_too_much(event.evidence):
        return at_ms
    return past.retreated_ms


def row_time_of(watched: Watched, event: Event) -> RowTime | None:
    """Return what an event of the deployment reports of the time of what is watched; None if it reports none."""
    if event.kind is not EventKind.ROW_TIME or event.row_us is None:
        return None
    if event.model not in watched.models or event.revision < watched.since:
        return None
    return RowTime(event.row_us, event.worker, event.event_id, event.p95_us, event.p99_us, event.features_us)


def _measured(past: Past, event: Event) -> Past:
    if past.watched is None or event.deployment != past.lineup.deployment:
        return past
    found = row_time_of(past.watched, event)
    return past if found is None else past._replace(row_times={**past.row_times, (found.worker, event.model): found})


def _watched(past: Past, lineup: Lineup, at_ms: int) -> Watched | None:
    if lineup.canary is not None:
        return _canary(past, lineup, at_ms)
    if lineup.split is not None:
        return _split(past, lineup, lineup.split, at_ms)
    if lineup.watched_until_ms is None or lineup.challenger is None or lineup.live is None:
        return None
    before = past.watched
    if before is not None and before.stretch is Stretch.PROMOTION and before.until_ms == lineup.watched_until_ms:
        return before._replace(rollout=lineup.rollout, shares={**before.shares, lineup.revision: PAIRED_SHARE_BP})
    return Watched(
        Stretch.PROMOTION,
        lineup.revision,
        at_ms,
        (lineup.live,),
        lineup.challenger,
        _paired_guards(lineup.rollout),
        lineup.rollout,
        {lineup.revision: PAIRED_SHARE_BP},
        WHOLE_BP,
        at_ms,
        lineup.watched_until_ms,
    )


def _paired_guards(rollout: Rollout | None) -> Guards:
    """Return what watches a promotion: a rollout's guards, or the default ones where none of them works by pairs."""
    try:
        return paired_guards(default_guards() if rollout is None else rollout.guards)
    except GuardSpecError:
        return paired_guards(default_guards())


def _canary(past: Past, lineup: Lineup, at_ms: int) -> Watched:
    assert lineup.canary is not None and lineup.live is not None  # noqa: S101,PT018
    share_bp, before = lineup.canary.share_bp, past.watched
    if past.lineup.canary is None or before is None:
        return Watched(
            Stretch.CANARY,
            lineup.revision,
            at_ms,
            (lineup.canary.model,),
            lineup.live,
            default_guards() if lineup.climbing is None else lineup.climbing.guards,
            lineup.climbing,
            {lineup.revision: share_bp},
            share_bp,
            at_ms,
        )
    return before._replace(
        rollout=lineup.climbing,
        shares={**before.shares, lineup.revision: share_bp},
        share_bp=share_bp,
        share_since_ms=at_ms if share_bp != before.share_bp else before.share_since_ms,
    )


def _split(past: Past, lineup: Lineup, split: Split, at_ms: int) -> Watched:
    before, taken_bp = past.watched, WHOLE_BP - split.live_bp
    if before is not None and before.split == split and past.lineup.split == split:
        return before._replace(shares={**before.shares, lineup.revision: taken_bp})
    return Watched(
        Stretch.SPLIT,
        lineup.revision,
        at_ms,
        tuple(sorted(split.models - {lineup.live})),
        str(lineup.live),
        MappingProxyType({kind: guard for kind, guard in default_guards().items() if kind not in OF_A_CANARY}),
        None,
        {lineup.revision: taken_bp},
        taken_bp,
        at_ms,
        split=split,
    )

"""Where a guard begins that has no checkpoint: at the incidents that are open, and a while before now."""

from collections.abc import Iterable

from fraudstream.ops.watch.incidents.acts import open_breach
from fraudstream.ops.watch.incidents.commands import AcceptedCommands
from fraudstream.ops.watch.incidents.conditions import RefusedRun
from fraudstream.ops.watch.incidents.episode import RuleScope
from fraudstream.ops.watch.incidents.fold import FoldState
from fraudstream.ops.watch.incidents.notices import COUNTED_AGAIN, episode_of, scope_of
from fraudstream.ops.watch.incidents.rules import BURST_SECONDS, MISSED_WINDOW_SECONDS, TOLD_BY_THE_WATCH
from fraudstream_client.incidents import Incident, IncidentRule
from models.commands import CommandKind
from models.times import stated_ms

_MS = 1000
_HOUR_MS = 3_600_000
_WINDOW_MS = _MS * max(BURST_SECONDS, MISSED_WINDOW_SECONDS)
"""So much earlier it begins to read, so that shares and bursts are known from the first second that matters."""


def new_state(incidents: Iterable[Incident], commands: AcceptedCommands, now_ms: int) -> FoldState:
    """Return a state to begin with.

    It begins where the oldest open incident was told of last, where a model that is watched began to decide, and at the
    beginning of the hour before this one, whichever is first. So two guards that begin at about the same time tell the
    same, and what began and ended while none ran is told if that was less than an hour ago.

    Args:
        incidents: the last record of each incident of the deployment.
        commands: what the event log says.
        now_ms: the present time.
    """
    last = [one for one in incidents if one.rule not in TOLD_BY_THE_WATCH]
    begin_ms = min([now_ms // _HOUR_MS * _HOUR_MS - _HOUR_MS, *_beginnings(last, commands)]) - _WINDOW_MS
    state = FoldState(begin_ms // _MS, begin_ms // _MS)
    for incident in last:
        scope = scope_of(incident, commands)
        if not incident.is_open:
            state.muted[scope.key] = max(stated_ms(incident.at) // _MS + 1, state.muted.get(scope.key, 0))
    for incident in last:
        if incident.is_open:
            _open(state, incident, scope_of(incident, commands), commands)
    while (next_s := state.acts.next_s(commands)) is not None and next_s < state.begin_s:
        state.acts.done += 1
    return state


def _beginnings(incidents: Iterable[Incident], commands: AcceptedCommands) -> list[int]:
    """Return the times from which on something is to be counted."""
    is_open = [one for one in incidents if one.is_open]
    found = [stated_ms(one.since if one.rule in COUNTED_AGAIN else one.at) for one in is_open]
    watched_ms = commands.watched_since_ms()
    return found if watched_ms is None else [*found, watched_ms]


def _open(state: FoldState, incident: Incident, scope: RuleScope, commands: AcceptedCommands) -> None:
    """Let an incident go on that is open."""
    state.muted.pop(scope.key, None)
    state.episodes[scope.key] = episode_of(incident)
    if incident.rule is IncidentRule.PARTITION_HALTED and incident.partition is not None:
        log = 0 if incident.opening is None else incident.opening.log
        run = RefusedRun(log, halted=incident.opening, halted_ms=stated_ms(incident.since))
        state.halted.runs[incident.partition] = run
    if incident.rule is IncidentRule.LOSS_ACCEPTED:
        state.acts.losses[scope.scope] = incident.partition
    if incident.rule is IncidentRule.GUARD_BREACH:
        _open_breach(state, scope.scope, commands, stated_ms(incident.at))


def _open_breach(state: FoldState, event_id: str, commands: AcceptedCommands, told_ms: int) -> None:
    """Let the incident of a breach go on, paused if nobody has ended the pause before it was told of last."""
    after = iter(commands.commands)
    found = next((one for one in after if one.event.event_id == event_id), None)
    if found is None or found.watched is None:
        return
    ended = any(one.ends_a_pause and one.at_ms <= told_ms for one in after)
    paused = found.event.command is CommandKind.PAUSE and not ended
    state.acts.breaches[event_id] = open_breach(found, found.watched, paused=paused)

"""What the event log says against models: breaches of guards, and the latest verdict on each; a fold by digest.

A name may be given to other bits, a digest never: so a breach is that of a digest. A demotion is not here, since the
lineup quarantines its model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from guards.arm_report import ARMS
from guards.report import breached_kinds
from models.arms import Split
from models.commands import CommandKind, Event, EventKind
from models.lineup import Lineup
from models.promotion_rules import VERDICT, StatedVerdict, stated_verdict
from models.times import stated_ms

AFTER_A_BREACH = (
    CommandKind.PAUSE,
    CommandKind.END_CANARY,
    CommandKind.END_SPLIT,
    CommandKind.ROLL_BACK,
    CommandKind.DEMOTE,
)
"""A command that raises a share shows guards as breached, too, that a person let go on."""
MOST_BREACHES = 10
"""The latest breaches of a model that are kept; who accepts the last one accepts those before it, too."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What the log of a deployment says against models.

    Attributes:
        breaches: by digest, the acceptances of the commands that ended or paused the model's exposure on the evidence
            of breached guards, oldest first.
        verdicts: by digest, the answer to the command that stated the latest verdict on the model, whatever it says.
        accepted: what commands accepted of the record since the canary or the split began that runs; empty without one.
    """

    breaches: Mapping[str, tuple[Event, ...]] = field(default_factory=lambda: MappingProxyType({}))
    verdicts: Mapping[str, Event] = field(default_factory=lambda: MappingProxyType({}))
    accepted: frozenset[str] = frozenset()


def follow_record(record: ModelRecord, before: Lineup, event: Event, after: Lineup) -> ModelRecord:
    """Return the record after one more event; `before` and `after` are the lineups around it.

    An event that the lineup takes for void changes nothing here, so that all workers keep the same record.
    """
    if after is before:
        return record
    breaking = _models_of_breach(before, event)
    if breaking:
        added = {digest: (*record.breaches.get(digest, ()), event)[-MOST_BREACHES:] for digest in sorted(breaking)}
        record = replace(record, breaches=MappingProxyType({**record.breaches, **added}))
    verdict = verdict_of(event)
    if verdict is not None and verdict_ms(event) >= verdict_ms(record.verdicts.get(verdict.challenger)):
        record = replace(record, verdicts=MappingProxyType({**record.verdicts, verdict.challenger: event}))
    accepted = frozenset[str]() if after.arms is None else record.accepted.union(event.despite)
    return record if accepted == record.accepted else replace(record, accepted=accepted)


def verdict_of(event: Event | None) -> StatedVerdict | None:
    """Return the verdict that an event's evidence states; None if it states none."""
    return None if event is None else stated_verdict((event.evidence or {}).get(VERDICT))


def verdict_ms(event: Event | None) -> int:
    """Return when the verdict was given that an event states, at the latest when the event was written; else 0.

    One that states a time in the future would otherwise stand before all later ones.
    """
    verdict = verdict_of(event)
    return 0 if event is None or verdict is None else min(stated_ms(verdict.at), stated_ms(event.at))


def _models_of_breach(before: Lineup, event: Event) -> frozenset[str]:
    """Return the models whose exposure an event ended or paused on the evidence of breached guards."""
    if event.kind is not EventKind.ACCEPTED or event.command not in AFTER_A_BREACH:
        return frozenset()
    if not breached_kinds(event.evidence):
        return frozenset()
    if before.canary is not None:
        return frozenset({before.canary.model})
    if before.split is not None:
        return _arms_of_breach(before.split, event.evidence) - {before.live}
    ends_live = event.command in (CommandKind.ROLL_BACK, CommandKind.DEMOTE) and before.live is not None
    return frozenset({str(before.live)}) if ends_live else frozenset()


def _arms_of_breach(split: Split, evidence: Any) -> frozenset[str]:  # noqa: ANN401 - anybody may send evidence of any form
    """Return the models of the arms that some evidence finds beyond a bound; of all arms if it does not tell which."""
    guards, names = evidence["guards"], set[str]()
    for kind in breached_kinds(evidence):
        rows, bound = guards[kind].get(ARMS), guards[kind].get("bound")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and _is_beyond(row.get("e"), bound):
                names.add(str(row.get("arm")))
    named = frozenset(arm.model for arm in split.arms if arm.name in names)
    return named or split.models


def _is_beyond(value: Any, bound: Any) -> bool:  # noqa: ANN401 - likewise
    return isinstance(value, int | float) and isinstance(bound, int | float) and value >= bound

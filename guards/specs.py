"""What guards a rollout: for each kind of bad event the false-alarm probability, the tolerated factor, and the action.

`guards` of a `rollout` command is these as plain JSON: an object of kinds, each with `alpha`, `factor` and `action`;
`row_time`, which counts no events, has `budget_us` and `action`; `climb` is the evidence that a rung asks for.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from fraudstream_client.arms import WHOLE_BP
from guards.errors import GuardSpecError
from guards.evidence import CLIMB_RATIO, LARGEST_RATIO

LARGEST_ALPHA = 0.2
"""The largest total alpha: a rollout that is stopped without cause once in five times guards nothing."""
_LARGEST_FACTOR = LARGEST_RATIO / 2
LARGEST_BUDGET_US = 1_000_000.0


class GuardKind(StrEnum):
    """What a guard watches. The first four count the first bad event of each card, the next three its first payment."""

    REVIEWED = "reviewed"
    """The arm's model, or its rules, decided `review` before a cap or a let-through: too often or too seldom."""
    DECLINED = "declined"
    """The arm's model, or its rules, decided `decline` before a cap or a let-through: too often or too seldom."""
    STOOD_IN = "stood_in"
    """The arm's model gave no score, so another model or the rules decided."""
    FRAUD_APPROVED = "fraud_approved"
    """An approved payment was later labelled as fraud."""
    SAMPLE_RATIO = "sample_ratio"
    """Cards are not divided as the share says: an arm loses cards, or cards are assigned wrongly."""
    SCORES = "scores"
    """The canary's scores are distributed otherwise than the live model's."""
    UNSEEN = "unseen"
    """The canary's features are undefined, or its scores lie outside what its training saw, more often than there."""
    ROW_TIME = "row_time"
    """The new model takes more processor time for a row than its budget, as a worker measured."""


class Action(StrEnum):
    """What follows a breach."""

    HOLD = "hold"
    """The share stays as it is until an operator decides."""
    ROLL_BACK = "roll_back"
    """The canary ends at once."""


TWO_SIDED = frozenset({GuardKind.REVIEWED, GuardKind.DECLINED})
"""Too few of these are a breach as well; each side has half of the alpha."""
OF_A_CANARY = frozenset({GuardKind.SCORES, GuardKind.UNSEEN})
"""Only a canary has these guards: its cards are divided by chance from those of the live model."""


class GuardSpec(msgspec.Struct, frozen=True):
    """One guard of a rollout.

    Attributes:
        alpha: the probability of a false alarm of this guard over the whole rollout, however often it is looked at.
        factor: the ratio of the canary's rate to the live model's that is tolerated, 1 (none) to 10; of too few events
            its inverse.
        action: what follows a breach. Too few events hold, whatever it is: a better model has fewer, too.
    """

    alpha: float
    action: Action
    factor: float = 1.0

    def bound(self, tests: int = 1) -> float:
        """Return the E at which one of several tests, which have equal parts of the alpha, is a breach."""
        return tests / self.alpha


Guards = Mapping[GuardKind, GuardSpec]
"""The guards that count events, by kind; `RowTimeSpec` is beside them."""


class RowTimeSpec(msgspec.Struct, frozen=True):
    """The budget of the new model's time.

    Attributes:
        budget_us: the microseconds of processor time that the new model may take for a row, at the median of its calls
            on any worker: above 0, at most 1,000,000.
        action: what follows a breach.
    """

    budget_us: float
    action: Action = Action.HOLD


DEFAULT_ROW_TIME = RowTimeSpec(2_000.0)
"""A model that keeps to it lets a worker score at least 500 payments a second."""


class ClimbSpec(msgspec.Struct, frozen=True):
    """The evidence that a rollout needs to climb: that the canary has fewer than `ratio` times as many bad events.

    Attributes:
        kinds: of which bad events, of those that are guarded; none asks for no evidence.
        ratio: the ratio that has to be excluded, above 1 and at most 10.
        alpha: the probability that a canary with so many bad events climbs nevertheless, for each kind.
        from_bp: the lowest share that is asked for evidence, in units of 0.01 %.
    """

    kinds: tuple[GuardKind, ...] = (GuardKind.DECLINED, GuardKind.REVIEWED)
    ratio: float = CLIMB_RATIO
    alpha: float = 0.05
    from_bp: int = 2_500

    @property
    def bound(self) -> float:
        """The E that suffices."""
        return 1 / self.alpha


NO_CLIMB = ClimbSpec(())
"""Rungs ask for their time and their decisions alone, as in rollouts of earlier versions."""
CLIMB = "climb"
_BESIDE = frozenset({str(GuardKind.ROW_TIME), CLIMB})
"""What `guards` has beside those that count events."""

PARTS_OF_ALPHA: Mapping[GuardKind, int] = MappingProxyType(
    {
        GuardKind.REVIEWED: 10,
        GuardKind.DECLINED: 10,
        GuardKind.STOOD_IN: 10,
        GuardKind.FRAUD_APPROVED: 10,
        GuardKind.SAMPLE_RATIO: 4,
        GuardKind.SCORES: 3,
        GuardKind.UNSEEN: 3,
    }
)
"""How a rollout's alpha is divided among its guards, in parts of their sum: less to those that see every payment."""

ACTIONS: Mapping[GuardKind, Action] = MappingProxyType(
    {
        GuardKind.REVIEWED: Action.HOLD,
        GuardKind.DECLINED: Action.ROLL_BACK,
        GuardKind.STOOD_IN: Action.ROLL_BACK,
        GuardKind.FRAUD_APPROVED: Action.ROLL_BACK,
        GuardKind.SAMPLE_RATIO: Action.HOLD,
        GuardKind.SCORES: Action.HOLD,
        GuardKind.UNSEEN: Action.HOLD,
    }
)
"""What follows a breach by default: what hurts a cardholder or costs money rolls back; the rest needs a person."""

SCORES_FACTOR = 3.0
"""Another model's scores are distributed otherwise: by default three times as many, or a third, of a kind pass."""

TOTAL_ALPHA = 0.05


def default_guards(total_alpha: float = TOTAL_ALPHA) -> Guards:
    """Return all guards that count events, with the alpha divided by `PARTS_OF_ALPHA`: of 0.05, 0.01 for a bad event.

    Raises:
        GuardSpecError: the alpha is not above 0 and at most 0.2.
    """
    parts = sum(PARTS_OF_ALPHA.values())
    divided = {
        kind: GuardSpec(total_alpha * part / parts, ACTIONS[kind], SCORES_FACTOR if kind is GuardKind.SCORES else 1.0)
        for kind, part in PARTS_OF_ALPHA.items()
    }
    return _valid(divided)


def total_alpha(guards: Guards) -> float:
    """Return the probability at most of a false alarm of any of the guards: the sum of their alphas."""
    return sum(guard.alpha for guard in guards.values())


def read_guards(value: object) -> Guards:
    """Read those of the `guards` of a command that count events from plain JSON; all of it must be right.

    Raises:
        GuardSpecError: a kind or field is unknown, missing or out of range; the message names each of them.
    """
    if not isinstance(value, dict):
        raise GuardSpecError(f'guards: expected an object such as {{"declined": {{…}}}}, got {type(value).__name__}')
    found, problems = dict[GuardKind, GuardSpec](), list[str]()
    for name, fields in value.items():
        if name in _BESIDE:
            problems += _row_time_problems(fields) if name == GuardKind.ROW_TIME else _climb_problems(fields, value)
            continue
        if name not in set(GuardKind):
            kinds = f"{', '.join(GuardKind)}; `{CLIMB}` is beside them"
            problems.append(f"guards.{str(name)[:40]}: unknown kind; the kinds are {kinds}")
            continue
        if unknown := _unknown(fields, GuardSpec):
            problems.append(f"guards.{name}.{unknown}: unknown field; a guard has alpha, factor and action")
            continue
        try:
            found[GuardKind(name)] = msgspec.convert(fields, GuardSpec)
        except msgspec.ValidationError as error:
            problems.append(f"guards.{name}: {error}")
    if problems:
        raise GuardSpecError("; ".join(problems))
    return _valid(found)


def read_row_time(value: object) -> RowTimeSpec | None:
    """Read the budget of the new model's time from the `guards` that `read_guards` has read; None if there is none."""
    fields = value.get(GuardKind.ROW_TIME) if isinstance(value, dict) else None
    return None if fields is None else msgspec.convert(fields, RowTimeSpec)


def _row_time_problems(fields: object) -> Iterator[str]:
    name = f"guards.{GuardKind.ROW_TIME}"
    if unknown := _unknown(fields, RowTimeSpec):
        yield f"{name}.{unknown}: unknown field; it has budget_us and action"
        return
    try:
        spec = msgspec.convert(fields, RowTimeSpec)
    except msgspec.ValidationError as error:
        yield f"{name}: {error}"
        return
    if not 0 < spec.budget_us <= LARGEST_BUDGET_US:
        yield f"{name}.budget_us: {spec.budget_us:g} is not above 0 and at most {LARGEST_BUDGET_US:,.0f}"


def read_climb(value: object) -> ClimbSpec | None:
    """Read the evidence to climb from the `guards` that `read_guards` has read; None if they do not say."""
    if not isinstance(value, dict) or CLIMB not in value:
        return None
    return NO_CLIMB if value[CLIMB] is None else msgspec.convert(value[CLIMB], ClimbSpec)


def _climb_problems(fields: object, guards: Mapping[str, object]) -> Iterator[str]:
    name = f"guards.{CLIMB}"
    if unknown := _unknown(fields, ClimbSpec):
        yield f"{name}.{unknown}: unknown field; it has kinds, ratio, alpha and from_bp"
        return
    try:
        spec = NO_CLIMB if fields is None else msgspec.convert(fields, ClimbSpec)
    except msgspec.ValidationError as error:
        yield f"{name}: {error}"
        return
    for kind in spec.kinds:
        if kind not in TWO_SIDED or kind not in guards:
            yield f"{name}.kinds: {kind} is not one of {', '.join(sorted(TWO_SIDED))} that is guarded: it has no counts"
    if not 1 < spec.ratio <= _LARGEST_FACTOR:
        yield f"{name}.ratio: {spec.ratio:g} is not above 1 and at most {_LARGEST_FACTOR:g}"
    if not 0 < spec.alpha < 1:
        yield f"{name}.alpha: {spec.alpha:g} is not above 0 and below 1"
    if not 0 < spec.from_bp <= WHOLE_BP:
        yield f"{name}.from_bp: {spec.from_bp} is not from 1 to {WHOLE_BP} (0.01 % each)"


def _unknown(fields: object, spec: type[msgspec.Struct]) -> str | None:
    known = set(spec.__struct_fields__)
    return next((str(one)[:40] for one in fields if one not in known), None) if isinstance(fields, dict) else None


def guards_json(guards: Guards, row_time: RowTimeSpec | None = None, climb: ClimbSpec | None = None) -> dict[str, Any]:
    """Return the guards as plain JSON, which `read_guards`, `read_row_time` and `read_climb` read."""
    found = {str(kind): msgspec.to_builtins(guard) for kind, guard in guards.items()}
    if row_time is not None:
        found[str(GuardKind.ROW_TIME)] = msgspec.to_builtins(row_time)
    if climb is not None:
        found[CLIMB] = msgspec.to_builtins(climb) | {"kinds": [str(kind) for kind in climb.kinds]}
    return found


def default_climb(guards: Guards) -> ClimbSpec:
    """Return the evidence that a rung asks for by default: of those bad events that are guarded."""
    return ClimbSpec(tuple(kind for kind in ClimbSpec().kinds if kind in guards))


def guards_in_full(stated: object) -> dict[str, Any]:
    """Return the `guards` of a command with every field stated; the evidence to climb is the default one if absent.

    Raises:
        GuardSpecError: see `read_guards`.
    """
    guards, climb = read_guards(stated), read_climb(stated)
    return guards_json(guards, read_row_time(stated), default_climb(guards) if climb is None else climb)


def problems_of(guards: Guards) -> tuple[str, ...]:
    """Return everything that is wrong with guards; nothing if they can be used."""
    problems = [] if guards else ["guards: none that counts events; a rollout needs at least one"]
    for kind, guard in guards.items():
        if not 0 < guard.alpha <= LARGEST_ALPHA:
            problems.append(f"guards.{kind}.alpha: {guard.alpha:g} is not above 0 and at most {LARGEST_ALPHA:g}")
        if not 1 <= guard.factor <= _LARGEST_FACTOR:
            problems.append(f"guards.{kind}.factor: {guard.factor:g} is not from 1 to {_LARGEST_FACTOR:g}")
        if kind in (GuardKind.SAMPLE_RATIO, GuardKind.UNSEEN) and guard.factor != 1:
            problems.append(f"guards.{kind}.factor: {guard.factor:g}, but {kind} has no such tolerance; leave it out")
    if not problems and total_alpha(guards) > LARGEST_ALPHA * (1 + 1e-9):
        problems.append(
            f"guards: their alphas add up to {total_alpha(guards):g}, which is above {LARGEST_ALPHA:g}; lower them"
        )
    return tuple(problems)


def _valid(guards: Guards) -> Guards:
    if problems := problems_of(guards):
        raise GuardSpecError("; ".join(problems))
    return MappingProxyType(dict(guards))

"""What guards a rollout: for each kind of bad event the false-alarm probability, the tolerated factor, and the action.

`guards` of a `rollout` command is these as plain JSON: an object of kinds, each with `alpha`, `factor` and `action`;
`row_time`, which counts no events, has `budget_us` and `action`.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from guards.errors import GuardSpecError
from guards.evidence import LARGEST_RATIO

LARGEST_ALPHA = 0.2
"""The largest total alpha: a rollout that is stopped without cause once in five times guards nothing."""
_LARGEST_FACTOR = LARGEST_RATIO / 2
LARGEST_BUDGET_US = 1_000_000.0


class GuardKind(StrEnum):
    """What a guard watches; all but the last two count the first bad event of each card."""

    REVIEWED = "reviewed"
    """The arm's model or the rules beside it decided `review`, before a cap or a let-through overruled that."""
    DECLINED = "declined"
    """The arm's model or the rules beside it decided `decline`, before a cap or a let-through overruled that."""
    STOOD_IN = "stood_in"
    """The arm's model gave no score, so another model or the rules decided."""
    FRAUD_APPROVED = "fraud_approved"
    """An approved payment was later labelled as fraud."""
    SAMPLE_RATIO = "sample_ratio"
    """Cards are not divided as the share says: an arm loses cards, or cards are assigned wrongly."""
    ROW_TIME = "row_time"
    """The new model takes more processor time for a row than its budget, as a worker measured."""


class Action(StrEnum):
    """What follows a breach."""

    HOLD = "hold"
    """The share stays as it is until an operator decides."""
    ROLL_BACK = "roll_back"
    """The canary ends at once."""


class GuardSpec(msgspec.Struct, frozen=True):
    """One guard of a rollout.

    Attributes:
        alpha: the probability of a false alarm of this guard over the whole rollout, however often it is looked at.
        factor: the ratio of the canary's rate to the live model's that is tolerated, 1 (none) to 10.
        action: what follows a breach.
    """

    alpha: float
    action: Action
    factor: float = 1.0

    @property
    def bound(self) -> float:
        """The E at which the guard is breached."""
        return 1 / self.alpha


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

PARTS_OF_ALPHA: Mapping[GuardKind, int] = MappingProxyType(
    {
        GuardKind.REVIEWED: 1,
        GuardKind.DECLINED: 1,
        GuardKind.STOOD_IN: 1,
        GuardKind.FRAUD_APPROVED: 1,
        GuardKind.SAMPLE_RATIO: 1,
    }
)
"""How a rollout's alpha is divided among its guards, in parts of their sum."""

ACTIONS: Mapping[GuardKind, Action] = MappingProxyType(
    {
        GuardKind.REVIEWED: Action.HOLD,
        GuardKind.DECLINED: Action.ROLL_BACK,
        GuardKind.STOOD_IN: Action.ROLL_BACK,
        GuardKind.FRAUD_APPROVED: Action.ROLL_BACK,
        GuardKind.SAMPLE_RATIO: Action.HOLD,
    }
)
"""What follows a breach by default: what hurts a cardholder or costs money rolls back; the rest needs a person."""

TOTAL_ALPHA = 0.05


def default_guards(total_alpha: float = TOTAL_ALPHA) -> Guards:
    """Return all guards that count events, with the alpha divided by `PARTS_OF_ALPHA`: 0.01 each by default.

    Raises:
        GuardSpecError: the alpha is not above 0 and at most 0.2.
    """
    parts = sum(PARTS_OF_ALPHA.values())
    divided = {kind: GuardSpec(total_alpha * part / parts, ACTIONS[kind]) for kind, part in PARTS_OF_ALPHA.items()}
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
        if name == GuardKind.ROW_TIME:
            problems += _row_time_problems(fields)
            continue
        if name not in set(GuardKind):
            problems.append(f"guards.{str(name)[:40]}: unknown kind; the kinds are {', '.join(GuardKind)}")
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


def _unknown(fields: object, spec: type[msgspec.Struct]) -> str | None:
    known = set(spec.__struct_fields__)
    return next((str(one)[:40] for one in fields if one not in known), None) if isinstance(fields, dict) else None


def guards_json(guards: Guards, row_time: RowTimeSpec | None = None) -> dict[str, Any]:
    """Return the guards as plain JSON, which `read_guards` and `read_row_time` read."""
    found = {str(kind): msgspec.to_builtins(guard) for kind, guard in guards.items()}
    return found if row_time is None else {**found, str(GuardKind.ROW_TIME): msgspec.to_builtins(row_time)}


def guards_in_full(stated: object) -> dict[str, Any]:
    """Return the `guards` of a command with every field stated.

    Raises:
        GuardSpecError: see `read_guards`.
    """
    return guards_json(read_guards(stated), read_row_time(stated))


def problems_of(guards: Guards) -> tuple[str, ...]:
    """Return everything that is wrong with guards; nothing if they can be used."""
    problems = [] if guards else ["guards: none that counts events; a rollout needs at least one"]
    for kind, guard in guards.items():
        if not 0 < guard.alpha <= LARGEST_ALPHA:
            problems.append(f"guards.{kind}.alpha: {guard.alpha:g} is not above 0 and at most {LARGEST_ALPHA:g}")
        if not 1 <= guard.factor <= _LARGEST_FACTOR:
            problems.append(f"guards.{kind}.factor: {guard.factor:g} is not from 1 to {_LARGEST_FACTOR:g}")
        if kind is GuardKind.SAMPLE_RATIO and guard.factor != 1:
            problems.append(
                f"guards.{kind}.factor: {guard.factor:g}, but a sample ratio has no tolerance; leave it out"
            )
    if not problems and total_alpha(guards) > LARGEST_ALPHA * (1 + 1e-9):
        problems.append(
            f"guards: their alphas add up to {total_alpha(guards):g}, which is above {LARGEST_ALPHA:g}; lower them"
        )
    return tuple(problems)


def _valid(guards: Guards) -> Guards:
    if problems := problems_of(guards):
        raise GuardSpecError("; ".join(problems))
    return MappingProxyType(dict(guards))

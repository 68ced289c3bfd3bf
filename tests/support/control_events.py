"""Events of a control log for unit tests: a log that judges, workers and restores may have written."""

from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

from models.commands import AcceptedArm, Command, CommandKind, Event, EventKind, encode
from models.event_log import EventLog
from models.lineup import Lineup, follow

MODELS = tuple(letter * 64 for letter in "abc")
AT = "2026-01-01T00:00:00.000Z"
A_MINUTE_LATER = "2026-01-01T00:01:00.000Z"


def command(kind: str, model: str | None = None, **fields: Any) -> Command:
    """Return a command of `ann` to the deployment `default`, which expires a minute after `AT`."""
    named = {"command_id": "c-1", "deployment": "default", "expected_revision": 0, "actor": "ann", "reason": ""}
    times = {"issued_at": AT, "expires_at": A_MINUTE_LATER}
    return Command(kind=CommandKind(kind), model=model, **(named | times | fields))


def event(kind: str, revision: int, event_id: str, **fields: Any) -> Event:
    """Return an event of the deployment `default`, unless the fields name another."""
    named = {"deployment": "default", "worker": "w-1", "at": AT} | fields
    return Event(event_id=event_id, kind=EventKind(kind), revision=revision, **named)


def accepted(revision: int, kind: str = "promote", model: str | None = None, **fields: Any) -> Event:
    """Return the acceptance of a command that makes a revision."""
    model = MODELS[revision % 3] if model is None and kind in {"promote", "challenge"} else model
    name = fields.pop("event_id", f"e-{revision}-{fields.get('deployment', 'default')}")
    named = {"command_id": f"c-{name}", "command": CommandKind(kind), "model": model} | fields
    return event("accepted", revision, name, **named)


def read(events: Iterable[Event | bytes], begin: int = 0, deployment: str = "default") -> EventLog:
    """Read a log that begins at an offset; `events` are those that are still there."""
    records = [value if isinstance(value, bytes) else encode(value) for value in events]
    log = EventLog(deployment)
    log.seek(begin, begin + len(records))
    for offset, value in enumerate(records, start=begin):
        log.add(offset, value)
    return log


def restore_of(values: Iterable[bytes], name: str = "r-1") -> Iterator[bytes]:
    """Yield what a restore of these records writes."""
    records = list(values)
    yield encode(event("restoring", 0, f"{name}-begun", command_id=name, actor="ann", reason="test"))
    yield from records
    yield encode(event("restored", 0, f"{name}-done", command_id=name, records=len(records)))


def _divided(command: str) -> dict[str, Any]:
    """Return what an acceptance about a split has."""
    if command == CommandKind.SPLIT:
        arms = {name: AcceptedArm(model, 1_000) for name, model in zip("ab", MODELS, strict=False)}
        return {"arms": arms, "salt": "s", "exclude": ("card-1",)}
    return {"winner": "b"} if command == CommandKind.END_SPLIT else {}


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Logs of two deployments: verdicts, some of them void or refused, and what workers report."""
    lineups = {name: Lineup(name) for name in ("default", "other")}
    log: list[Event] = []
    for number in range(draw(st.integers(0, 25))):
        name = draw(st.sampled_from(["default", "default", "other"]))
        revision, at = lineups[name].revision, {"deployment": name}
        kind = draw(st.sampled_from(["accepted", "accepted", "void", "refused", "cutover", "ready", "shadow"]))
        if kind in {"accepted", "void"}:
            command = draw(st.sampled_from([kind.value for kind in CommandKind]))
            after = revision if kind == "void" else revision + 1
            one = accepted(
                after, command, draw(st.sampled_from(MODELS)), event_id=f"e-{number}", **at, **_divided(command)
            )
        else:
            one = event(kind, revision, f"e-{number}", command_id=f"c-{number}", **at)
        log.append(one)
        lineups[name] = follow(lineups[name], one)
    return log

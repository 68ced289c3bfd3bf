"""The history of a deployment says of each verdict what it changed, and which command it answers."""

from typing import Any

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from hypothesis import given

from models.commands import Command, CommandKind, Event
from models.lineup import Lineup, follow
from stream.control import client
from stream.control.history import History, ModelRoles, history_of
from stream.settings import Settings
from support.control_events import AT, MODELS, accepted, event, logs

A, B, C = MODELS
NONE = ModelRoles(None, None, frozenset())


def command(command_id: str, kind: str, **fields: Any) -> Command:
    named: dict[str, Any] = {
        "deployment": "default",
        "expected_revision": 0,
        "actor": "ann",
        "reason": f"reason of {command_id}",
        "issued_at": AT,
        "expires_at": "2026-01-01T00:01:00.000Z",
    }
    return Command(command_id=command_id, kind=CommandKind(kind), **named | fields)


def history(*events: Event, commands: tuple[Command, ...] = ()) -> History:
    return history_of("default", events, {one.command_id: one for one in commands})


def test_a_promotion_changes_the_live_model_and_a_watched_one_the_challenger_too() -> None:
    until = "2026-01-01T01:00:00.000Z"
    first, second = history(accepted(1, model=A), accepted(2, model=B, watch_until=until)).entries
    assert (first.before, first.after) == (NONE, ModelRoles(A, None, frozenset()))
    assert (second.before, second.after) == (first.after, ModelRoles(B, A, frozenset()))
    assert second.watched_until_ms == 1_767_229_200_000
    assert first.concerns(A)
    assert second.concerns(A)
    assert not first.concerns(B)


def test_a_watch_that_ended_by_the_clock_is_not_a_change_of_the_next_command() -> None:
    watched = accepted(2, model=B, watch_until="2026-01-01T01:00:00.000Z")
    *_, challenged = history(
        accepted(1, model=A), watched, accepted(3, "challenge", C, at="2026-01-01T02:00:00.000Z")
    ).entries
    assert (challenged.before.challenger, challenged.after.challenger) == (None, C)


def test_a_demotion_quarantines_and_is_an_entry_of_both_models() -> None:
    *_, demoted = history(accepted(1, model=A), accepted(2, model=B), accepted(3, "demote", A)).entries
    assert demoted.after == ModelRoles(A, None, frozenset({B}))
    assert demoted.concerns(A)
    assert demoted.concerns(B)
    assert not demoted.concerns(C)


def test_a_verdict_behind_another_one_on_the_same_command_or_revision_is_void() -> None:
    first = accepted(1, model=A)
    again, late = accepted(2, model=B, command_id=first.command_id), accepted(1, model=C, event_id="late")
    found = history(first, again, late)
    assert [entry.void for entry in found.entries] == [False, True, True]
    assert [entry.before == entry.after for entry in found.entries] == [False, True, True]
    assert found.lineup.live == A


def test_a_verdict_has_the_command_that_it_answers() -> None:
    known = command("c-e-1-default", "promote")
    refused = event("refused", 1, "r", command_id="c-2", command=CommandKind.PROMOTE)
    found = history(accepted(1, model=A), refused, commands=(known,))
    assert [entry.command for entry in found.entries] == [known, None]


@pytest.mark.parametrize("kind", [None, CommandKind.DEMOTE])
def test_the_refusal_of_a_record_that_is_no_command_has_no_sender(kind: CommandKind | None) -> None:
    refused = event("refused", 0, "r", command_id="c-1", command=kind)
    (entry,) = history(refused, commands=(command("c-1", "promote"),)).entries
    assert entry.command is None
    assert not entry.void


@given(logs())
def test_the_last_roles_are_those_of_the_lineup_and_no_entry_leaves_a_gap(log: list[Event]) -> None:
    own = [one for one in log if one.deployment == "default"]
    found, lineup = history_of("default", own, {}), Lineup("default")
    for one in own:
        lineup = follow(lineup, one)
    assert found.lineup == lineup
    for one, following in zip(found.entries, found.entries[1:], strict=False):
        assert (one.after.live, one.after.quarantined) == (following.before.live, following.before.quarantined)


async def read(monkeypatch: pytest.MonkeyPatch, commands: Any) -> History:
    async def events(_settings: Settings) -> list[Event]:
        return [accepted(1, model=A)]

    monkeypatch.setattr(client, "read_events", events)
    monkeypatch.setattr(client, "read_commands", commands)
    return await client.read_history(Settings())


async def test_verdicts_are_read_with_the_commands_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def commands(_settings: Settings) -> dict[str, Command]:
        return {"c-e-1-default": command("c-e-1-default", "promote")}

    found = await read(monkeypatch, commands)
    assert found.unknown is None
    assert [entry.command and entry.command.reason for entry in found.entries] == ["reason of c-e-1-default"]


async def test_without_the_right_to_read_commands_the_verdicts_are_there_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def commands(_settings: Settings) -> dict[str, Command]:
        raise TopicAuthorizationFailedError("model-control")

    found = await read(monkeypatch, commands)
    assert found.unknown is not None
    assert "model-control: an anonymous client lacks a permission" in found.unknown
    assert [(entry.command, entry.after.live) for entry in found.entries] == [(None, A)]

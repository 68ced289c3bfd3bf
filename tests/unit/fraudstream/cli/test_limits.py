"""`fraudstream limits`: what `set` sends, and how `show` says what is in force."""

import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaError
from click.testing import Result

from fraudstream.cli import let_through, limits
from models.commands import CommandKind
from models.let_through import LetThrough, LetThroughTotals, LetThroughWish
from models.limits import Limits
from models.lineup import Lineup
from models.terms import Term
from models.times import day_of
from models.volume import VolumeBudget
from stream.clock import now_ms
from stream.control.client import CommandRequest
from stream.settings import Settings
from support.command_line import answer_reads, record_requests, run_command
from support.control_events import accepted


def run(*arguments: str) -> Result:
    return run_command("limits", *arguments)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[CommandRequest]:
    """The requests that are sent; each is accepted."""
    return record_requests(monkeypatch, lambda request: accepted(3, "limits", limits=Limits(request.decline_cap)))


@pytest.mark.parametrize(
    ("text", "share", "said"),
    [
        ("2%", 0.02, "declines capped at 2%"),
        ("0.05 %", 0.0005, "declines capped at 0.05%"),
        ("7.25%", 0.0725, "declines capped at 7.25%"),
        ("off", 1.0, "no cap on declines"),
    ],
)
def test_a_cap_is_set_and_taken_away(sent: list[CommandRequest], text: str, share: float, said: str) -> None:
    options = ("--reason", "harm", "--expected-revision", "2", "--wait", "5")
    result = run("set", "--decline-cap", text, *options)
    assert (result.exit_code, result.stdout) == (0, f"2026-01-01T00:00:00.000Z  revision 3  accepted  limits {said}\n")
    expected = CommandRequest(CommandKind.LIMITS, "ann", "harm", 5.0, expected_revision=2, decline_cap=share)
    assert sent == [expected]
    assert json.loads(run("set", "--decline-cap", text, "--json").stdout)["limits"] == {"decline_cap": share}


@pytest.mark.parametrize("text", ["0%", "101%", "2", "0.02", "0.001%", "none"])
def test_what_is_no_share_of_decisions_is_refused_before_anything_is_sent(
    sent: list[CommandRequest], text: str
) -> None:
    result = run("set", "--decline-cap", text)
    assert (result.exit_code, sent) == (2, [])
    assert "a share is a percentage from 0.01% to 100%" in result.stderr
    assert "`off` removes the cap" in result.stderr


@pytest.mark.parametrize(
    ("found", "text", "cap"),
    [
        (None, "revision 7: no cap on declines", None),
        (Limits(1.0), "revision 7: no cap on declines", None),
        (
            Limits(0.02),
            (
                "revision 7: declines capped at 2%, that is 40 of the last 2,000 decisions of an arm in a partition; "
                "what is declined beyond it is reviewed"
            ),
            0.02,
        ),
    ],
)
def test_what_is_in_force_is_shown(
    monkeypatch: pytest.MonkeyPatch, found: Limits | None, text: str, cap: float | None
) -> None:
    fold = SimpleNamespace(lineup=Lineup("default", 7, limits=found), term=Term())

    answer_reads(monkeypatch, "read_fold", lambda: fold, limits)
    assert run("show").stdout == f"{text}\n"
    shown = {"deployment": "default", "revision": 7, "decline_cap": cap, "let_through": None}
    shown |= {"promote_needs_verdict": False, "volume_budget": None}
    assert json.loads(run("show", "--json").stdout) == shown


# --- a budget of alerts


@pytest.mark.parametrize(
    ("arguments", "budget"),
    [
        (("--alert-budget", "0.6%"), VolumeBudget(0.006)),
        (("--alert-budget", "0.6%", "--decline-budget", "0%", "--volume-change", "20%"), VolumeBudget(0.006, 0.0, 0.2)),
        (("--volume-change", "20%"), VolumeBudget(change=0.2)),
        (("--alert-budget", "off"), VolumeBudget()),
    ],
)
def test_a_budget_of_alerts_is_set_and_taken_away(
    sent: list[CommandRequest], arguments: tuple[str, ...], budget: VolumeBudget
) -> None:
    result = run("set", *arguments, "--reason", "a team of twelve")
    assert result.exit_code == 0, result.stderr
    assert sent == [CommandRequest(CommandKind.LIMITS, "ann", "a team of twelve", 60.0, volume_budget=budget)]


# --- let-through

RULE = LetThrough(50, {"EUR": 50_000, "JPY": 60_000}, "c-1", 12)
IN_WORDS = (
    "0.5% of declines let through, at most EUR 500.00, JPY 60,000 a day (EUR 41.66, JPY 5,000 in each of 12 partitions)"
)


@pytest.mark.parametrize(
    ("arguments", "wish"),
    [
        (
            ("--let-through", "0.5%", "--let-through-cap", "EUR 500 a day", "--let-through-cap", "JPY 60000"),
            LetThroughWish(50, {"EUR": 50_000, "JPY": 60_000}),
        ),
        (
            ("--let-through", "100 %", "--let-through-cap", "EUR 0.5 a day", "--salt", "s"),
            LetThroughWish(10_000, {"EUR": 50}, "s"),
        ),
        (("--let-through", "off"), LetThroughWish(0)),
    ],
)
def test_a_let_through_is_set_and_taken_away(
    sent: list[CommandRequest], arguments: tuple[str, ...], wish: LetThroughWish
) -> None:
    result = run("set", *arguments, "--reason", "truth")
    assert result.exit_code == 0, result.stderr
    assert sent == [CommandRequest(CommandKind.LIMITS, "ann", "truth", 60.0, let_through=wish)]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "nothing to set: give --decline-cap, --let-through, --promote-needs-verdict or --alert-budget"),
        (("--alert-budget", "off", "--volume-change", "5%"), "--alert-budget off ends the whole budget"),
        (("--alert-budget", "lots"), "lots"),
        (("--let-through", "0.5%"), "--let-through needs a cap in money: --let-through-cap 'EUR 500 a day'"),
        (("--let-through", "off", "--let-through-cap", "EUR 5"), "--let-through off takes no --let-through-cap"),
        (("--let-through-cap", "EUR 5"), "--let-through-cap and --salt belong to --let-through, which is missing"),
        (("--decline-cap", "2%", "--salt", "s"), "--let-through-cap and --salt belong to --let-through"),
        (("--let-through", "0.001%"), "`off` lets nothing through"),
        (("--let-through", "1%", "--let-through-cap", "500"), "'500' is no amount such as 'EUR 500 a day'"),
        (("--let-through", "1%", "--let-through-cap", "XXX 500"), "XXX is not an ISO 4217 code with a minor unit"),
        (("--let-through", "1%", "--let-through-cap", "JPY 0.5"), "'JPY 0.5': JPY has 0 decimals"),
        (("--let-through", "1%", "--let-through-cap", "EUR 0"), "EUR 0: expected an amount above 0 and of at most"),
        (("--let-through", "1%", "--let-through-cap", "EUR 5", "--salt", "a b"), "let_through: expected an object of"),
        (("--let-through", "1%", "--let-through-cap", "EUR 5", "--let-through-cap", "EUR 6"), "is given twice"),
    ],
)
def test_what_is_no_let_through_is_refused_before_anything_is_sent(
    sent: list[CommandRequest], arguments: tuple[str, ...], why: str
) -> None:
    result = run("set", *arguments)
    assert (result.exit_code, sent) == (2, [])
    assert why in result.stderr


def test_what_was_let_through_today_is_shown_with_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = SimpleNamespace(lineup=Lineup("default", 7, limits=Limits(0.02, RULE)), term=Term(0, "default"))

    async def totals(_settings: Settings, _term: Term) -> dict[int, LetThroughTotals]:
        today, before = day_of(now_ms()), "2026-01-31"
        return {
            0: LetThroughTotals(today, {"EUR": 4_166, "USD": 3}),
            1: LetThroughTotals(before, {"EUR": 4_000}),
            12: LetThroughTotals(),
        }

    answer_reads(monkeypatch, "read_fold", lambda: fold, limits)
    monkeypatch.setattr(let_through, "_totals", totals)
    first, second = run("show").stdout.splitlines()
    assert first.startswith("revision 7: declines capped at 2%, that is 40 of")
    assert first.endswith(f"; {IN_WORDS}")
    assert second == f"today, {day_of(now_ms())}: EUR 41.66, USD 0.03 let through, EUR 41.66, JPY 10,000 left"
    shown = json.loads(run("show", "--json").stdout)["let_through"]
    assert shown.pop("today") == {
        "day": day_of(now_ms()),
        "let_through": {"EUR": 4_166, "USD": 3},
        "left": {"EUR": 4_166, "JPY": 10_000},
    }
    assert shown == msgspec.to_builtins(RULE) | {"propensity": 0.005}


@pytest.mark.parametrize(
    ("publisher", "error", "why"),
    [
        ("other", None, "default decides silently, so it lets nothing through"),
        ("default", KafkaError("no broker"), "no broker"),
        ("default", TimeoutError(), "the scores were not read within 20 s"),
    ],
)
def test_what_cannot_be_known_of_today_is_said(
    monkeypatch: pytest.MonkeyPatch, publisher: str, error: Exception | None, why: str
) -> None:
    fold = SimpleNamespace(lineup=Lineup("default", 7, limits=Limits(None, RULE)), term=Term(0, publisher))

    async def totals(_settings: Settings, _term: Term) -> Any:
        assert error is not None
        raise error

    async def explain(_settings: Settings, error: Exception) -> str:
        return str(error)

    answer_reads(monkeypatch, "read_fold", lambda: fold, limits)
    monkeypatch.setattr(let_through, "_totals", totals)
    monkeypatch.setattr(let_through, "explain_error", explain)
    result = run("show")
    assert result.stdout.splitlines()[0] == f"revision 7: no cap on declines; {IN_WORDS}"
    assert why in result.stdout.splitlines()[1]
    assert json.loads(run("show", "--json").stdout)["let_through"]["today"] is None

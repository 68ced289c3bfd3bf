"""`shadow verdict`, and how promotions take a verdict as evidence: options, exit codes, and what is sent."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fraudstream.cli import promotion, shadow_verdict
from fraudstream.ops.rollout.verdict.evidence import evidence_of_verdict, read_report
from fraudstream.ops.rollout.verdict.reader import VerdictScope
from fraudstream.ops.rollout.verdict.report import VerdictInput, judge_challenger
from fraudstream.ops.rollout.verdict.terms import VerdictOptions
from fraudstream.ops.rollout.verdict.words import verdict_in_words
from models.commands import CommandKind
from models.limits import Limits
from models.lineup import Lineup
from models.promotion_rules import StatedVerdict, stated_verdict
from stream.control.client import CommandRequest
from stream.errors import ReportError
from stream.settings import Settings
from support.command_line import answer_reads, record_requests
from support.command_line import run_command as run
from support.control_events import accepted
from support.outcome_cases import LIVE_DIGEST, Payment
from support.verdict_cases import CHALLENGER_DIGEST, Compared, read_of

QUICK = ("--maturity-days", "20", "--card-days", "7", "--alerts-per-day", "10")


def compared(count: int = 1_200, *, labelled: bool = True) -> list[Compared]:
    """Return payments of which live approves all, and the challenger reviews the frauds."""
    found = []
    for at in range(count):
        fraud = at % 20 == 0
        label = True if fraud and labelled else None
        payment = Payment(
            f"card-{at}", at / 100, fraud=label, labelled_day=at / 100 + 5, amount_minor=40_000, score=0.05
        )
        found.append(Compared(payment, "review" if fraud else "approve"))
    return found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[VerdictScope]:
    """The scopes in which topics were read; what they hold is made by hand."""
    scopes = list[VerdictScope]()

    async def read_verdict(_settings: Settings, scope: VerdictScope, _progress: Any) -> VerdictInput:
        scopes.append(scope)
        return read_of(compared())

    monkeypatch.setattr(shadow_verdict, "read_verdict", read_verdict)
    return scopes


def test_a_promote_exits_with_0_and_anything_else_with_1(read: list[VerdictScope]) -> None:
    result = run("shadow", "verdict", *QUICK)
    assert result.exit_code == 0, result.output
    assert "\nPROMOTE, decided by the gate loss\n" in result.stdout
    held = run("shadow", "verdict", "--maturity-days", "20", "--card-days", "7", "--json")
    assert held.exit_code == 1
    facts = json.loads(held.stdout)
    assert (facts["verdict"], facts["gate"], facts["challenger"]) == ("HOLD", "alerts", CHALLENGER_DIGEST)
    assert read[0] == VerdictScope(None, None, 20.0, 10_000)


def test_options_say_what_is_read_and_on_what_terms(read: list[VerdictScope]) -> None:
    money = ("--review-cost", "EUR 4.50", "--decline-cost", "EUR 1 + 2.5%", "--cap", "EUR 800", "--currency", "eur")
    shares = ("--label-share", "60%", "--least-labels", "0%", "--cards", "10%", "--least-coverage", "95%")
    result = run(
        "shadow", "verdict", "--digest", "cccccccc", "--since", "2026-01-01T00:00:00Z", *money, *shares, "--json"
    )
    terms = json.loads(result.stdout)["terms"]
    assert read == [VerdictScope("cccccccc", 1_767_225_600_000, 60.0, 1_000)]
    assert terms["costs"] == {
        "review_fixed_minor": 450,
        "review_share_bp": 0,
        "decline_fixed_minor": 100,
        "decline_share_bp": 250,
    }
    assert [terms[name] for name in ("cap_minor", "label_share", "least_labels")] == [80_000, 0.6, 0]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--review-cost", "3.00"), "is no cost such as 'EUR 3.00'"),
        (("--cap", "EUR 0"), "must be above 0"),
        (("--currency", "EURO"), "ISO 4217"),
        (("--alpha", "1"), "alpha"),
        (("--label-share", "0%"), "it must be above 0%"),
        (("--cards", "0%"), "a share is a percentage"),
        (("--cap", "JPY 500"), "the verdict is in EUR, but the cap is stated for JPY"),
    ],
)
def test_what_cannot_be_is_refused_with_2(read: list[VerdictScope], arguments: tuple[str, ...], why: str) -> None:
    result = run("shadow", "verdict", *arguments)
    assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
    assert len(read) <= 1


def test_without_a_challenger_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> Any:
        raise ReportError("no model is in the shadow")

    monkeypatch.setattr(shadow_verdict, "read_verdict", nothing)
    result = run("shadow", "verdict")
    assert (result.exit_code, result.stderr.strip()) == (1, "no model is in the shadow")


# --- promotions


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[CommandRequest]:
    """The requests that are sent; each is accepted, by a fleet that needs verdicts."""
    lineup = Lineup("default", 2, live=LIVE_DIGEST, limits=Limits(promote_needs_verdict=True))
    answer_reads(monkeypatch, "read_fold", lambda: SimpleNamespace(lineup=lineup), promotion)
    return record_requests(monkeypatch, lambda _request: accepted(3, "promote"))


def report(count: int = 1_200, **others: Any) -> Any:
    terms = {"maturity_days": 20.0, "card_days": 7.0, "alerts_per_day": 10.0, "draws": 50}
    return judge_challenger(read_of(compared(count)), VerdictOptions("EUR", others=terms | others))


def test_a_promotion_takes_a_verdict_from_a_file(sent: list[CommandRequest], tmp_path: Path) -> None:
    file = tmp_path / "verdict.json"
    file.write_text(json.dumps(report().facts()))
    result = run("model", "promote", "cccccccc", "--verdict", str(file))
    assert result.exit_code == 0, result.stderr
    (request,) = sent
    assert request.evidence == evidence_of_verdict(report())
    stated = stated_verdict((request.evidence or {})["verdict"])
    assert stated == StatedVerdict("PROMOTE", CHALLENGER_DIGEST, LIVE_DIGEST, "loss", report().at)
    assert len(json.dumps(request.evidence)) < 6_000


def test_what_is_no_verdict_is_refused_before_anything_is_sent(sent: list[CommandRequest], tmp_path: Path) -> None:
    file = tmp_path / "verdict.json"
    for text in ("", "{}", "[1]", '{"verdict": "PROMOTE"}'):
        file.write_text(text)
        result = run("model", "promote", "cccccccc", "--verdict", str(file))
        assert (result.exit_code, sent) == (2, [])
        assert "it is not what `fraudstream shadow verdict --json` writes" in result.stderr


def test_without_a_file_it_is_computed_and_what_is_no_promote_is_not_sent(
    sent: list[CommandRequest], read: list[VerdictScope]
) -> None:
    result = run("model", "promote", "cccccccc")
    assert (result.exit_code, sent) == (1, [])
    assert "the verdict is HOLD, decided by the gate alerts; nothing was sent" in result.stderr
    assert read == [VerdictScope("cccccccc", None, 60.0, 10_000)]


@pytest.mark.parametrize("kind", [CommandKind.PROMOTE, CommandKind.ROLLOUT])
def test_a_computed_promote_is_sent_as_evidence(
    monkeypatch: pytest.MonkeyPatch, sent: list[CommandRequest], kind: CommandKind
) -> None:
    monkeypatch.setattr(shadow_verdict, "verdict_or_refuse", lambda *_: report())
    ladder = ("--ladder", "1% 10min, 100%")
    arguments = ("rollout", "start", *ladder) if kind is CommandKind.ROLLOUT else ("model", "promote")
    result = run(*arguments, "cccccccc")
    assert result.exit_code == 0, result.stderr
    assert [(one.kind, one.evidence) for one in sent] == [(kind, evidence_of_verdict(report()))]


def test_force_asks_for_no_verdict(sent: list[CommandRequest]) -> None:
    assert run("model", "promote", "cccccccc", "--force").exit_code == 0
    assert [(one.force, one.evidence) for one in sent] == [(True, None)]


def test_a_verdict_comes_back_from_its_json_and_is_told_in_words() -> None:
    whole = report()
    assert read_report(json.dumps(whole.facts()).encode()) == whole
    first, *others = verdict_in_words(evidence_of_verdict(whole))
    assert first == f"verdict PROMOTE of {whole.at}, decided by the gate loss"
    assert len(others) == len(whole.gates)
    assert all(" passed: " in line for line in others)

"""`model watch`: what is read of the topics, what is said of it, the page, and the exit code."""

import io
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from fraudstream.cli import watch_report
from fraudstream.cli.main import main
from fraudstream.ops.report.parts import NO
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.watch.drift import report as report_module
from fraudstream.ops.watch.drift.facts import facts
from fraudstream.ops.watch.drift.fold import LATENESS_MS
from fraudstream.ops.watch.drift.page import state_watch
from fraudstream.ops.watch.drift.report import WatchReport, WatchScope, read_watch
from models.errors import MissingArtifactError, RepositoryUnavailableError
from models.repository import StoredManifest
from models.training_reference import DAY_MS
from stream.settings import Settings
from support.drift_cases import DIGEST, FIRST_DAY, POLICY, TERMS, DriftRecord, label, manifest, payments, record
from support.drift_cases import reference as reference_of
from support.parsed_page import parsed
from support.scans import GivenScan, give_scans

REFERENCE = reference_of(payments(range(FIRST_DAY - 28, FIRST_DAY), seed=7, cards=400))
DAYS = 9
QUIET = payments(range(FIRST_DAY, FIRST_DAY + DAYS), seed=21, cards=400)
MOVED = [
    *payments(range(FIRST_DAY, FIRST_DAY + 6), seed=21, cards=400),
    *payments(range(FIRST_DAY + 6, FIRST_DAY + DAYS), seed=21, cards=400, moved=2.0),
]
UNTIL_MS = (FIRST_DAY + DAYS) * DAY_MS + LATENESS_MS
SCOPE = WatchScope(FIRST_DAY * DAY_MS, UNTIL_MS, maturity_days=3.0)


class Models:
    """Takes the place of the repository."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[str] = []

    def manifest(self, digest: str) -> StoredManifest:
        self.asked.append(digest)
        if self.error is not None:
            raise self.error
        return StoredManifest(msgspec.json.encode(manifest(REFERENCE)), 0)

    def resolve(self, _name: str) -> str:
        return DIGEST

    def exists(self) -> bool:
        return True


def frauds_of(drawn: Any) -> list[DriftRecord]:
    """Return labels: of each alert that is fraud, two days later; scores are calibrated."""
    random = np.random.default_rng(3)
    chances = random.random(len(drawn))
    found = [
        label(one, at, 0, fraud=True, days=2)
        for at, one in enumerate(drawn)
        if POLICY.review_at <= one.score and chances[at] < one.score
    ]
    return [one for one in found if one.timestamp < UNTIL_MS]


async def read(monkeypatch: pytest.MonkeyPatch, drawn: Any, models: Models | None = None) -> WatchReport:
    scores = [record(one, at) for at, one in enumerate(drawn)]
    fetches = [scores[begin : begin + 500] for begin in range(0, len(scores), 500)]
    topics = {"scores": GivenScan(fetches), "outcomes": GivenScan([frauds_of(drawn)])}
    give_scans(monkeypatch, report_module, topics)
    return await read_watch(Settings(), SCOPE, TERMS, models or Models())  # type: ignore[arg-type]


async def test_payments_like_those_of_the_reference_are_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models()
    found = await read(monkeypatch, QUIET, models)
    assert models.asked == [DIGEST]
    assert found.is_quiet
    (one,) = found.pairs
    assert (one.alarms, one.is_own, len(one.windows)) == ((), False, DAYS)
    shown = facts(found)
    alerts = [p for p in QUIET if p.score >= POLICY.review_at]
    assert sum(week["alerts"] for week in shown["models"][0]["weeks"]) == len(alerts)
    assert 0 < shown["models"][0]["weeks"][0]["matured_precision"] < 1
    assert shown["models"][0]["weeks"][0]["coverage"] == pytest.approx(6.5 / 7, abs=0.2)
    json.dumps(shown, allow_nan=False)


async def test_a_drift_is_said_in_the_table_the_json_and_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await read(monkeypatch, MOVED)
    assert not found.is_quiet
    (one,) = found.pairs
    assert one.open_alarm is not None
    assert set(one.open_alarm.quantities) == {"amount"}
    (alarm,) = facts(found)["models"][0]["alarms"]
    assert (alarm["since"], alarm["raised_after"]) == ("2026-01-11", "2026-01-12")
    assert "fraudstream train FILE --name NAME" in alarm["suggestion"]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(on_terminal(state_watch(found, UNTIL_MS, "0.1.0")))
    text = console.export_text()
    assert "has moved from the reference since 2026-01-11" in text
    assert "amount" in text
    page = state_watch(found, UNTIL_MS, "0.1.0").html()
    (banner,) = parsed(page).of_class("banner")
    words = f"Drift: amount moved since 2026-01-11, of model {DIGEST[:12]} (live)"
    assert banner.all("strong")[0].text == words
    assert f">{NO}<" in page, "amount is not within its bound"
    assert "amount" in page
    assert "Precision by week" in page


async def test_a_model_that_the_repository_does_not_have_is_named_and_not_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await read(monkeypatch, QUIET[:50], Models(MissingArtifactError("gone")))
    assert (found.pairs, found.missing) == ((), (DIGEST,))
    page = parsed(state_watch(found, UNTIL_MS, "0.1.0").html())
    assert page.of_class("banner")[0].all("strong")[0].text.startswith("Nothing to watch: no model decided between ")
    assert DIGEST[:12] in page.text
    assert not page.all("table") + page.all("figure")
    with pytest.raises(RepositoryUnavailableError):
        await read(monkeypatch, QUIET[:50], Models(RepositoryUnavailableError("away")))


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200", "FRAUDSTREAM_BROKERS": "127.0.0.1:1"}).invoke(main, arguments)


@pytest.mark.parametrize(("drawn", "code"), [(QUIET, 0), (MOVED, 1)])
async def test_the_exit_code_says_whether_an_alarm_goes_on(
    monkeypatch: pytest.MonkeyPatch, drawn: Any, code: int
) -> None:
    found, scopes = await read(monkeypatch, drawn), list[WatchScope]()

    async def known(_settings: Settings, scope: WatchScope, *_: object) -> WatchReport:
        scopes.append(scope)
        return found

    monkeypatch.setattr(watch_report, "read_watch", known)
    monkeypatch.setattr(watch_report, "existing_repository_or_refuse", lambda _settings: Models())
    monkeypatch.setattr(watch_report, "asyncio", Loop)
    result = run(
        "model", "watch", DIGEST[:8], "--json", "--from", "2026-01-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z"
    )
    assert result.exit_code == code, result.output
    assert json.loads(result.stdout)["quiet"] is (code == 0)
    assert scopes[0].model == DIGEST


class Loop:
    """Takes the place of asyncio, since a loop runs already."""

    @staticmethod
    def run(coroutine: Any) -> Any:
        """Run a coroutine that waits for nothing."""
        with pytest.raises(StopIteration) as ended:
            coroutine.send(None)
        return ended.value.value


def test_an_empty_time_is_refused() -> None:
    result = run("model", "watch", "--from", "2026-02-01T00:00:00Z", "--to", "2026-01-01T00:00:00Z")
    assert result.exit_code == 2
    assert "--from must be before --to" in result.stderr

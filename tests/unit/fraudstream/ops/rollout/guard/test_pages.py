"""The pages of a guard: ready or not with all reasons, its metrics, and an address that is taken."""

import errno
import socket
from collections.abc import Iterator

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from fraudstream.ops.rollout.guard import pages
from fraudstream.ops.rollout.guard.gauges import GuardGauges
from fraudstream.ops.rollout.guard.pages import served_pages
from guards.paired import PairedScore
from guards.report import evidence
from guards.row_time import RowTime, row_time_evidence
from guards.specs import DEFAULT_ROW_TIME, GuardKind, default_guards
from guards.state import GuardState
from stream.errors import SettingsError
from stream.pages import address_problem
from stream.settings import Settings
from stream.telemetry.setup import Telemetry, begin


@pytest.fixture
def settings() -> Settings:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Settings(http=f"127.0.0.1:{port}", kafka_sasl_password="correct-horse")  # noqa: S106 - it must not be shown


@pytest.fixture
def telemetry(settings: Settings) -> Iterator[Telemetry]:
    made = begin(settings, {})
    yield made
    made.stop()


async def test_a_guard_answers_whether_it_is_ready_and_shows_no_secret(
    settings: Settings, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = ["broker says correct-horse", "topic scores is missing"]
    async with (
        served_pages(settings, telemetry, lambda: reasons, lambda: ["late"]),
        ClientSession(f"http://{settings.http}") as client,
    ):
        found = await client.get("/health/ready")
        told = await found.json()
        assert (found.status, told["ready"], told["warnings"]) == (503, False, ["late"])
        assert told["reasons"][1:] == reasons[1:]
        assert "correct-horse" not in told["reasons"][0]
        reasons.clear()
        found = await client.get("/health/ready")
        assert (found.status, await found.json()) == (200, {"ready": True, "reasons": [], "warnings": ["late"]})
        monkeypatch.setattr(pages, "login_trouble", lambda _: "cannot log in to Kafka")
        assert (await (await client.get("/health/ready")).json())["reasons"] == ["cannot log in to Kafka"]
        assert (await (await client.get("/health/live")).json()) == {"live": True}
        assert [(await client.get(path)).status for path in ("/", "/health", "/metrics")] == [404, 404, 200]


async def test_an_address_that_is_taken_is_one_line_that_names_the_setting(
    settings: Settings, telemetry: Telemetry
) -> None:
    host, port = settings.http.split(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        with pytest.raises(SettingsError) as refused:
            async with served_pages(settings, telemetry, tuple):
                raise AssertionError
    assert str(refused.value) == address_problem(host, int(port), OSError(errno.EADDRINUSE, "in use"))


def exported(telemetry: Telemetry) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(telemetry.metrics().decode()):
        for sample in family.samples:
            if sample.name.startswith("fraudstream_guard_"):
                labels = " ".join(sample.labels.values())
                found.setdefault(sample.name.removeprefix("fraudstream_guard_"), {})[labels] = sample.value
    return found


def test_the_metrics_say_what_is_watched_how_near_a_breach_is_and_what_was_sent(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraudstream.ops.rollout.guard.gauges.now_ms", lambda: 10_500)
    gauges = GuardGauges()
    telemetry.watch(gauges.gauges())
    gauges.announce("end_canary", "accepted")
    assert exported(telemetry) == {"watching": {"": 0}, "commands_total": {"end_canary accepted": 0}}
    guards = {kind: guard for kind, guard in default_guards().items() if kind is GuardKind.DECLINED}
    state = GuardState(guards, "default")
    gauges.watch(evidence(state, row_time=row_time_evidence(DEFAULT_ROW_TIME, None)), 8_000)
    gauges.sent("end_canary", "accepted")
    assert exported(telemetry) == {
        "watching": {"": 1},
        "behind_seconds": {"": 2.5},
        "evidence_ratio": {"declined": 0, "row_time": 0},
        "commands_total": {"end_canary accepted": 1},
    }
    state.set_share(1, 5_000)
    declined = [
        PairedScore(f"t-{card}", f"c-{card}", "decline", 1, "default", "canary", "", is_labelled=False)
        for card in range(40)
    ]
    state.count(0, declined, 40)
    measured = row_time_evidence(DEFAULT_ROW_TIME, RowTime(500.0, "w", "e"))
    gauges.watch(evidence(state, row_time=measured), None)
    found = exported(telemetry)
    assert found["evidence_ratio"]["row_time"] == 0.25
    assert found["evidence_ratio"]["declined"] > 1
    assert "behind_seconds" not in found
    gauges.watch(evidence(state, row_time=measured), None, {GuardKind.DECLINED})
    assert set(exported(telemetry)["evidence_ratio"]) == {"row_time"}, "what an operator let go on wakes nobody again"
    gauges.rest()
    assert set(exported(telemetry)) == {"watching", "commands_total"}

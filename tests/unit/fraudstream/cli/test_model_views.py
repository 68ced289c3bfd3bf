"""`model list`, `show` and `history` are readable at 80 columns and complete as JSON, whatever is away."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError
from click.testing import Result

from features.declaration import load
from fraudstream.cli import commands, model_history, model_list, model_page
from models.artifact import Imported, TrainingData
from models.commands import Command, CommandKind, Event
from models.errors import RepositoryUnavailableError
from models.limits import Limits
from models.problems import Problem, ProblemCode
from models.repository import Repository
from stream.control.client import CommandRequest, Tell
from stream.control.history import History, history_of
from stream.settings import Settings
from support.command_line import answer_reads, run_command
from support.control_events import accepted, event
from support.model_artifacts import artifact

WIDTH = 80
CARD = "4111111111111111"
METRICS = {"alert_rate": 0.005, "auc": 0.9398, "average_precision": 0.61234, "card_precision_at_100": 0.2812}
MISSING = "e" * 64

Run = Callable[..., Result]


def data(rows: int) -> TrainingData:
    return TrainingData(
        since="2026-08-02T00:00:03.000Z",
        until="2026-10-14T23:59:11.000Z",
        rows=rows,
        frauds=rows // 250,
        fingerprint="a" * 64,
    )


@cache
def cards(version: str) -> dict[str, bytes]:
    """Train a model once for all tests."""
    return artifact(name="cards", version=version, metrics=METRICS, training=data(8_123_400))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def digests(models: Path) -> tuple[str, str]:
    """Two models in the repository, the second one stored a day later."""
    repository = Repository(str(models))
    first, second = (repository.put(cards(version)) for version in ("2026-10-14", "small"))
    for digest, stored in ((first, 1_790_000_000), (second, 1_790_086_400)):
        os.utime(models / digest / "manifest.json", (stored, stored))
    return first, second


def command(kind: str, **fields: Any) -> Command:
    named = {"deployment": "default", "expected_revision": 0, "actor": "ann", "issued_at": "2026-01-01T00:00:00.000Z"}
    return msgspec.convert(named | {"kind": kind, "expires_at": "2026-01-01T00:01:00.000Z"} | fields, Command)


def past(events: list[Event], *sent: Command) -> History:
    return history_of("default", events, {one.command_id: one for one in sent})


@pytest.fixture
def run(models: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a `model` command on a history; None: no broker answers."""

    def run_on(found: History | None, *arguments: str, width: int = WIDTH) -> Result:
        def history() -> History:
            if found is None:
                raise KafkaConnectionError("no broker answers")
            return found

        answer_reads(monkeypatch, "read_fold", history, model_list)
        answer_reads(monkeypatch, "read_history", history, model_history, model_page)
        return run_command("model", *arguments, settings={"FRAUDSTREAM_MODELS": str(models), "COLUMNS": str(width)})

    return run_on


def lines(result: Result, code: int = 0) -> list[str]:
    assert result.exit_code == code, result.output
    assert "\x1b" not in result.stdout
    return [line.rstrip() for line in result.stdout.splitlines()]


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(result)]


NOTHING = past([])


# --- list


@pytest.mark.parametrize("width", [80, 120])
def test_the_list_names_each_model_whole_within_the_width_those_with_a_role_first(
    run: Run, digests: tuple[str, str], width: int
) -> None:
    found = lines(run(past([accepted(1, model=digests[0])]), "list", width=width))
    assert max(map(len, found[:-2])) <= width
    words = " ".join(found).split()
    assert words.index(digests[0][:12]) < words.index("live") < words.index(digests[1][:12])
    assert {"2026-10-14", "small", "8,123,400", "0.9398"} <= set(words)
    assert found[-1] == "revision 1 of deployment default"


def test_each_role_is_named(run: Run, digests: tuple[str, str]) -> None:
    first, second = digests
    assert "live before" in "\n".join(lines(run(past([accepted(1, model=first), accepted(2, model=second)]), "list")))
    log = [accepted(1, model=first), accepted(2, model=second), accepted(3, "demote", first)]
    listed = json.loads(run(past(log), "list", "--json").stdout)
    assert {one["digest"]: one["role"] for one in listed["models"]} == {first: "live", second: "quarantined"}


def test_the_json_list_has_all_fields(run: Run, models: Path, digests: tuple[str, str]) -> None:
    first, second = digests
    listed = json.loads(run(past([accepted(1, model=first)]), "list", "--json").stdout)
    assert {name: value for name, value in listed.items() if name != "models"} == {
        "repository": str(models),
        "revision": 1,
        "roles_known": True,
    }
    assert [one["digest"] for one in listed["models"]] == [first, second]
    assert listed["models"][0] == {
        "digest": first,
        "role": "live",
        "arms": [],
        "name": "cards",
        "version": "2026-10-14",
        "stored_at": "2026-09-21T14:13:20.000Z",
        "training": msgspec.to_builtins(data(8_123_400)),
        "imported": None,
        "fingerprint": "fingerprint-1",
        "parent": None,
        "metrics": METRICS,
        "problem": None,
        "review": None,
    }


def test_without_kafka_models_are_listed_and_shown_and_their_roles_are_unknown(
    run: Run, digests: tuple[str, str]
) -> None:
    result = run(None, "list", "--json")
    listed = json.loads(result.stdout)
    assert (result.exit_code, listed["revision"], listed["roles_known"]) == (1, None, False)
    assert {(one["digest"], one["role"]) for one in listed["models"]} == {(digest, None) for digest in digests}
    assert result.stderr.startswith("roles are unknown: ")
    assert "no broker can be used: 127.0.0.1:1: Connection refused" in result.stderr
    found = lines(run(None, "list"), code=1)
    assert [line.split()[2] for line in found if line.startswith("cards ")] == ["?", "?"]
    shown = run(None, "show", digests[0])
    assert "role         unknown" in lines(shown)
    assert shown.stderr.startswith("the model's role and its verdicts are unknown: ")


def test_a_model_that_cannot_be_read_is_listed_with_its_problem(
    run: Run, models: Path, digests: tuple[str, str]
) -> None:
    first, _ = digests
    (models / first / "manifest.json").write_text("{")
    found = lines(run(past([accepted(1, model=first), accepted(2, model=MISSING)]), "list"))
    assert f"{first[:12]}: damaged, store it again: manifest.json: Input data was truncated" in found
    assert f"{MISSING[:12]}: not in the repository, or not completely: store it again" in found
    assert any(line.split() == ["?", MISSING[:12], "live"] for line in found)


def test_an_empty_repository_is_told_from_one_that_does_not_exist(run: Run, models: Path) -> None:
    absent = run(NOTHING, "list")
    assert (absent.exit_code, absent.stdout) == (1, "")
    assert absent.stderr.startswith(f"FRAUDSTREAM_MODELS: {models} does not exist: correct the setting, or let ")
    models.mkdir()
    assert lines(run(NOTHING, "list"))[0].startswith(f"no model in {models}: ")
    assert json.loads(run(NOTHING, "list", "--json").stdout)["models"] == []


def test_a_name_that_looks_like_an_emoji_or_is_long_is_listed_whole(run: Run, models: Path) -> None:
    name = ":smile:" + "n" * 57
    digest = Repository(str(models)).put(artifact(name=name, version="v", training=data(8_123_400)))
    found = lines(run(NOTHING, "list"))
    assert max(map(len, found[:-2])) <= WIDTH
    width = found[2].index(digest[:12])
    assert "".join(line[:width].strip() for line in found[2:]).startswith(f"{name}v")


# --- show


def test_the_page_of_a_model_says_what_it_is_and_what_became_of_it(run: Run, digests: tuple[str, str]) -> None:
    first, second = digests
    log = [accepted(1, model=first), accepted(2, model=second)]
    sent = command("promote", command_id="c-e-1-default", model=first[:8], reason="the first")
    found = lines(run(past(log, sent), "show", first[:8]))
    assert max(map(len, found)) <= WIDTH
    for line in (
        f"digest       {first}",
        "role         live before, at revision 2",
        "             8,123,400 transactions, 32,493 frauds (0.40%)",
        "policy       review from 0.5000, decline from 0.8000",
        f"  live: none -> cards 2026-10-14 {first[:12]}",
        "  by ann: the first",
        f"  live: cards 2026-10-14 {first[:12]} -> cards small {second[:12]}",
    ):
        assert line in found


def test_the_json_page_has_the_manifest_and_what_is_known_besides(
    run: Run, models: Path, digests: tuple[str, str]
) -> None:
    first, second = digests
    log = past([accepted(1, model=first), accepted(2, "challenge", second)])
    page = json.loads(run(log, "show", first, "--json").stdout)
    manifest = json.loads((models / first / "manifest.json").read_text())
    assert {name: page[name] for name in manifest} == manifest
    assert {name: page[name] for name in page.keys() - manifest.keys() - {"history"}} == {
        "digest": first,
        "role": "live",
        "arms": [],
        "roles_known": True,
        "stored_at": "2026-09-21T14:13:20.000Z",
        "bytes": sum(file.stat().st_size for file in (models / first).iterdir()),
        "computed_here": False,
        "signatures": [],
        "card": None,
        "card_versions": 0,
        "review": None,
        "ancestors": [],
        "descendants": [],
    }
    assert [one["revision"] for one in page["history"]] == [1]


def test_what_a_manifest_holds_moves_no_cursor(run: Run, models: Path) -> None:
    manifest = artifact(code_version="\x1b[2K", training=data(0), parameters={"a": "\x1b[1A"})
    found = lines(run(NOTHING, "show", Repository(str(models)).put(manifest)))
    assert r"code         fraudstream \x1b[2K" in found
    assert r"parameters   a \x1b[1A" in found
    assert "             0 transactions, 0 frauds (0.00%)" in found


def test_a_model_of_the_features_in_use_is_computed_here(run: Run, models: Path) -> None:
    features = load(None)
    digest = Repository(str(models)).put(artifact(features.names, fingerprint=features.fingerprint))
    assert json.loads(run(NOTHING, "show", digest, "--json").stdout)["computed_here"] is True
    assert not [line for line in lines(run(NOTHING, "show", digest)) if "not computed here" in line]


def test_a_model_that_is_not_there_or_damaged_is_refused(run: Run, models: Path, digests: tuple[str, str]) -> None:
    refused = run(NOTHING, "show", MISSING)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == f"no artifact {MISSING} in {models}; `fraudstream model list` lists the models\n"
    with (models / digests[0] / "model.txt").open("a") as file:
        file.write(" ")
    damaged = run(NOTHING, "show", digests[0])
    assert (damaged.exit_code, "store it again" in damaged.stderr) == (1, True)


def test_an_imported_model_is_listed_and_shown_with_what_is_known_of_its_training(run: Run, models: Path) -> None:
    repository = Repository(str(models))
    dated, undated = (
        repository.put(
            artifact(
                name="theirs",
                metrics=METRICS,
                training=None,
                imported=Imported(model_file="b" * 64, calibrated_on=data(250_000), **known),
            )
        )
        for known in ({"trained_until": "2026-09-01T00:00:00.000Z"}, {"features_by_position": True})
    )
    assert "imported, to 2026-09-01" in run(NOTHING, "list", width=120).stdout
    listed = json.loads(run(NOTHING, "list", "--json").stdout)["models"]
    assert {one["digest"]: (one["training"], one["imported"].get("trained_until")) for one in listed} == {
        dated: (None, "2026-09-01T00:00:00.000Z"),
        undated: (None, None),
    }
    found = lines(run(NOTHING, "show", undated))
    assert "imported       trained elsewhere, until an unknown time" in found
    assert "features       3: a, b, c, by position" in found
    assert not any(line.startswith("trained on") for line in found)


# --- history


def test_the_history_says_what_changed_who_and_why(run: Run, digests: tuple[str, str]) -> None:
    first, second = digests
    until = "2026-01-01T01:00:00.000Z"
    problems = (Problem(ProblemCode.ALREADY_LIVE, f"{second} is live at revision 2"),)
    log = [
        accepted(1, model=first),
        accepted(2, model=second, watch_until=until),
        event("refused", 2, "r", command_id="c-r", command=CommandKind.PROMOTE, model=second, problems=problems),
        accepted(3, "demote", first),
    ]
    sent = (
        command("promote", command_id="c-e-1-default", model=first, reason="the first"),
        command("promote", command_id="c-e-2-default", model=second, actor="bob", reason="as good", force=True),
        command("promote", command_id="c-r", model=second, reason=""),
    )
    one, two = f"cards 2026-10-14 {first[:12]}", f"cards small {second[:12]}"
    assert lines(run(past(log, *sent), "history", width=120)) == [
        f"2026-01-01T00:00:00.000Z  revision 1  accepted  promote {first[:12]}",
        f"  live: none -> {one}",
        "  by ann: the first",
        f"2026-01-01T00:00:00.000Z  revision 2  accepted  promote {second[:12]}",
        f"  live: {one} -> {two}",
        f"  shadow: none -> {one} until {until}",
        "  by bob (forced): as good",
        f"2026-01-01T00:00:00.000Z  revision 2  refused  promote {second[:12]}",
        f"  already_live: {second} is live at revision 2",
        "  by ann: no reason given",
        f"2026-01-01T00:00:00.000Z  revision 3  accepted  demote {first[:12]}",
        f"  live: {two} -> {one}",
        f"  shadow: {one} -> none",
        f"  quarantined: {two}",
        "  by: unknown, the command could not be read",
    ]


def test_the_history_says_who_countersigned(run: Run, digests: tuple[str, str]) -> None:
    approved = accepted(0, "countersign", command_id="c-2", countersigns="c-1", actor="bob", reason="report read")
    promoted = accepted(1, model=digests[0], command_id="c-1", actor="ann", countersigned_by="bob", reason="the first")
    log = past([approved, promoted])
    assert lines(run(log, "history"))[-1] == "  by ann, countersigned by bob: the first"
    assert objects(run(log, "history", "--json"))[1]["countersigned_by"] == "bob"


@pytest.mark.parametrize(
    ("code", "doubt"),
    [
        (ProblemCode.UNSIGNED, "unsigned"),
        (ProblemCode.UNKNOWN_KEY, "signed with an unknown key"),
        (ProblemCode.WRONG_SIGNATURE, "wrongly signed"),
    ],
)
def test_who_sent_a_command_that_nobody_signed_is_a_claim(run: Run, code: ProblemCode, doubt: str) -> None:
    problems = (Problem(code, "why"),)
    refused = event("refused", 0, "r", command_id="c-r", command=CommandKind.DEMOTE, problems=problems)
    log = past([refused], command("demote", command_id="c-r", actor="ann", reason="in a hurry"))
    assert lines(run(log, "history"))[-1] == f"  claimed: ann, {doubt}: in a hurry"
    (shown,) = objects(run(log, "history", "--json"))
    assert (shown["actor"], shown["claimed"], shown["reason"]) == (None, "ann", "in a hurry")


def test_a_restore_stands_in_the_history_as_itself(run: Run, digests: tuple[str, str]) -> None:
    (first, second) = digests
    named = {"actor": "bob", "reason": "retention was 7 days", "records": 2}
    restore = event("restoring", 1, "r", at="2026-01-01T00:00:01.000Z", evidence={"unproved": ["e"]}, **named)
    later = accepted(2, model=second, at="2026-01-01T00:00:02.000Z")
    found = lines(run(past([accepted(1, model=first), later, restore]), "history", width=120))
    assert found[3].endswith("revision 1  restoring")
    assert found[4] == "  by bob, 2 events, 1 of them not proved by their commands: retention was 7 days"
    assert found[5].startswith("2026-01-01T00:00:02.000Z  revision 2  accepted")


def test_the_json_history_has_one_object_for_each_verdict(run: Run, digests: tuple[str, str]) -> None:
    first, second = digests
    sent = command("promote", command_id="c-e-2-default", model=second, reason="as good")
    events = [accepted(1, model=first), accepted(2, model=second)]
    found = objects(run(past(events, sent), "history", "--json"))
    live = {"digest": first, "name": "cards", "version": "2026-10-14"}
    after = {"digest": second, "name": "cards", "version": "small"}
    no_others = {"challenger": None, "canary": None, "split": None, "limits": None, "quarantined": []}
    assert found[1] == msgspec.to_builtins(events[1]) | {
        "actor": "ann",
        "reason": "as good",
        "force": False,
        "issued_at": "2026-01-01T00:00:00.000Z",
        "void": False,
        "rollout": None,
        "before": {"live": live} | no_others,
        "after": {"live": after} | no_others,
    }
    assert (found[0]["actor"], found[0]["reason"], found[0]["before"]["live"]) == (None, None, None)


def test_the_history_says_which_limits_were_set(run: Run) -> None:
    log = past([accepted(1, "limits", limits=Limits(0.02)), accepted(2, "limits", limits=Limits(1.0))])
    assert "  limits: declines capped at 2% -> no cap on declines" in lines(run(log, "history"))
    second = objects(run(log, "history", "--json"))[1]
    assert (second["before"]["limits"], second["after"]["limits"]) == ({"decline_cap": 0.02}, {"decline_cap": 1.0})


def test_a_reason_moves_no_cursor_shows_no_card_number_and_is_wrapped(run: Run) -> None:
    reason = f"card {CARD} \x1b[1A\x1b[2K " + "because of a reason that is long " * 10
    sent = command("promote", command_id="c-e-1-default", model="a" * 64, reason=reason, actor=f"ann {CARD}")
    log = past([accepted(1, model="a" * 64)], sent)
    found = lines(run(log, "history"))
    assert max(map(len, found)) <= WIDTH
    assert r"  by ann [redacted]: card [redacted] \x1b[1A\x1b[2K because of a reason that is" in found
    assert CARD not in run(log, "history", "--json").stdout


def test_names_that_the_repository_does_not_say_in_time_are_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = past([accepted(1, model=MISSING)])
    unnamed = f"  live: none -> {MISSING[:12]}"
    assert unnamed in lines(run(log, "history"))

    def away(_: Repository) -> None:
        raise RepositoryUnavailableError("s3://models: no answer within 30 s")

    monkeypatch.setattr(model_history, "_NAMES_SECONDS", 0.01)
    hung = threading.Event()
    for digests, why in ((lambda _: hung.wait(30), "did not answer within 0.01 s"), (away, "s3://models: no answer")):
        monkeypatch.setattr(Repository, "digests", digests)
        result = run(log, "history")
        assert unnamed in lines(result)
        assert result.stderr.startswith("the models' names are unknown: ")
        assert why in result.stderr
    hung.set()


def test_a_deployment_without_commands_has_an_empty_history(run: Run) -> None:
    assert lines(run(NOTHING, "history")) == ["no command to deployment default has a verdict yet"]
    assert lines(run(NOTHING, "history", "--json")) == []


def test_the_history_says_why_it_does_not_know_who(run: Run) -> None:
    result = run(replace(past([accepted(1, model=MISSING)]), unknown="no right to read it"), "history")
    assert "  by: unknown, the command could not be read" in lines(result)
    assert "who sent the commands, and why, is unknown: no right to read it\n" in result.stderr


@pytest.mark.parametrize(
    ("messages", "advice"),
    [
        (["nobody judges: start one"], "when a worker runs, send the command again"),
        ([], "is a worker running and ready?"),
    ],
    ids=["nobody judges", "no answer"],
)
def test_a_command_without_a_verdict_says_that_it_has_expired_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, messages: list[str], advice: str
) -> None:
    async def send(_settings: Settings, _request: CommandRequest, tell: Tell) -> tuple[str, None]:
        for message in messages:
            tell(message)
        return "c-1", None

    monkeypatch.setattr(commands, "command_traced", send)
    result = run_command("model", "rollback", "--wait", "5", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, {"command_id": "c-1", "kind": None})
    assert [f"{one}; the command expires 5 s after it was sent (--wait)" for one in messages] == (
        result.stderr.splitlines()[:-1]
    )
    assert f"no verdict within 5 s; command c-1 has expired: {advice}" in result.stderr
    assert run_command("model", "rollback", "--wait", "5").stdout == ""

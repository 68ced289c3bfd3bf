"""`model list`, `show` and `history` are readable at 80 columns and complete as JSON, whatever is away."""

import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError
from click.testing import CliRunner, Result

from features.declaration import load
from fraudstream.cli import model_history, model_list, model_page
from fraudstream.cli.main import main
from models.artifact import Imported, TrainingData
from models.commands import Command, CommandKind, Event
from models.errors import RepositoryUnavailableError
from models.limits import Limits
from models.problems import Problem, ProblemCode
from models.repository import Repository
from stream.control.client import CommandRequest, Tell
from stream.control.history import History, history_of
from stream.settings import Settings
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


def past(events: list[Event], *commands: Command) -> History:
    return history_of("default", events, {one.command_id: one for one in commands})


@pytest.fixture
def run(models: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a `model` command on a history; None: no broker answers."""

    def run_on(found: History | None, *arguments: str, width: int = WIDTH) -> Result:
        async def history(_settings: Settings) -> History:
            if found is None:
                raise KafkaConnectionError("no broker answers")
            return found

        for module, name in ((model_list, "read_fold"), (model_history, "read_history"), (model_page, "read_history")):
            monkeypatch.setattr(module, name, history)
        environment = {
            "FRAUDSTREAM_MODELS": str(models),
            "FRAUDSTREAM_BROKERS": "127.0.0.1:1",
            "COLUMNS": str(width),
        }
        return CliRunner(env=environment).invoke(main, ["model", *arguments])

    return run_on


def lines(result: Result, code: int = 0) -> list[str]:
    assert result.exit_code == code, result.output
    assert "\x1b" not in result.stdout
    return [line.rstrip() for line in result.stdout.splitlines()]


NOTHING = past([])


# --- list


def test_the_list_has_a_line_for_each_model_on_a_wide_terminal_those_with_a_role_first(
    run: Run, digests: tuple[str, str]
) -> None:
    first, second = digests
    found = lines(run(past([accepted(1, model=first)]), "list", width=120))
    counts, measured = "8,123,400 32,493", "0.9398 0.6123 0.2812"
    trained = f"2026-08-02 to 2026-10-14 {counts} {measured}"
    assert [" ".join(line.split()) for line in found[1:3]] == [
        f"cards 2026-10-14 {first[:12]} live 2026-09-21 {trained}",
        f"cards small {second[:12]} 2026-09-22 {trained}",
    ]
    assert found[-2].startswith("2 models in ")
    assert found[-1] == "revision 1 of deployment default"


def test_the_list_has_two_lines_for_each_model_on_a_narrow_terminal(run: Run, digests: tuple[str, str]) -> None:
    first, _ = digests
    found = lines(run(past([accepted(1, model=first)]), "list"))
    assert [re.split("  +", line) for line in found[2:4]] == [
        ["cards", first[:12], "live", "2026-08-02 to 2026-10-14", "AUC 0.9398"],
        ["2026-10-14", "2026-09-21", "8,123,400 rows, 32,493 frauds", "AP", "0.6123"],
    ]
    assert max(map(len, found[:-2])) <= WIDTH


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


def test_without_kafka_the_models_are_listed_and_their_roles_are_unknown(run: Run, digests: tuple[str, str]) -> None:
    result = run(None, "list", "--json")
    listed = json.loads(result.stdout)
    assert (result.exit_code, listed["revision"], listed["roles_known"]) == (1, None, False)
    assert {(one["digest"], one["role"]) for one in listed["models"]} == {(digest, None) for digest in digests}
    assert result.stderr.startswith("roles are unknown: ")
    assert "no broker can be used: 127.0.0.1:1: Connection refused" in result.stderr
    found = lines(run(None, "list"), code=1)
    assert [line.split()[2] for line in found if line.startswith("cards ")] == ["?", "?"]
    assert "revision" not in found[-1]


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
    assert lines(run(NOTHING, "list"))[0] == f"no model in {models}: train one by `fraudstream train FILE --name NAME`"
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
    assert found[0] == "cards 2026-10-14"
    for line in (
        f"digest       {first}",
        "role         live before, at revision 2",
        "trained on   2026-08-02T00:00:03.000Z to 2026-10-14T23:59:11.000Z",
        "             8,123,400 transactions, 32,493 frauds (0.40%)",
        "features     3: a, b, c",
        "policy       review from 0.5000, decline from 0.8000",
        "average_precision      0.6123",
        f"2026-01-01T00:00:00.000Z  revision 1  accepted  promote {first[:12]}",
        f"  live: none -> cards 2026-10-14 {first[:12]}",
        "  by ann: the first",
        f"  live: cards 2026-10-14 {first[:12]} -> cards small {second[:12]}",
    ):
        assert line in found
    assert any("not computed here" in line for line in found)


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
    digest = Repository(str(models)).put(
        artifact(code_version="\x1b[2K", training=data(0), parameters={"a": "\x1b[1A"})
    )
    found = lines(run(NOTHING, "show", digest))
    assert r"code         fraudstream \x1b[2K" in found
    assert r"parameters   a \x1b[1A" in found
    assert "             0 transactions, 0 frauds (0.00%)" in found


def test_a_model_of_the_features_in_use_is_computed_here(run: Run, models: Path) -> None:
    features = load(None)
    digest = Repository(str(models)).put(artifact(features.names, fingerprint=features.fingerprint))
    found = lines(run(NOTHING, "show", digest))
    assert "role         none, at revision 0" in found
    assert any("computed here" in line and "not computed" not in line for line in found)
    assert any(line.startswith(f"features     {len(features.names)}: card_count_10m, ") for line in found)
    assert "verdicts" not in found


def test_without_kafka_a_model_is_shown_and_its_role_is_unknown(run: Run, digests: tuple[str, str]) -> None:
    result = run(None, "show", digests[0])
    assert "role         unknown" in lines(result)
    assert result.stderr.startswith("the model's role and its verdicts are unknown: ")


def test_a_model_that_is_not_there_or_damaged_is_refused(run: Run, models: Path, digests: tuple[str, str]) -> None:
    refused = run(NOTHING, "show", MISSING)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == f"no artifact {MISSING} in {models}; `fraudstream model list` lists the models\n"
    with (models / digests[0] / "model.txt").open("a") as file:
        file.write(" ")
    damaged = run(NOTHING, "show", digests[0])
    assert (damaged.exit_code, "store it again" in damaged.stderr) == (1, True)


def theirs(**known: Any) -> dict[str, bytes]:
    """Make a model that was trained elsewhere."""
    imported = Imported(model_file="b" * 64, calibrated_on=data(250_000), **known)
    return artifact(name="theirs", version="2026-10-14", metrics=METRICS, training=None, imported=imported)


def test_an_imported_model_is_listed_as_such_with_the_end_of_its_training(run: Run, models: Path) -> None:
    repository = Repository(str(models))
    repository.put(theirs(trained_until="2026-09-01T00:00:00.000Z"))
    wide = lines(run(NOTHING, "list", width=120))
    assert "imported, to 2026-09-01 0.9398 0.6123 0.2812" in " ".join(wide[1].split())
    assert "Of imported models, measured on the end of the vectors." in " ".join(wide)
    repository.put(theirs())
    narrow = lines(run(NOTHING, "list"))
    assert max(map(len, narrow[:-2])) <= WIDTH
    assert {"imported", "imported, to 2026-09-01"} <= {part for line in narrow for part in re.split("  +", line)}
    listed = json.loads(run(NOTHING, "list", "--json").stdout)["models"]
    assert {(one["training"], one["imported"].get("trained_until")) for one in listed} == {
        (None, "2026-09-01T00:00:00.000Z"),
        (None, None),
    }


def test_the_page_of_an_imported_model_says_what_is_known_of_its_training(run: Run, models: Path) -> None:
    digest = Repository(str(models)).put(theirs(features_by_position=True))
    found = lines(run(NOTHING, "show", digest))
    for line in (
        "imported       trained elsewhere, until an unknown time",
        f"model file     {'b' * 64}",
        "calibrated on  2026-08-02T00:00:03.000Z to 2026-10-14T23:59:11.000Z",
        "               250,000 transactions, 1,000 frauds (0.40%)",
        "features       3: a, b, c, by position",
        "measured on the end of the vectors that it was imported with",
    ):
        assert line in found
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
    assert lines(run(past([approved, promoted]), "history", width=120)) == [
        "2026-01-01T00:00:00.000Z  revision 0  accepted  countersign c-1",
        "  by bob: report read",
        f"2026-01-01T00:00:00.000Z  revision 1  accepted  promote {digests[0][:12]}",
        f"  live: none -> cards 2026-10-14 {digests[0][:12]}",
        "  by ann, countersigned by bob: the first",
    ]
    (_, shown) = [json.loads(line) for line in run(past([approved, promoted]), "history", "--json").stdout.splitlines()]
    assert shown["countersigned_by"] == "bob"


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
    sent = command("demote", command_id="c-r", actor="ann", reason="in a hurry")
    assert lines(run(past([refused], sent), "history"))[-1] == f"  claimed: ann, {doubt}: in a hurry"
    (shown,) = [json.loads(line) for line in lines(run(past([refused], sent), "history", "--json"))]
    assert (shown["actor"], shown["claimed"], shown["reason"]) == (None, "ann", "in a hurry")


def test_a_restore_stands_in_the_history_as_itself(run: Run, digests: tuple[str, str]) -> None:
    (first, second) = digests
    named = {"actor": "bob", "reason": "retention was 7 days", "records": 2}
    restore = event("restoring", 1, "r", at="2026-01-01T00:00:01.000Z", evidence={"unproved": ["e"]}, **named)
    later = accepted(2, model=second, at="2026-01-01T00:00:02.000Z")
    found = run(past([accepted(1, model=first), later, restore]), "history", width=120)
    assert lines(found)[3:5] == [
        "2026-01-01T00:00:01.000Z  revision 1  restoring",
        "  by bob, 2 events, 1 of them not proved by their commands: retention was 7 days",
    ]
    assert lines(found)[5].startswith("2026-01-01T00:00:02.000Z  revision 2  accepted")


def test_the_json_history_has_one_object_for_each_verdict(run: Run, digests: tuple[str, str]) -> None:
    first, second = digests
    sent = command("promote", command_id="c-e-2-default", model=second, reason="as good")
    events = [accepted(1, model=first), accepted(2, model=second)]
    found = [json.loads(line) for line in lines(run(past(events, sent), "history", "--json"))]
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


def test_the_history_says_in_words_which_limits_were_set(run: Run) -> None:
    log = [accepted(1, "limits", limits=Limits(0.02)), accepted(2, "limits", limits=Limits(1.0))]
    found = past(log, command("limits", command_id="c-e-1-default", reason="", decline_cap=0.02))
    assert lines(run(found, "history")) == [
        "2026-01-01T00:00:00.000Z  revision 1  accepted  limits declines capped at 2%",
        "  limits: no cap on declines -> declines capped at 2%",
        "  by ann: no reason given",
        "2026-01-01T00:00:00.000Z  revision 2  accepted  limits no cap on declines",
        "  limits: declines capped at 2% -> no cap on declines",
        "  by: unknown, the command could not be read",
    ]
    second = json.loads(lines(run(found, "history", "--json"))[1])
    assert (second["before"]["limits"], second["after"]["limits"]) == ({"decline_cap": 0.02}, {"decline_cap": 1.0})


def test_a_reason_moves_no_cursor_shows_no_card_number_and_is_wrapped(run: Run) -> None:
    reason = f"card {CARD} \x1b[1A\x1b[2K " + "because of a reason that is long " * 10
    sent = command("promote", command_id="c-e-1-default", model="a" * 64, reason=reason, actor=f"ann {CARD}")
    log = past([accepted(1, model="a" * 64)], sent)
    found = lines(run(log, "history"))
    assert max(map(len, found)) <= WIDTH
    assert r"  by ann [redacted]: card [redacted] \x1b[1A\x1b[2K because of a reason that is" in found
    assert CARD not in run(log, "history", "--json").stdout


def test_names_that_the_repository_does_not_say_are_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = past([accepted(1, model=MISSING)])
    assert f"  live: none -> {MISSING[:12]}" in lines(run(log, "history"))

    monkeypatch.setattr(model_history, "_NAMES_SECONDS", 0.01)
    hung = threading.Event()
    monkeypatch.setattr(Repository, "digests", lambda _: hung.wait(30))
    result = run(log, "history")
    assert f"  live: none -> {MISSING[:12]}" in lines(result)
    assert result.stderr == "the models' names are unknown: the repository did not answer within 0.01 s\n"
    hung.set()


def test_a_repository_that_is_away_is_the_reason_for_missing_names(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Repository) -> None:
        raise RepositoryUnavailableError("s3://models: no answer within 30 s")

    monkeypatch.setattr(Repository, "digests", away)
    result = run(past([accepted(1, model=MISSING)]), "history")
    assert f"  live: none -> {MISSING[:12]}" in lines(result)
    assert result.stderr == "the models' names are unknown: s3://models: no answer within 30 s\n"


def test_a_deployment_without_commands_has_an_empty_history(run: Run) -> None:
    assert lines(run(NOTHING, "history")) == ["no command to deployment default has a verdict yet"]
    assert lines(run(NOTHING, "history", "--json")) == []


def test_the_history_says_why_it_does_not_know_who(run: Run) -> None:
    result = run(replace(past([accepted(1, model=MISSING)]), unknown="no right to read it"), "history")
    assert "  by: unknown, the command could not be read" in lines(result)
    assert "who sent the commands, and why, is unknown: no right to read it\n" in result.stderr


# --- commands without a verdict


def unanswered(run: Run, monkeypatch: pytest.MonkeyPatch, *messages: str) -> str:
    """Send a command that gets no verdict, and return what standard error says."""

    async def send(_settings: Settings, _request: CommandRequest, tell: Tell) -> tuple[str, None]:
        for message in messages:
            tell(message)
        return "c-1", None

    monkeypatch.setattr("fraudstream.cli.commands.command_traced", send)
    result = run(NOTHING, "rollback", "--wait", "5", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, {"command_id": "c-1", "kind": None})
    assert run(NOTHING, "rollback", "--wait", "5").stdout == ""
    return result.stderr


def test_a_command_that_nobody_judges_says_when_it_expires_and_at_the_end_what_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unanswered(run, monkeypatch, "nobody judges: start one") == (
        "nobody judges: start one; the command expires 5 s after it was sent (--wait)\n"
        "no verdict within 5 s; command c-1 has expired: when a worker runs, send the command again\n"
    )


def test_a_command_that_workers_do_not_answer_says_where_to_look(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unanswered(run, monkeypatch) == (
        "no verdict within 5 s; command c-1 has expired: is a worker running and ready? Its /health/ready says why "
        "not\n"
    )

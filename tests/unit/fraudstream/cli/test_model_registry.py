"""`model sign`, `model prune` and `model card` on a repository, with a history that is given and no broker."""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from click.testing import CliRunner, Result

from fraudstream.cli import model_card, model_prune
from fraudstream.cli.card_sections import NOT_STATED
from fraudstream.cli.main import main
from fraudstream.ops.rollout.lineup.named_models import NamedModels, NamingScope
from fraudstream.ops.watch.explanations.process import AlertExplainer
from models.artifact import Provenance, digest_of
from models.errors import UnsignedArtifactError
from models.repository import Repository
from models.retention import Mentions
from models.signing import Role
from stream.clock import now_ms
from stream.control.history import History, history_of
from stream.engine.tracing import NoOperationTracing
from stream.errors import ControlLogError
from stream.settings import Settings
from support.control_events import accepted
from support.model_artifacts import artifact
from support.signing import holder, model_trust

ANN, EVE = holder("ann", Role.MODEL), holder("eve", Role.MODEL)
OLD = artifact(name="cards", version="1")
NEW = artifact(name="cards", version="2", parent=digest_of(OLD))
STATED = """
owner = "Fraud <desk>"
purpose = "Decide card payments\\nin Europe."
limitations = ["No payments of a card's first day.", "Euro alone."]
review_by = 2031-01-31
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def run(models: Path, *arguments: str, **settings: str) -> Result:
    environment = {"FRAUDSTREAM_MODELS": str(models), "FRAUDSTREAM_BROKERS": "127.0.0.1:1", "COLUMNS": "80"} | settings
    return CliRunner(env=environment).invoke(main, ["model", *arguments])


def put(models: Path, *contents: dict[str, bytes], days_old: int = 0) -> list[str]:
    digests = [Repository(str(models)).put(one) for one in contents]
    for digest in digests:
        file = models / digest / "manifest.json"
        at = file.stat().st_mtime - days_old * 86_400
        os.utime(file, (at, at))
    return digests


# --- sign


def test_a_model_is_signed_and_shown_with_whoever_signed_it(models: Path, tmp_path: Path) -> None:
    (digest,) = put(models, OLD)
    (tmp_path / "ann.pem").write_bytes(ANN.key.pem)
    (tmp_path / "ann.pem").chmod(0o600)
    (tmp_path / "keys.toml").write_text(ANN.line)
    signed = run(models, "sign", digest[:12], "--key", str(tmp_path / "ann.pem"), "--json")
    assert signed.exit_code == 0, signed.output
    assert json.loads(signed.stdout) == {
        "digest": digest,
        "name": "cards",
        "version": "1",
        "key": ANN.key_id,
        "file": f"{models}/signatures/{digest}/{ANN.key_id}.json",
    }
    assert Repository(str(models), model_trust(ANN)).fetch(digest) == OLD
    shown = run(models, "show", digest, FRAUDSTREAM_MODEL_KEYS=str(tmp_path / "keys.toml"))
    assert f"key {ANN.key_id}, by ann" in shown.stdout
    shown = run(models, "show", digest)
    assert f"key {ANN.key_id}, not verified: FRAUDSTREAM_MODEL_KEYS is empty" in shown.stdout


def test_a_damaged_model_is_not_signed(models: Path, tmp_path: Path) -> None:
    (digest,) = put(models, OLD)
    (tmp_path / "ann.pem").write_bytes(ANN.key.pem)
    (models / digest / "model.txt").write_text("tree")
    refused = run(models, "sign", digest, "--key", str(tmp_path / "ann.pem"))
    assert (refused.exit_code, "store it again" in refused.stderr) == (1, True)
    assert Repository(str(models)).signatures(digest) == {}


@pytest.mark.parametrize(("text", "message"), {None: "cannot be read", "x": "holds no private key in PEM"}.items())
def test_a_key_that_cannot_be_used_is_refused(models: Path, tmp_path: Path, text: str | None, message: str) -> None:
    (digest,) = put(models, OLD)
    if text is not None:
        (tmp_path / "ann.pem").write_text(text)
    refused = run(models, "sign", digest, "--key", str(tmp_path / "ann.pem"))
    assert (refused.exit_code, refused.stderr.startswith("--key: "), message in refused.stderr) == (2, True, True)


# --- prune


Named = Callable[[Mentions], None]


@pytest.fixture
def prune(models: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A function that prunes with what the broker names, one after the other at each look; an error is raised."""

    def run_with(looks: list[Named | Exception], *arguments: str, latest: Sequence[Named | Exception] = ()) -> Result:
        waiting, later = list(looks), list(latest)

        async def read(_settings: Settings, _tell: Any, scope: NamingScope) -> NamedModels:
            found = waiting.pop(0)
            if isinstance(found, Exception):
                raise found
            named = NamedModels(Mentions(), {"model-events": 3} | ({"scores": 9} if scope.decisions else {}))
            found(named.mentions)
            return named

        async def read_latest(_settings: Settings, scope: NamingScope, since_ms: int) -> Mentions:
            assert (scope.decisions, since_ms < now_ms()) == (False, True)
            found, mentions = later.pop(0) if later else names(), Mentions()
            if isinstance(found, Exception):
                raise found
            found(mentions)
            return mentions

        monkeypatch.setattr(model_prune, "read_named_models", read)
        monkeypatch.setattr(model_prune, "read_latest_names", read_latest)
        return run(models, "prune", *arguments)

    return run_with


def names(*digests: str) -> Named:
    return lambda mentions: [mentions.add(digest, "live of default") for digest in digests] and None


def test_a_dry_run_deletes_nothing_and_gives_the_reasons(prune: Any, models: Path) -> None:
    old, new = put(models, OLD, NEW, days_old=400)
    (young,) = put(models, artifact(name="young"))
    (unnamed,) = put(models, artifact(name="unnamed"), days_old=400)
    done = prune([names(new)])
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for digest, reason in ((unnamed, "not kept: nothing names it"), (new, "live of default"), (young, "young"),
                           (old, f"parent of {new[:12]}")):  # fmt: skip
        assert any(digest[:12] in line and line.endswith(reason) for line in lines), (digest, lines)
    assert "read: 3 records of model-events, 9 records of scores" in lines
    assert lines[-1] == "dry run: 1 of 4 models would be deleted; --apply deletes them"
    assert len(Repository(str(models)).digests()) == 4


def test_apply_deletes_what_nothing_names_with_the_files_beside_it(prune: Any, models: Path) -> None:
    old, new = put(models, OLD, NEW, days_old=400)
    (unnamed,) = put(models, artifact(name="unnamed"), days_old=400)
    for folder in ("signatures", "cards"):
        for digest in (unnamed, new):
            Repository(str(models)).write(f"{folder}/{digest}/a.json", b"{}")
    done = prune([names(new), names(new)], "--apply", "--json")
    facts = json.loads(done.stdout)
    assert (facts["deleted"], [one["digest"] for one in facts["unnamed"]]) == ([unnamed], [unnamed])
    assert {one["digest"]: one["reasons"] for one in facts["kept"]} == {
        new: ["live of default"],
        old: [f"parent of {new[:12]}"],
    }
    assert Repository(str(models)).digests() == tuple(sorted((old, new)))
    left = {path.relative_to(models).as_posix() for path in models.rglob("a.json")}
    assert left == {f"cards/{new}/a.json", f"signatures/{new}/a.json"}


def test_a_model_that_a_command_names_between_the_looks_stays(prune: Any, models: Path) -> None:
    first, second = put(models, OLD, artifact(name="other"), days_old=400)
    done = prune([names(), names(first)], "--apply")
    assert done.stdout.splitlines()[-1].startswith("deleted 1 of 2 models in ")
    assert "1 left out, since named, stored again or deleted meanwhile" in done.stdout
    assert Repository(str(models)).digests() == (first,)
    assert second != first


def test_a_model_that_is_promoted_during_the_deletions_stays_with_what_it_descends_from(
    prune: Any, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_prune, "_BATCH", 1)
    old, new, *_ = put(models, OLD, NEW, artifact(name="a"), artifact(name="b"), days_old=400)
    done = prune([names(), names()], "--apply", latest=[names(new)])
    assert "deleted 2 of 4 models" in done.stdout
    assert Repository(str(models)).digests() == tuple(sorted((old, new)))


@pytest.mark.parametrize("error", [KafkaConnectionError("no broker answers"), ControlLogError("it has lost records")])
def test_when_commands_cannot_be_read_any_more_no_other_model_is_deleted(
    prune: Any, models: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(model_prune, "_BATCH", 1)
    put(models, artifact(name="a"), artifact(name="b"), days_old=400)
    refused = prune([names(), names()], "--apply", latest=[names(), error])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "1 of 2 models were deleted before, and no other is: run it again" in refused.stderr
    assert len(Repository(str(models)).digests()) == 1
    refused = prune([names(), names()], "--apply", latest=[error])
    assert "nothing is deleted" in refused.stderr


def test_the_files_beside_a_model_that_is_stored_again_while_it_is_deleted_stay(tmp_path: Path) -> None:
    class StoredAgain(Repository):
        def delete(self, digest: str, stored_before_ms: int) -> bool:
            deleted = super().delete(digest, stored_before_ms)
            assert self.put(OLD) == digest
            return deleted

    digest = Repository(str(tmp_path)).put(OLD)
    for repository, left in ((StoredAgain(str(tmp_path)), ("a.json",)), (Repository(str(tmp_path)), ())):
        for folder in ("signatures", "cards"):
            repository.write(f"{folder}/{digest}/a.json", b"{}")
        assert model_prune.delete_model(repository, digest, 2**45)
        assert [repository.names(f"{folder}/{digest}") for folder in ("signatures", "cards")] == [left, left]


def test_what_a_snapshot_names_is_kept(prune: Any, models: Path) -> None:
    (digest,) = put(models, OLD, days_old=400)
    Repository(str(models)).write("control/model-events.default.jsonl", f'{{"model":"{digest}"}}'.encode())
    done = prune([names()], "--json")
    (kept,) = json.loads(done.stdout)["kept"]
    assert kept["reasons"] == ["snapshot control/model-events.default.jsonl"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KafkaConnectionError("no broker answers"), "nothing is deleted, since the history is unknown: "),
        (ControlLogError("model-events has lost 3 records"), "model-events has lost 3 records; nothing is deleted"),
    ],
)
@pytest.mark.parametrize("looks", [0, 1])
def test_without_the_whole_history_nothing_is_deleted(
    prune: Any, models: Path, error: Exception, message: str, looks: int
) -> None:
    put(models, OLD, days_old=400)
    refused = prune([*[names()] * looks, error], "--apply")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert message in refused.stderr
    assert len(Repository(str(models)).digests()) == 1


# --- card


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(_settings: Settings) -> History:
        return history_of("default", [accepted(1, model=digest_of(OLD))], {})

    monkeypatch.setattr(model_card, "read_history", read)


@pytest.mark.usefixtures("history")
def test_a_card_says_what_is_stated_and_what_is_not(models: Path, tmp_path: Path) -> None:
    old, _ = put(models, OLD, NEW)
    blank = run(models, "card", old)
    assert blank.exit_code == 0, blank.output
    assert f"- **Owner**: {NOT_STATED}" in blank.stdout
    assert re.search(
        r"^> \*\*\N{HORIZONTAL ELLIPSIS} Incomplete: \d+ of \d+ facts are not stated\*\*$", blank.stdout, re.MULTILINE
    )
    assert "\n> Not stated: Owner, Contact, " in blank.stdout
    (tmp_path / "card.toml").write_text(STATED)
    recorded = run(models, "card", old, "--record", str(tmp_path / "card.toml"), FRAUDSTREAM_ACTOR="ann")
    for line in (
        "# Model card: cards 1",
        f"- **Digest**: {old}",
        "- **Owner**: Fraud &lt;desk>",
        "- **Purpose**: Decide card payments in Europe.",
        "- Euro alone.",
        "- **Fairness**: not stated",
        "- **Metric auc**: 0.9000",
        "- **Policy**: review from 0.5000, decline from 0.8000",
        f"- cards 2 {digest_of(NEW)[:12]} (parent)",
    ):
        assert line in recorded.stdout.splitlines(), line
    assert "- **Next review**: due by 2031-01-31, in " in recorded.stdout
    assert " by ann" in recorded.stdout
    assert "promote" in recorded.stdout, "what became of it"
    assert recorded.stdout.count("\n## ") == 9
    assert "proves no compliance with any guidance" in recorded.stdout
    assert Repository(str(models)).fetch(old) == OLD


@pytest.mark.usefixtures("history")
def test_a_card_is_written_as_a_file_by_its_ending(models: Path, tmp_path: Path) -> None:
    (old,) = put(models, OLD)
    (tmp_path / "card.toml").write_text(STATED)
    for name, begins in (("card.md", "# Model card"), ("card.html", "<!DOCTYPE html>")):
        done = run(models, "card", old, "--record", str(tmp_path / "card.toml"), "--out", str(tmp_path / name))
        assert done.stdout == f"wrote {tmp_path / name}\n"
        assert (tmp_path / name).read_text().startswith(begins)
    page = (tmp_path / "card.html").read_text()
    assert "Fraud &lt;desk&gt;" in page
    assert "No payments of a card" in page
    facts = json.loads(run(models, "card", old, "--json").stdout)
    assert (facts["card"]["owner"], facts["card_versions"], facts["review"]["by"]) == ("Fraud <desk>", 2, "2031-01-31")
    assert [one["title"] for one in facts["sections"]][:2] == ["The model", "Purpose and use"]


@pytest.mark.usefixtures("history")
def test_a_card_that_cannot_be_used_is_not_recorded(models: Path, tmp_path: Path) -> None:
    (old,) = put(models, OLD)
    (tmp_path / "card.toml").write_text("owmer = 'a'")
    refused = run(models, "card", old, "--record", str(tmp_path / "card.toml"))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "card.toml: Object contains unknown field `owmer`" in refused.stderr
    assert run(models, "card", old, "--out", str(tmp_path / "card.pdf")).exit_code == 2
    assert json.loads(run(models, "card", old, "--json").stdout)["card_versions"] == 0


@pytest.mark.usefixtures("history")
def test_a_card_begins_with_a_review_that_is_overdue_or_failed(models: Path, tmp_path: Path) -> None:
    (old,) = put(models, OLD)
    card = tmp_path / "card.toml"
    card.write_text('owner = "desk"\nreview_by = 2020-01-31')
    overdue = run(models, "card", old, "--record", str(card)).stdout
    assert re.search(r"^> \*\*. Review overdue by \d+ days, since 2020-01-31\*\*$", overdue, re.MULTILINE)
    card.write_text('owner = "desk"\nreview_by = 2031-01-31')
    failed = run(models, "card", old, "--record", str(card), "--review", "failed", "--json", FRAUDSTREAM_ACTOR="ann")
    assert re.fullmatch(r"Failed: its last review, \S+ by ann", json.loads(failed.stdout)["headline"])


def test_without_the_control_log_a_card_says_that_its_past_is_unknown(models: Path) -> None:
    (old,) = put(models, OLD)
    done = run(models, "card", old)
    assert done.exit_code == 0
    assert "- **Commands about it**: unknown, since the control log could not be read" in done.stdout
    assert "what became of the model is unknown" in done.stderr


def test_lineage_provenance_and_review_are_on_the_page_and_in_the_list(models: Path, tmp_path: Path) -> None:
    made = Provenance(
        code="c" * 64, commit="d" * 40, python="3.11.9", libraries={"numpy": "2.2.0", "lightgbm": "4.6.0"}
    )
    grandchild = artifact(name="cards", version="3", parent=digest_of(NEW), provenance=made)
    old, new, last = put(models, OLD, NEW, grandchild)
    (tmp_path / "card.toml").write_text('owner = "desk"\nreview_by = 2020-01-31')
    run(models, "card", last, "--record", str(tmp_path / "card.toml"))
    shown = [" ".join(line.split()) for line in run(models, "show", last).stdout.splitlines()]
    for line in (
        f"descends from cards 2 {new[:12]} (parent)",
        f"descends from cards 1 {old[:12]} (parent of {new[:12]})",
        f"digest {last}",
        "code fraudstream 0.1.0",
        f"commit {'d' * 40}",
        f"sources {'c' * 64}",
        "made with Python 3.11.9, lightgbm 4.6.0, numpy 2.2.0",
        "owner desk",
    ):
        assert line in shown, line
    assert any(re.fullmatch(r"review overdue by \d+ days, since 2020-01-31", line) for line in shown)
    facts = json.loads(run(models, "show", old, "--json").stdout)
    assert [(one["digest"], one["steps"]) for one in facts["descendants"]] == [(new, 1), (last, 2)]
    listed = run(models, "list")
    assert re.search(rf"cards 3 {last[:12]}: review overdue by \d+ days, since 2020-01-31\n", listed.stdout)
    reviews = {one["digest"]: one["review"] for one in json.loads(run(models, "list", "--json").stdout)["models"]}
    assert (reviews[old], reviews[last]["by"]) == (None, "2020-01-31")


def test_a_digest_of_a_manifest_without_provenance_is_as_it_was() -> None:
    assert b"provenance" not in OLD["manifest.json"]
    assert artifact(name="cards", version="1", provenance=None) == OLD


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "{file}", "--model", "{model}", "--out", "{out}"),
        ("evaluate", "{model}", "{file}"),
        ("distill", "{file}", "--name", "small", "--teacher", "{model}"),
        ("model", "policy", "{model}", "--review-at", "0.3", "--decline-at", "0.9"),
    ],
)
def test_whatever_computes_with_an_unsigned_model_refuses_it_before_it_reads_anything(
    models: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (digest,) = put(models, OLD)
    (tmp_path / "keys.toml").write_text(EVE.line)
    (tmp_path / "f.csv").write_text("x\n")
    environment = {"FRAUDSTREAM_MODELS": str(models), "FRAUDSTREAM_MODEL_KEYS": str(tmp_path / "keys.toml")}
    given = {"file": tmp_path / "f.csv", "model": digest[:12], "out": tmp_path / "o.parquet"}
    refused = CliRunner(env=environment).invoke(main, [one.format(**given) for one in arguments])
    assert refused.exit_code == 1, refused.output
    assert f"{digest} is not signed; let one of the persons in FRAUDSTREAM_MODEL_KEYS sign it" in refused.stderr
    with pytest.raises(UnsignedArtifactError):
        Repository(str(models), model_trust(EVE)).fetch(digest)


def test_what_explains_alerts_for_months_loads_signed_models_alone(models: Path, tmp_path: Path) -> None:
    (digest,) = put(models, OLD)
    (tmp_path / "keys.toml").write_text(EVE.line)
    settings = Settings(models=str(models), model_keys=str(tmp_path / "keys.toml"))
    table: Any = None
    explainer = AlertExplainer(settings, table, None, lambda _fact: None, NoOperationTracing())
    with pytest.raises(UnsignedArtifactError):
        explainer._shelf._repository.fetch(digest)

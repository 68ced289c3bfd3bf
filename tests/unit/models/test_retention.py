"""A prune keeps what anything names and what is young, and what those descend from; nothing else."""

import hashlib
import os
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.rollout.lineup import named_models as broker
from fraudstream.ops.rollout.lineup.named_models import (
    NamingScope,
    add_event,
    add_roles,
    fleet_topics,
    read_named_models,
)
from models.artifact import FILES, digest_of
from models.commands import encode
from models.errors import MissingArtifactError
from models.lineage import Relation, ancestors, descendants, named_models
from models.lineup import Lineup, follow
from models.repository import Repository, StoredManifest
from models.retention import Mentions, plan_prune
from stream.errors import ControlLogError
from stream.settings import Settings
from support.control_events import accepted
from support.judged_log import command

DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000
OLD_MS, YOUNG_MS, SINCE_MS = NOW_MS - 400 * DAY_MS, NOW_MS - 2 * DAY_MS, NOW_MS - 90 * DAY_MS
NUMBERS = st.integers(0, 11)
CONTENTS = {name: f"contents of {name}".encode() for name in FILES}


def digest(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def stored(stored_ms: int | None = OLD_MS, **fields: Any) -> StoredManifest:
    manifest = {"schema": "manifest/1", "training": {"fingerprint": "0" * 64}, **fields}
    return StoredManifest(msgspec.json.encode(manifest), stored_ms)


def history(promotions: int, deployment: str = "default") -> tuple[Mentions, Lineup]:
    """Promote so many models one after another, and return what the records name, and the lineup."""
    mentions, lineup = Mentions(), Lineup(deployment)
    for revision in range(1, promotions + 1):
        event = accepted(revision, model=digest(revision), deployment=deployment)
        lineup = follow(lineup, event)
        add_event(mentions, event, encode(event))
    add_roles(mentions, lineup, NOW_MS)
    return mentions, lineup


def test_after_50_promotions_all_that_were_live_are_kept_and_only_what_nothing_names_goes() -> None:
    mentions, lineup = history(50)
    assert lineup.revision == 50
    models: dict[str, StoredManifest | None] = {digest(number): stored() for number in range(1, 51)}
    models[digest(7)] = stored(parent=digest("parent"))
    models[digest("parent")] = stored(distilled={"teachers": [{"digest": digest("teacher")}]})
    models |= {digest(name): stored() for name in ("teacher", "asked for", "decided", "snapshot", "left 1", "left 2")}
    models |= {digest("young"): stored(YOUNG_MS), digest("no time"): stored(None), digest("no manifest"): None}
    models[digest("left 3")] = stored(parent=digest(50), note=digest("left 1"))
    refused = command("promote", "c", 50, digest("asked for")[:12])
    mentions.add_control(encode(refused), "named on model-control")
    mentions.add_decision(b'{"score":0.5,"model":{"name":"m","digest":"%s"}}' % digest("decided").encode(), "decisions")
    mentions.add_control(b'{"schema":"snapshot/1"}\n{"model":"%s"}\n' % digest("snapshot").encode(), "snapshot")
    plan = plan_prune(models, mentions, SINCE_MS)
    assert plan.deleted == tuple(sorted(digest(f"left {number}") for number in (1, 2, 3)))
    why = {name: plan.kept[digest(name)] for name in (50, 49, 48, "parent", "teacher", "asked for", "young", "no time")}
    assert why == {
        50: ("promote at revision 50 of default", "live of default"),
        49: ("promote at revision 49 of default", "roll-back target of default"),
        48: ("promote at revision 48 of default",),
        "parent": (f"parent of {digest(7)[:12]}",),
        "teacher": (f"distilled.teachers.digest of {digest('parent')[:12]}",),
        "asked for": ("named on model-control",),
        "young": ("young",),
        "no time": ("the file system does not tell when it was stored",),
    }
    assert plan.kept[digest("no manifest")] == ("its manifest cannot be read",)
    assert set(plan.kept) | set(plan.deleted) == set(models)


def test_a_model_that_another_deployment_names_is_kept() -> None:
    mentions, _ = history(1, "green")
    plan = plan_prune({digest(1): stored(), digest(2): stored()}, mentions, SINCE_MS)
    assert plan.kept == {digest(1): ("promote at revision 1 of green", "live of green")}


@given(st.sets(NUMBERS), st.sets(st.tuples(NUMBERS, NUMBERS)), st.sets(NUMBERS))
def test_what_is_deleted_is_named_by_nothing_that_stays(
    named: set[int], edges: set[tuple[int, int]], young: set[int]
) -> None:
    models = {
        digest(one): stored(
            YOUNG_MS if one in young else OLD_MS, parents=[digest(to) for of, to in sorted(edges) if of == one]
        )
        for one in range(12)
    }
    mentions = Mentions()
    for one in named:
        mentions.add(digest(one), "named")
    plan = plan_prune(models, mentions, SINCE_MS)
    kept = named | young
    while (more := kept | {to for of, to in edges if of in kept}) != kept:  # an independent recount
        kept = more
    assert set(plan.kept) == {digest(one) for one in kept}
    assert set(plan.deleted) == {digest(one) for one in range(12)} - set(plan.kept)


@pytest.mark.parametrize("length", [8, 9, 63, 64])
def test_the_first_digits_of_a_digest_name_it(length: int) -> None:
    mentions = Mentions()
    mentions.add_control(f'{{"model":"{digest(1)[:length]}"}}'.encode(), "command")
    assert mentions.of(digest(1)) == ("command",)
    assert mentions.of(digest(2)) == ()


def test_a_longer_run_of_digits_and_one_of_seven_name_nothing() -> None:
    mentions = Mentions()
    for text in (digest(1) + "0", "f" + digest(1), digest(1)[:7], digest(1).upper()):
        mentions.add_control(text.encode(), "command")
    assert mentions.of(digest(1)) == ()


def test_a_damaged_manifest_still_names_what_can_be_found_in_it() -> None:
    known = frozenset({digest(1), digest(2)})
    whole = stored(parent=digest(1)).value
    assert named_models(whole, digest(2), known) == (Relation(digest(1), "parent"),)
    assert named_models(whole[:-1], digest(2), known) == (Relation(digest(1), "named in a damaged manifest"),)
    assert named_models(whole, digest(1), known) == (), "a model does not descend from itself"


def test_lineage_goes_up_and_down_nearest_first_and_ends_in_a_circle() -> None:
    relations = {
        "c": (Relation("b", "parent"), Relation("t", "teacher")),
        "b": (Relation("a", "parent"),),
        "a": (Relation("c", "parent"),),
        "d": (Relation("b", "parent"),),
    }
    assert [(one.digest, one.steps, one.field, one.of) for one in ancestors("c", relations)] == [
        ("b", 1, "parent", "c"), ("t", 1, "teacher", "c"), ("a", 2, "parent", "b"),
    ]  # fmt: skip
    assert [(one.digest, one.steps, one.of) for one in descendants("b", relations)] == [
        ("c", 1, "b"), ("d", 1, "b"), ("a", 2, "c"),
    ]  # fmt: skip


def test_the_topics_of_all_fleets_are_found_and_those_of_others_left_out() -> None:
    names = [
        "model-events", "model-control", "scores", "scores-green", "shadow-scores", "transactions", "credit-scores",
        "eu.model-events", "eu.scores", "eu.scores-blue", "eu.incidents", "explanations", "other.scores",
        "predictions", "eu.predictions", "other.predictions",
    ]  # fmt: skip
    assert [tuple(one) for one in fleet_topics(names)] == [
        ("eu.", ("eu.incidents", "eu.model-events"), ("eu.predictions",), ("eu.scores", "eu.scores-blue")),
        (
            "",
            ("model-control", "model-events"),
            ("predictions",),
            ("explanations", "scores", "scores-green", "shadow-scores"),
        ),
    ]


@pytest.mark.parametrize("text", [digest(1), digest(1)[:12], f"teacher {digest(1)[:12]} of May"])
def test_the_model_of_a_prediction_is_kept(text: str) -> None:
    record = {"schema": "prediction/1", "card_id": digest(2), "name": "teacher", "value": 0.5, "model": text}
    mentions = Mentions()
    mentions.add_prediction(msgspec.json.encode(record), "predictions")
    assert mentions.of(digest(1)) == ("predictions",)
    assert mentions.of(digest(2)) == (), "a card names no model"


@pytest.mark.parametrize("begin", [0, 7])
async def test_the_emptied_history_of_another_fleet_is_no_history(monkeypatch: pytest.MonkeyPatch, begin: int) -> None:
    async def topics(_settings: Settings) -> frozenset[str]:
        return frozenset({"model-events", "eu.model-events"})

    async def values(*_arguments: object) -> AsyncIterator[bytes]:
        for nothing in ():
            yield nothing

    async def no_roles(*_arguments: object) -> None: ...

    async def ranges(_settings: Settings, tps: list[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        assert tps == [TopicPartition("eu.model-events", 0)]
        return dict.fromkeys(tps, (begin, begin))

    stubs = {"_topic_names": topics, "_values": values, "_read_roles": no_roles, "offset_ranges": ranges}
    for name, one in stubs.items():
        monkeypatch.setattr(broker, name, one)
    reading = read_named_models(Settings(), lambda _topic, _share: None, NamingScope())
    if begin:
        with pytest.raises(ControlLogError, match=r"eu\.model-events has lost its first 7 records"):
            await reading
    else:
        assert not len((await reading).mentions)


@pytest.mark.parametrize("decisions", [True, False])
async def test_predictions_are_read_whether_or_not_decisions_are(
    monkeypatch: pytest.MonkeyPatch, *, decisions: bool
) -> None:
    records = {"predictions": digest(1), "scores": digest(2)}

    async def topics(_settings: Settings) -> frozenset[str]:
        return frozenset({"model-events", *records})

    async def values(_settings: Settings, topic: str, _tell: object, _since_ms: int = 0) -> AsyncIterator[bytes]:
        if topic in records:
            yield f'{{"model":"{records[topic]}","digest":"{records[topic]}"}}'.encode()

    async def no_roles(*_arguments: object) -> None: ...

    for name, one in (("_topic_names", topics), ("_values", values), ("_read_roles", no_roles)):
        monkeypatch.setattr(broker, name, one)
    named = await read_named_models(Settings(), lambda _topic, _share: None, NamingScope(decisions=decisions))
    assert named.mentions.of(digest(1)) == ("predictions on predictions",)
    assert bool(named.mentions.of(digest(2))) is decisions
    assert named.records == {"model-events": 0, "predictions": 1} | ({"scores": 1} if decisions else {})


@pytest.fixture(params=["folder", "memory"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    return Repository(str(tmp_path / "models") if request.param == "folder" else f"memory://{tmp_path.name}/models")


def test_a_deleted_artifact_is_gone_with_all_its_files_and_can_be_stored_again(repository: Repository) -> None:
    one, other = repository.put(CONTENTS), repository.put(CONTENTS | {"model.txt": b"other"})
    assert not repository.delete(one, 1), "it was stored after 1970"
    assert repository.fetch(one) == CONTENTS
    assert repository.delete(one, 2**45)
    assert repository.digests() == (other,)
    with pytest.raises(MissingArtifactError):
        repository.fetch(one)
    with pytest.raises(MissingArtifactError):
        repository.delete("0" * 64, 2**45)
    assert repository.put(CONTENTS) == one
    assert repository.fetch(one) == CONTENTS


def test_a_folder_of_files_beside_an_artifact_is_removed_and_one_that_is_not_there_is_not_missed(
    repository: Repository,
) -> None:
    one = repository.put(CONTENTS)
    repository.write(f"signatures/{one}/a.json", b"{}")
    repository.write(f"signatures/{'0' * 64}/a.json", b"{}")
    assert repository.names(f"signatures/{one}") == ("a.json",)
    for _ in range(2):
        repository.remove_folder(f"signatures/{one}")
        assert repository.names(f"signatures/{one}") == ()
    assert repository.names(f"signatures/{'0' * 64}") == ("a.json",)
    assert repository.fetch(one) == CONTENTS


def test_storing_an_artifact_again_makes_it_young(tmp_path: Path) -> None:
    repository = Repository(str(tmp_path))
    one = repository.put(CONTENTS)
    os.utime(tmp_path / one / "manifest.json", (1_000_000_000, 1_000_000_000))
    assert repository.manifest(one).stored_ms == 1_000_000_000_000
    repository.put(CONTENTS)
    assert not repository.delete(one, 1_100_000_000_000)
    assert repository.fetch(one) == CONTENTS


def test_a_renewed_artifact_is_young_and_one_that_is_gone_cannot_be_renewed(tmp_path: Path) -> None:
    repository = Repository(str(tmp_path))
    one = repository.put(CONTENTS)
    os.utime(tmp_path / one / "manifest.json", (1_000_000_000, 1_000_000_000))
    assert repository.renew(one) == CONTENTS
    assert not repository.delete(one, 1_100_000_000_000)
    assert repository.delete(one, 2**45)
    with pytest.raises(MissingArtifactError):
        repository.renew(one)


def test_an_artifact_that_another_process_stores_while_it_is_pruned_is_there_afterwards(tmp_path: Path) -> None:
    one = digest_of(CONTENTS)
    for _ in range(100):
        repository = Repository(str(tmp_path))
        repository.put(CONTENTS)
        os.utime(tmp_path / one / "manifest.json", (1_000_000_000, 1_000_000_000))
        start = threading.Barrier(2)

        def store(start: threading.Barrier = start) -> None:
            start.wait()
            assert Repository(str(tmp_path)).put(CONTENTS) == one

        thread = threading.Thread(target=store)
        thread.start()
        start.wait()
        with suppress(MissingArtifactError):
            repository.delete(one, 1_100_000_000_000)
        thread.join()
        assert repository.fetch(one) == CONTENTS
    assert [path.name for path in tmp_path.iterdir()] == [one], "nothing else is left behind"

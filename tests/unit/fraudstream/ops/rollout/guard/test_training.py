"""What a guard knows of a canary's training: by its manifest, once, and again where the repository did not answer."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraudstream.ops.rollout.guard.training import KnownTraining, training_of
from fraudstream.ops.rollout.guard.watched import Watched, past_of
from guards.specs import GuardKind
from models.artifact import read_artifact
from models.errors import RepositoryUnavailableError
from models.repository import Repository
from models.training_reference import QuantityReference, TrainingReference
from stream.settings import Settings
from support.control_events import accepted
from support.fleet.payments import put_model

A = "a" * 64


def canary_of(digest: str) -> Watched:
    watched = past_of("default", [accepted(1, model=A), accepted(2, "canary", digest, share_bp=100, salt="s")]).watched
    assert watched is not None
    return watched


def test_the_undefined_part_of_each_feature_and_the_bands_are_those_of_the_manifest(tmp_path: Path) -> None:
    artifact = read_artifact(Repository(str(tmp_path)).fetch(put_model(str(tmp_path))))
    plain = QuantityReference(edges=(1.0,), workdays=(60, 20, 10), weekends=(5, 0, 5), design_effect=1.0, usual=0.0)
    names = artifact.manifest.feature_names
    reference = TrainingReference(
        since="2026-01-01T00:00:00.000Z",
        until="2026-02-01T00:00:00.000Z",
        rows=100,
        cards=10,
        features=(plain,) * len(names),
        score=plain,
        decisions=None,
        bands=(0, 50, 50, *[0] * 17),
    )
    found = training_of(msgspec.structs.replace(artifact.manifest, reference=reference))
    assert found is not None
    assert found.undefined == dict.fromkeys(names, 0.15)
    assert found.outside() == {0, *range(3, 20)}
    assert training_of(msgspec.structs.replace(artifact.manifest, reference=None)) is None


async def test_a_repository_that_does_not_answer_is_asked_again_and_nothing_climbs_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, digest, away = [0], put_model(str(tmp_path)), [True]
    monkeypatch.setattr("fraudstream.ops.rollout.guard.training.now_ms", lambda: now[0])

    def opened(url: str) -> Any:
        if away[0]:
            raise RepositoryUnavailableError("no route")
        return Repository(url)

    known = KnownTraining(Settings(models=str(tmp_path)), opened)
    assert await known.of(canary_of(digest)) is None
    assert known.trouble == "the repository does not say what the canary's training saw: no route"
    away[0] = False
    await known.of(canary_of(digest))
    assert known.trouble, "it is not asked at every look"
    now[0] = 30_000
    await known.of(canary_of(digest))
    assert known.trouble == ""
    assert await known.of(canary_of("b" * 64)) is None
    assert known.trouble == "", "a model that is not there is compared with nothing"
    unguarded = canary_of(digest)
    without = unguarded._replace(guards={k: v for k, v in unguarded.guards.items() if k is not GuardKind.UNSEEN})
    assert await known.of(without) is None

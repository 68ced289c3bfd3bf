"""The challenger compares every decision, and whatever becomes of it, decisions go on."""

import json
from typing import Any

import numpy as np
import psutil
from fleet import Fleet, sources, until
from payments import FEATURES, payment, put_model
from workers import Worker

from models.loading import Model, load
from models.policy import bands
from models.repository import Repository
from shadow.comparing import Comparison, read_comparison
from stream.contract.outputs import Score
from stream.probing import vectorise_probe


def challenge(fleet: Fleet, digest: str) -> None:
    done = fleet.cli("model", "challenge", digest, "--json")
    assert done.returncode == 0, done.stdout + done.stderr


def read(record: Any) -> Comparison:
    return read_comparison(record.value)


def report(fleet: Fleet, *arguments: str) -> dict[str, Any]:
    done = fleet.cli("shadow", "report", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def model_of(fleet: Fleet, digest: str) -> Model:
    found = load(Repository(fleet.models), digest, FEATURES.fingerprint, vectorise_probe(FEATURES))
    assert isinstance(found, Model)
    return found


def vector(score: Score) -> np.ndarray:
    assert score.features is not None
    return np.array([[np.nan if score.features[name] is None else score.features[name] for name in FEATURES.names]])


def children(worker: Worker) -> list[psutil.Process]:
    return psutil.Process(worker.pid).children(recursive=True)


def test_each_decision_is_compared_as_the_challenger_scores_its_features(fleet: Fleet) -> None:
    (worker,) = fleet.go_live()
    assert children(worker) == []
    challenger = put_model(fleet.models, seed=1)
    challenge(fleet, challenger)
    fleet.publish(payment(number) for number in range(400))
    valid = fleet.await_scores(400)
    records = fleet.await_records("shadow-scores", 400)
    found = {(one.source.partition, one.source.offset): one for one in map(read, records)}
    assert set(found) == set(sources(valid))
    assert all(record.partition == read(record).source.partition for record in records)
    assert all(record.key.decode() == read(record).card_id for record in records)
    model = model_of(fleet, challenger)
    for score in valid:
        one, expected = found[score.source.partition, score.source.offset], model.score(vector(score))
        assert (one.live.score, one.live.decision, one.revision) == (score.score, score.decision, score.revision)
        assert one.challenger.digest == challenger
        assert one.challenger.score == expected[0]
        assert one.challenger.band == bands(expected)[0]
        assert [one.challenger.decision] == model.policy.decide(expected)
        assert one.decision_changed == (one.live.decision != one.challenger.decision)
    (child,) = children(worker)
    assert child.nice() == 10
    assert fleet.cli("model", "withdraw").returncode == 0
    until(lambda: children(worker) == [], "the challenger's process ends with its last model")
    assert fleet.events("shadow") == []
    assert worker.terminate() == 0

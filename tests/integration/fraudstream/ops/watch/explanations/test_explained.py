"""`fraudstream explain` on a fleet: each alert is explained, and alike, through kills, rebalances and outages."""

import json
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudstream_client.outputs import Decision, Score
from models.loading import Model, load_for_replay
from models.policy import Policy
from models.repository import Repository
from support.fleet.fleet import Fleet, new_fleet, until
from support.fleet.payments import payment, put_model
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster

EXPLAIN = (sys.executable, "-m", "fraudstream.cli", "explain")
REVIEWS_ALL = Policy(review_at=1e-9, decline_at=0.6)
Place = tuple[int, int]


def live_fleet(fleet: Fleet, **settings: str) -> str:
    """Start a worker whose model sends every payment to review or worse; return the model's digest."""
    fleet.go_live(**settings)
    digest = put_model(fleet.models, seed=3, policy=REVIEWS_ALL)
    fleet.promote(digest)
    return digest


def alerts(fleet: Fleet) -> dict[Place, Score]:
    """Return the valid scores that are to be explained, by the place of their payment."""
    found = (score for score in fleet.scores()[0] if score.decision is not Decision.APPROVE)
    return {(score.source.partition, score.source.offset): score for score in found}


def explanations(fleet: Fleet) -> dict[Place, list[dict[str, Any]]]:
    """Return all explanations, by the place of their payment, each with the partition that it is in."""
    found: dict[Place, list[dict[str, Any]]] = defaultdict(list)
    for record in fleet.read("explanations"):
        fields = json.loads(record.value) | {"in": record.partition, "key": record.key.decode()}
        found[fields["source"]["partition"], fields["source"]["offset"]].append(fields)
    return found


def await_explained(fleet: Fleet, seconds: float = 60.0) -> dict[Place, list[dict[str, Any]]]:
    """Wait until every alert is explained."""
    until(lambda: explanations(fleet).keys() == alerts(fleet).keys(), "every alert is explained", seconds)
    return explanations(fleet)


def assert_right(fleet: Fleet, found: dict[Place, list[dict[str, Any]]]) -> None:
    """Assert that explanations are equal wherever they are repeated, and that they add up, by the model itself."""
    models: dict[str, Model] = {}
    for place, score in alerts(fleet).items():
        first, *others = ({**one, "explained_at": ""} for one in found[place])
        assert all(one == first for one in others)
        assert (first["in"], first["key"]) == (place[0], score.card_id)
        assert (first["transaction_id"], first["score"]) == (score.transaction_id, score.score)
        assert score.model is not None
        digest = score.model.digest
        if digest not in models:
            loaded = load_for_replay(Repository(fleet.models), digest)
            assert isinstance(loaded, Model)
            models[digest] = loaded
        values = [np.nan if value is None else value for value in (score.features or {}).values()]
        margin = models[digest].contributions(np.array([values])).margins[0]
        shown = sum(one["contribution"] for one in first["reasons"])
        assert abs(first["base"] + shown + first["rest"] - margin) < 1e-9
        assert len(first["reasons"]) <= 4


@contextmanager
def explaining(fleet: Fleet, *arguments: str, **settings: str) -> Iterator[Worker]:
    process = fleet.worker((*EXPLAIN, *arguments), **settings)
    process.await_ready()
    yield process
    assert process.terminate() == 0, process.log()


def publish(fleet: Fleet, numbers: Sequence[int]) -> None:
    fleet.publish(payment(number) for number in numbers)


def test_each_alert_is_explained_alike_through_a_sigkill_and_a_second_process(fleet: Fleet) -> None:
    live_fleet(fleet)
    publish(fleet, range(150))
    first = fleet.worker(EXPLAIN)
    first.await_ready()
    until(lambda: len(explanations(fleet)) > 10, "some alerts are explained")
    publish(fleet, range(150, 400))
    first.kill()
    with explaining(fleet) as second, explaining(fleet):
        publish(fleet, range(400, 600))
        fleet.await_scores(600)
        found = await_explained(fleet)
        metrics = second.get("/metrics")[1]
    assert_right(fleet, found)
    assert len(found) > 500
    assert 'fraudstream_explanations_written_total{outcome="explained"}' in metrics
    before = sum(fleet.ends("explanations").values())
    with explaining(fleet):
        publish(fleet, range(600, 620))
        fleet.await_scores(620)
        await_explained(fleet)
    assert sum(fleet.ends("explanations").values()) <= before + 20, "a restart after SIGTERM explains nothing again"


@pytest.mark.acceptance
def test_alerts_of_a_missing_model_wait_and_are_explained_once_it_is_back(fleet: Fleet) -> None:
    digest = live_fleet(fleet)
    publish(fleet, range(60))
    fleet.await_scores(60)
    (there,) = Path(fleet.models).rglob(digest)
    away = there.rename(there.with_name("away"))
    process = fleet.worker(EXPLAIN)
    reasons = process.await_not_ready()
    until(lambda: any(f"alerts of model {digest[:12]} wait" in one for one in process.readiness()[1]), str(reasons))
    assert not {one["digest"] for some in explanations(fleet).values() for one in some} & {digest}
    away.rename(there)
    assert_right(fleet, await_explained(fleet))
    process.await_ready()
    assert process.terminate() == 0


@pytest.mark.acceptance
def test_a_deployment_whose_scores_carry_no_features_is_refused_at_the_start(fleet: Fleet) -> None:
    live_fleet(fleet, SCORE_FEATURES="none")
    publish(fleet, range(40))
    fleet.await_scores(40)
    process = fleet.worker(EXPLAIN)
    assert process.wait(60) == 2
    assert "carries no features: set FRAUDSTREAM_SCORE_FEATURES=alerts" in process.log()
    assert fleet.cli("explain", SCORE_FEATURES="none").returncode == 2
    assert sum(fleet.ends("explanations").values()) == 0


def test_features_of_alerts_suffice_and_since_passes_over_older_alerts(fleet: Fleet) -> None:
    live_fleet(fleet, SCORE_FEATURES="alerts")
    publish(fleet, range(40))
    fleet.await_scores(40)
    with explaining(fleet, "--since", "2100-01-01T00:00:00Z"):
        publish(fleet, range(40, 80))
        fleet.await_scores(80)
        until(lambda: len(explanations(fleet)) >= 40, "the later alerts are explained")
        found = explanations(fleet)
    names = {one["transaction_id"] for some in found.values() for one in some}
    assert names == {f"t-{number}" for number in range(40, 80)}


@pytest.mark.acceptance
def test_alerts_are_explained_after_the_brokers_were_away(
    kafka_outage: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    if kafka_outage.kind == "embedded":
        pytest.skip("the embedded broker forgets everything when it stops")
    fleet = new_fleet(kafka_outage, redis_url, topic_prefix, tmp_path, start_worker)
    live_fleet(fleet)
    publish(fleet, range(60))
    with explaining(fleet) as process:
        await_explained(fleet)
        kafka_outage.kill()
        process.await_not_ready(90)
        kafka_outage.start()
        process.await_ready(90)
        fleet.worker()  # the first one may have ended
        publish(fleet, range(60, 120))
        fleet.await_scores(120, 120)
        assert_right(fleet, await_explained(fleet, 120))


@pytest.mark.acceptance
def test_a_stopped_process_that_comes_back_harms_nobody(fleet: Fleet) -> None:
    live_fleet(fleet)
    publish(fleet, range(100))
    frozen = fleet.worker(EXPLAIN)
    frozen.await_ready()
    until(lambda: len(explanations(fleet)) > 5, "some alerts are explained")
    frozen.signal(signal.SIGSTOP)
    with explaining(fleet):
        publish(fleet, range(100, 200))
        fleet.await_scores(200)
        await_explained(fleet)
        frozen.signal(signal.SIGCONT)
        publish(fleet, range(200, 260))
        fleet.await_scores(260)
        assert_right(fleet, await_explained(fleet))
    assert frozen.terminate() == 0

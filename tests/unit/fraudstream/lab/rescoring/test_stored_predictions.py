"""`score --topic --diff` with predictions from storage: what each decision read of them is read again, bit for bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.declaration import load
from features.vector.sets import FeatureSets
from fraudstream.lab.rescoring.request import DiffReport, Range, TopicRequest
from fraudstream.lab.rescoring.topic_run import score_topic
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from models.loading import Model
from models.loading import load as load_model
from models.repository import Repository
from models.times import format_time
from stream.control.probes import probe_vectorisers
from stream.settings import Settings
from support.examples import examples
from support.rescoring.faults import lose, repair
from support.rescoring.model import alter, compared, lines
from support.rescoring.world import PARTITIONS, World, opened
from support.training_files import DAY_MS, START_MS, transactions, write

FEATURES = load("support.features.prediction_set")
SETS = FeatureSets((FEATURES,))
HOUR_MS = 3_600_000
TEACHER = "prediction_teacher_delayed_2d"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    folder = tmp_path_factory.mktemp("models")
    file = write(folder / "train.parquet", transactions())
    random = np.random.default_rng(3)
    times = [START_MS + day * DAY_MS for day in range(60) for _ in range(150)]
    stored = {
        "card_id": [f"c{card}" for _ in range(60) for card in range(150)],
        "name": ["teacher", "segment"] * (len(times) // 2),
        "value": random.random(len(times)).tolist(),
        "computed_at": [format_time(time) for time in times],
    }
    request = TrainingRequest(
        file=file,
        predictions=write(folder / "predictions.parquet", stored),
        name="card",
        feature_set=FEATURES,
        trees=5,
        accept_weak=True,
        threads=1,
        review_share=0.1,
    )
    repository = Repository(str(folder))
    found = load_model(repository, train(request, repository, lambda *_: None).digest, probe_vectorisers(SETS))
    assert isinstance(found, Model)
    return found, folder


def world_of(model: tuple[Model, Path]) -> World:
    return World(Settings(models=str(model[1])), model[0], SETS, START_MS)


def prediction(world: World, card: int = 0, **changes: Any) -> dict[str, Any]:
    """Make a prediction that was computed two hours ago."""
    made = {"card_id": f"card-{card}", "name": "teacher", "value": 0.5, "computed_at": world.now_ms - 2 * HOUR_MS}
    return made | changes


def pay(world: World, number: int, card: int = 0, **changes: Any) -> None:
    world.publish(world.pay(number, card_id=f"card-{card}", **changes))
    world.decide()


def diff(world: World, out: Path | None = None) -> DiffReport:
    return compared(world, None, out, SETS)


def recorded(world: World, name: str = TEACHER) -> dict[str, float | None]:
    """Return one feature of each decision."""
    found = {}
    for log in world.topics["scores"].values():
        for record in log:
            score = json.loads(record.value or b"")
            found[score["transaction_id"]] = score["features"][name]
    return found


def test_what_a_decision_read_is_read_again_whether_predictions_were_ahead_or_behind(
    model: tuple[Model, Path],
) -> None:
    world = world_of(model)
    pay(world, 0)
    for day in range(1, 12):
        world.now_ms += DAY_MS
        (waits,) = world.publish(prediction(world, 0, value=day / 16), topic="predictions")
        world.forecast(prediction(world, 1, value=None if day % 3 == 0 else day / 8, name="segment"))
        world.now_ms += 5 * HOUR_MS
        pay(world, 2 * day)
        world.answer_prediction(waits)
        pay(world, 2 * day + 1)
        pay(world, 100 + day, 1)
    values = recorded(world)
    assert values["t-2"] is None
    assert (values["t-3"], values["t-22"], values["t-23"]) == (1 / 16, 10 / 16, 11 / 16)
    found = diff(world)
    assert (found.compared, found.equal, found.unexplained) == (34, 34, 0)


def test_a_late_prediction_is_read_neither_by_a_decision_nor_again(model: tuple[Model, Path]) -> None:
    world = world_of(model)
    world.forecast(prediction(world, computed_at=world.now_ms - 7 * HOUR_MS))
    world.now_ms += HOUR_MS
    pay(world, 0)
    (outcome,) = [one.value for log in world.topics["outcomes"].values() for one in log]
    assert b'"status":"late"' in (outcome or b"")
    assert b'"kind":"prediction"' in (outcome or b"")
    assert recorded(world) == {"t-0": None}
    assert diff(world).equal == 1


def test_one_that_was_seen_before_its_outcome_is_a_doubt_and_no_more_once_it_has_one(
    model: tuple[Model, Path],
) -> None:
    world = world_of(model)
    (record,) = world.publish(prediction(world), topic="predictions")
    world.apply_prediction(record)
    world.now_ms += 5 * HOUR_MS
    pay(world, 0)
    pay(world, 1, 1)
    found = diff(world)
    assert (found.equal, found.explained, found.reasons) == (1, 1, {"order_unknown": 1})
    world.answer_prediction(record)
    assert diff(world).equal == 2


def test_after_a_loss_what_was_applied_again_is_read_again(model: tuple[Model, Path]) -> None:
    world = world_of(model)
    world.forecast(prediction(world, value=0.25))
    (seen,) = world.publish(prediction(world, 1, value=0.75), topic="predictions")
    world.apply_prediction(seen)
    world.now_ms += 5 * HOUR_MS
    pay(world, 0)
    pay(world, 1, 1)
    lose(world)
    repair(world, list(range(PARTITIONS)))
    world.answer_prediction(seen)
    pay(world, 2)
    world.forecast(prediction(world, value=0.5))
    world.now_ms += 5 * HOUR_MS
    pay(world, 3)
    assert recorded(world) == {"t-0": 0.25, "t-1": 0.75, "t-2": 0.25, "t-3": 0.5}
    found = diff(world)
    assert (found.equal, found.explained, found.reasons) == (3, 1, {"history_epoch_changed": 1})


def test_a_prediction_that_is_no_longer_on_the_topic_explains_what_it_may_have_been(model: tuple[Model, Path]) -> None:
    world = world_of(model)
    world.forecast(prediction(world))
    (at,) = {number for number, log in world.topics["predictions"].items() if log}
    world.now_ms += 5 * HOUR_MS
    pay(world, 0)
    world.forecast(prediction(world))
    world.drop("predictions", {at: 1})
    found = diff(world)
    assert found.reasons == {"beyond_retention": 1}


def test_outcomes_from_before_the_topic_was_made_anew_say_nothing_of_its_records(model: tuple[Model, Path]) -> None:
    world = world_of(model)
    world.forecast(prediction(world))
    world.now_ms += 3 * DAY_MS
    for log in world.topics["predictions"].values():
        log.clear()
    (behind,) = world.publish(prediction(world, value=0.75), topic="predictions")
    world.now_ms += 5 * HOUR_MS
    pay(world, 0)
    world.answer_prediction(behind)
    pay(world, 1)
    assert recorded(world) == {"t-0": None, "t-1": 0.75}
    assert diff(world).equal == 2


def test_another_value_than_the_one_that_was_published_is_unexplained(model: tuple[Model, Path]) -> None:
    world = world_of(model)
    world.forecast(prediction(world))
    world.now_ms += 5 * HOUR_MS
    pay(world, 0)
    alter(world, "t-0", features={TEACHER: 0.625}, rescored=True)
    found = diff(world)
    assert found.unexplained == 1
    assert TEACHER in found.examples[0].differences


def test_without_decisions_a_transaction_reads_what_had_come_by_its_record(
    model: tuple[Model, Path], tmp_path: Path
) -> None:
    world = world_of(model)
    world.forecast(prediction(world))
    world.now_ms += 5 * HOUR_MS
    pay(world, 0)
    world.publish(world.pay(1))
    world.now_ms += 1
    world.forecast(prediction(world, value=1.0, computed_at=world.now_ms - 6 * HOUR_MS))
    with pytest.MonkeyPatch.context() as patch:
        opened(world, patch)
        request = TopicRequest(world.settings, Range(), tmp_path / "o.parquet", SETS, 1)
        score_topic(request, world.model.digest, lambda *_: None)
    found = lines(tmp_path / "o.parquet")
    assert [found[name][TEACHER] for name in ("t-0", "t-1")] == [0.5, 0.5]


ACTS = st.lists(
    st.tuples(
        st.sampled_from(("pay", "pay", "pay", "forecast", "forecast", "crash", "behind", "answer", "lose", "again")),
        st.integers(0, 2),
        st.sampled_from((0, 1, HOUR_MS, 7 * HOUR_MS, DAY_MS, 3 * DAY_MS)),
        st.sampled_from(("teacher", "segment")),
        st.sampled_from((0.0, 0.25, 1.0, None)),
    ),
    min_size=8,
    max_size=40,
)


class Acts:
    """Applies acts to a world, and knows the predictions whose outcomes are not written yet."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.waiting: list[Any] = []
        self.sent: list[dict[str, Any]] = []

    def pay(self, number: int, card: int, _made: dict[str, Any]) -> None:
        pay(self.world, number, card)

    def forecast(self, _number: int, _card: int, made: dict[str, Any]) -> None:
        self.sent.append(made)
        self.world.forecast(made)

    def behind(self, _number: int, _card: int, made: dict[str, Any]) -> None:
        """Publish a prediction that the worker has not read yet."""
        self.waiting += self.world.publish(made, topic="predictions")

    def crash(self, number: int, card: int, made: dict[str, Any]) -> None:
        """Crash a worker after it applied a prediction and before its outcome."""
        self.behind(number, card, made)
        self.world.apply_prediction(self.waiting[-1])

    def answer(self, *_: object) -> None:
        for record in self.waiting:
            self.world.answer_prediction(record)
        self.waiting.clear()

    def again(self, *_: object) -> None:
        self.world.forecast(*self.sent[-1:])

    def lose(self, *_: object) -> None:
        lose(self.world)
        repair(self.world, list(range(PARTITIONS)))


@given(acts=ACTS)
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_decision_is_made_again_or_its_difference_explained(model: tuple[Model, Path], acts: list) -> None:
    """Predictions that are ahead, behind, late or repeated, or without outcome after a crash, and lost histories."""
    world = world_of(model)
    pay(world, 0)
    played = Acts(world)
    for number, (what, card, pause_ms, name, value) in enumerate(acts, 1):
        world.now_ms += pause_ms
        made = prediction(world, card, name=name, value=value, computed_at=world.now_ms - (card + 1) * HOUR_MS)
        getattr(played, what)(number, card, made)
    found = diff(world)
    assert found.examples == ()
    assert found.equal + found.explained == found.compared
    if not played.waiting and all(what not in {"lose", "crash"} for what, *_ in acts):
        assert found.equal == found.compared

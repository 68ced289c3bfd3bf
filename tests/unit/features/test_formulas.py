"""Aggregates that a deployment writes itself: their input, their results, and the effect of their errors."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from features.declaration import DAY_MS, HOUR_MS, FeatureSet
from features.errors import DeclarationError, FormulaError
from features.formulas import Formula, Payments
from features.memory_store import MemoryStore
from features.rows import card, merchant
from features.vector.sets import FeatureSets
from models.arms import Arm, Split
from models.errors import ProbeError, ScoringError
from models.loading import Model, RowTimes
from models.policy import Policy
from stream.control.model_cache import ArmModels, ServingModels
from stream.control.probes import vectorise_probe, write_probe
from stream.pipeline import DecisionTerms, Pipeline
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.worker.isolation import decide_isolating
from support.bare_model import BareModel
from support.features.recount import Row, transaction, transactions
from support.features.streams import last
from support.stream_records import LATEST_MS, Told, text

NOW = 1_700_000_000_000


def formula(function: Any, **changes: Any) -> Formula:
    return Formula(**{"name": "thing", "version": 1, "function": function, "unit": "u", "meaning": "m", **changes})


def larger_others(own: Payments, others: Payments) -> float:
    return float((others.amount > own.amount).sum())


def payment(offset: int, ms: int = NOW, **changes: object) -> Row:
    return transaction(offset, ms=ms, **changes)


def test_a_formula_is_declared_and_computed_like_any_other_aggregate() -> None:
    row = card(formula(larger_others, name="larger_others"), "1d")
    assert (row.name, row.unit, row.meaning, row.reach_ms) == ("card_larger_others_1d", "u", "m", DAY_MS)
    rows = [payment(i, NOW + i, amount=amount) for i, amount in enumerate([300, 100, 500, 200])]
    assert last(row, *rows) == 2.0
    assert last(row, payment(1, NOW - DAY_MS, amount=900), payment(2)) == 0.0
    assert last(merchant(formula(larger_others), "1d"), *rows) == 2.0


def test_a_formula_sees_the_fields_of_a_record() -> None:
    seen: list[tuple[Any, ...]] = []

    def look(own: Payments, others: Payments) -> None:
        place = own.category, own.country, own.channel, own.currency
        seen.append((own.time_ms, own.amount, own.wall_clock_ms, *place, own.device, own.other))
        assert len(others) == len(others.amount) == len(others.device)

    here = {"mcc": "5411", "country": "DE", "channel": "ecommerce", "utc_offset": 60, "device": "phone", "amount": 1}
    assert math.isnan(
        last(card(formula(look), "1d"), payment(1, exponent=4, **here), payment(2, NOW + 1, exponent=4, **here))
    )
    (first, second) = seen
    assert first[1:6] == (0.0001, NOW + HOUR_MS, 5411, second[4], 1)
    assert first[4] != 0
    assert first[6:] == second[6:]


def test_a_formula_does_not_see_the_order_of_arrival() -> None:
    def joined(_: Payments, others: Payments) -> float:
        return float(sum(value * 3**place for place, value in enumerate(others.amount.tolist())))

    rows = [payment(i, NOW - i % 2, amount=100 * i) for i in range(1, 5)]
    asked = card(formula(joined), "1d")
    assert len({last(asked, *order, payment(9)) for order in itertools.permutations(rows)}) == 1


def test_a_formula_cannot_modify_its_input() -> None:
    def spoil(_: Payments, others: Payments) -> float:
        others.amount_minor = 1  # type: ignore[attr-defined]
        others.time_ms[0] = 1
        return 0.0

    with pytest.raises(FormulaError, match=r"feature 'card_thing_1d': its formula raised ValueError: .* read-only"):
        last(card(formula(spoil), "1d"), payment(1), payment(2))


@pytest.mark.parametrize(
    ("value", "expected"), [(None, math.nan), (math.nan, math.nan), (np.float32(0.5), 0.5), (True, 1)]
)
def test_a_formulas_none_or_nan_is_undefined_and_a_number_is_the_value(value: Any, expected: float) -> None:
    assert last(card(formula(lambda *_: value), "1d"), payment(1)) == pytest.approx(expected, nan_ok=True, abs=0)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda *_: 1 / 0, "its formula raised ZeroDivisionError: division by zero"),
        (lambda *_: "many", "its formula raised ValueError: could not convert string to float"),
        (lambda *_: math.inf, "its formula returned inf: return a finite number, or None"),
        (lambda own, _: own.device, "its formula raised LookupError: only a card's history has this column"),
    ],
)
def test_a_formulas_error_names_the_feature_and_the_cause(function: Any, said: str) -> None:
    with pytest.raises(FormulaError, match=f"feature 'merchant_thing_1d': {said}"):
        last(merchant(formula(function), "1d"), payment(1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Thing"}, "formula 'Thing': a name consists of lower-case letters, digits and single underscores"),
        ({"name": "a__b"}, "formula 'a__b': a name consists of"),
        ({"version": 0}, "its version must be an integer of at least 1, not 0"),
        ({"version": "2"}, "its version must be an integer of at least 1, not '2'"),
        ({"function": 3}, "its function is not callable: 3"),
    ],
)
def test_a_formula_with_an_invalid_name_version_or_function_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        replace(formula(larger_others), **changes)


def test_the_version_is_part_of_the_fingerprint_and_the_function_is_not() -> None:
    def fingerprint_of(of: Formula) -> str:
        return FeatureSet((card(of, "1d"),)).fingerprint

    first = formula(larger_others)
    assert fingerprint_of(first) == fingerprint_of(replace(first, function=lambda *_: 0.0))
    assert (
        len(
            {
                fingerprint_of(first),
                fingerprint_of(replace(first, version=2)),
                fingerprint_of(replace(first, name="other")),
            }
        )
        == 3
    )


def test_a_formula_that_fails_on_a_probe_raises_a_probe_error() -> None:
    feature_set = FeatureSet((card(formula(larger_others), "1d"),))
    batch = transactions([payment(1)])
    probe = write_probe(batch, MemoryStore(feature_set).observe_now(batch), 0)
    assert vectorise_probe(feature_set)([probe]).tolist() == [[0.0]]
    broken = FeatureSet((card(formula(lambda *_: 1 / 0), "1d"),))
    with pytest.raises(ProbeError, match="a probe's vector cannot be computed: feature 'card_thing_1d'"):
        vectorise_probe(broken)([probe])


def picky(own: Payments, _: Payments) -> float:
    return 1.0 / (own.amount - 7.0) if own.amount.item() != 7.0 else 1 // 0


class Rules(BareModel):
    """A live model that cannot score, so that the rules decide."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def score(self, _matrix: Any) -> Any:
        raise ScoringError("none here")


async def test_a_formulas_error_has_one_transaction_decided_by_rules_from_the_other_features() -> None:
    sets = FeatureSets((FeatureSet((card(formula(picky), "1d"), card("count", "1d"))),))
    pipeline = Pipeline(Settings(), sets, MemoryStore(sets))
    amounts: Sequence[int] = (100, 700, 800)
    records = [Told(text(transaction_id=f"t-{at}", amount_minor=a), offset=at) for at, a in enumerate(amounts)]
    serving = ServingModels(1, cast("Model", Rules(sets.newest.fingerprint)), None)
    outputs = await decide_isolating(pipeline, records, DecisionTerms(serving, {0: 1}, NoTracing().headers))
    assert outputs.dead == []
    features = [msgspec.json.decode(one.value or b"")["features"] for one in outputs.scored.outgoing]
    assert features[1] == {"card_thing_1d": None, "card_count_1d": 2.0}
    assert [one.degraded for one in outputs.scored.judgements] == [
        ("live_model_failed", "no_model"),
        ("undecidable",),
        ("live_model_failed", "no_model"),
    ]


class Constant(BareModel):
    """A model that gives each payment the same score."""

    name, version = "m", "1"
    policy = Policy(review_at=0.5, decline_at=0.8)
    row_times = RowTimes()

    def __init__(self, digest: str, fingerprint: str, score: float) -> None:
        self.digest, self.fingerprint, self._score = digest, fingerprint, score

    def score(self, matrix: Any) -> Any:
        return np.full(len(matrix), self._score)


PLAIN, PICKY = FeatureSet((card("count", "1d"),)), FeatureSet((card(formula(picky), "1d"), card("count", "1d")))


async def decided_beside(arms: ArmModels | None, challenger: str | None = None) -> list[dict[str, Any]]:
    """Decide payments of several cards, one of which only the picky set's formula cannot compute, as their scores."""
    sets = FeatureSets((PLAIN, PICKY))
    live = cast("Model", Constant("a" * 64, PLAIN.fingerprint, 0.25))
    serving = ServingModels(1, live, None, challenger, arms)
    pipeline = Pipeline(Settings(), sets, MemoryStore(sets))
    records = [
        Told(
            text(transaction_id=f"t-{at}", card_id=f"card-{at}", amount_minor=700 if at in BROKEN else 800),
            offset=at,
            key=b"card-%d" % at,
        )
        for at in range(12)
    ]
    outputs = await decide_isolating(pipeline, records, DecisionTerms(serving, {0: 1}, NoTracing().headers))
    assert outputs.dead == []
    return [msgspec.json.decode(one.value or b"") for one in outputs.scored.outgoing]


BROKEN = (2, 3, 4, 5, 6, 7)


def divided(arm: str) -> Split:
    """Return the split of a canary, or of an experiment with one arm."""
    return Split((Arm(arm, "b" * 64, 5_000),), "s")


@pytest.mark.parametrize("arm", ["canary", "a"])
@pytest.mark.parametrize("challenger", [None, "c" * 64])
async def test_a_formula_that_only_an_arm_or_a_challenger_needs_leaves_lives_payments_alone(
    challenger: str | None, arm: str
) -> None:
    model, split = cast("Model", Constant("b" * 64, PICKY.fingerprint, 0.75)), divided(arm)
    arms = split.arms_of([f"card-{at}" for at in range(12)])
    assert {arms[at] for at in BROKEN} == {arm, "live"}
    for at, one in enumerate(await decided_beside(ArmModels({arm: model}, split), challenger)):
        if arms[at] == "live":
            assert (one["arm"], one["decided_by"], one["score"], one["degraded"]) == ("live", "model", 0.25, [])
        elif at in BROKEN:
            assert (one["arm"], one["decided_by"], one["score"]) == (arm, "fallback", 0.25)
            assert one["degraded"] == [f"{'canary' if arm == 'canary' else 'arm'}_model_failed"]
        else:
            assert (one["arm"], one["decided_by"], one["score"]) == (arm, "model", 0.75)
        # the features are those of the model that decided, so that the decision can be made again from its record
        made = PLAIN if one["model"]["digest"] == "a" * 64 else PICKY
        assert (one["fingerprint"], [*one["features"]]) == (made.fingerprint, [*made.names])
    for one in await decided_beside(None, challenger="c" * 64):
        assert (one["decided_by"], one["score"], one["degraded"]) == ("model", 0.25, [])


@pytest.mark.parametrize("features", [True, False])
async def test_what_is_decided_by_rules_after_an_error_keeps_its_arm_and_its_features(features: bool) -> None:  # noqa: FBT001
    sets, split = FeatureSets((PLAIN, PICKY)), divided("a")
    live, model = (
        cast("Model", Constant(name * 64, one.fingerprint, 0.5)) for name, one in (("a", PLAIN), ("b", PICKY))
    )
    serving = ServingModels(1, live, None, arms=ArmModels({"a": model}, split))
    records = [
        Told(text(transaction_id=f"t-{at}", card_id=f"card-{at}"), offset=at, key=b"card-%d" % at) for at in range(12)
    ]
    terms = DecisionTerms(serving, {0: 1}, NoTracing().headers)
    outputs = await Pipeline(Settings(), sets, MemoryStore(sets)).decide_by_rules(
        records, terms, lambda: LATEST_MS, features=features
    )
    scores = [msgspec.json.decode(one.value or b"") for one in outputs.scored.outgoing]
    assert [one["arm"] for one in scores] == split.arms_of([f"card-{at}" for at in range(12)])
    assert {one["arm"] for one in scores} == {"a", "live"}
    for one in scores:
        made = PLAIN if one["arm"] == "live" else PICKY
        assert (one["decided_by"], one["degraded"], one["fingerprint"]) == ("rules", ["undecidable"], made.fingerprint)
        assert (one["features"] is not None) is features

"""Costs and rules beside the model on the live path, and what let-through and the cap on declines make of them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fraudstream.lab.rescoring.replay import from_record
from fraudstream.lab.rescoring.rescore import DecidingModels, rescore, stood_in
from fraudstream.lab.rescoring.rescore import recorded as recorded_outputs
from fraudstream_client.arms import LIVE
from fraudstream_client.outputs import DecidedBy, Decision, Overruled, Score
from metrics.money import CostMatrix
from models.artifact import read_artifact, with_policy, write_artifact
from models.cost_policy import CostPolicy
from models.decline_cap import DeclineCap, DeclineWindow
from models.errors import ScoringError
from models.let_through import LetThrough
from models.limits import LimitState
from models.list_rules import FeatureBound, ListRule, RuleAction, RuleSet
from models.loading import Model, load
from models.policy import Payments, Policy
from models.repository import Repository
from stream.contract.transaction import Transaction
from stream.control.model_cache import ServingModels
from stream.engine.publisher import Outgoing
from stream.engine.unpacking import FetchedRecord
from stream.positions.offsets import Position, folded
from stream.scoring.encode import Judgement, Scored
from stream.scoring.overrule import cap_declines, overrule_decisions
from stream.scoring.score import score
from support.model_artifacts import FINGERPRINT, NAMES, artifact, history_vectors, rows

COSTS = CostPolicy({"EUR": CostMatrix(300, 0, 200, 500)})
RULES = RuleSet(
    (
        ListRule("stolen", RuleAction.BLOCK, cards=("c0",)),
        ListRule("far", RuleAction.REVIEW, countries=("NG",)),
        ListRule("fast", RuleAction.REVIEW, features={"b": FeatureBound(above=1.5)}),
        ListRule("known", RuleAction.ALLOW, merchants=("m1",), amounts_from={"EUR": 0}),
    )
)
SAID = (Decision.APPROVE, Decision.REVIEW, Decision.DECLINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = tmp_path_factory.mktemp("models")
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    before = read_artifact(artifact())
    manifest = with_policy(before.manifest, before.manifest.policy, COSTS, RULES, None)
    repository = Repository(str(folder))
    digest = repository.put(write_artifact(msgspec.structs.replace(before, manifest=manifest)))
    found = load(repository, digest, {FINGERPRINT: history_vectors})
    assert isinstance(found, Model)
    return found


class OneSet:
    """The same vectors for every feature set."""

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix

    def of(self, _fingerprint: str) -> Any:
        return self._matrix

    def names(self, _fingerprint: str) -> tuple[str, ...]:
        return NAMES

    def row_ns(self, _fingerprint: str) -> float:
        return 0.0


class Broken(Model):
    """A model that scores nothing."""

    def __init__(self, of: Model) -> None:
        super().__init__(of.digest, of.manifest, of._booster)

    def score(self, _matrix: Any) -> Any:
        raise ScoringError("this one fails")


def payments(count: int, seed: int = 5) -> Payments:
    draw = np.random.default_rng(seed)
    return Payments(
        [f"c{one}" for one in draw.integers(0, 4, count)],
        [f"m{one}" for one in draw.integers(0, 3, count)],
        [("NG", "FR", None)[one] for one in draw.integers(0, 3, count)],
        draw.integers(0, 200_000, count),
        [("EUR", "USD")[one] for one in draw.integers(0, 2, count)],
    )


def test_judgements_say_what_the_model_said_and_which_rule_decided(model: Model) -> None:
    matrix, some = rows(400, seed=3), payments(400)
    judged = score(ServingModels(1, model, None), OneSet(matrix), None, some)
    said = COSTS.decide(model.score(matrix), some, model.policy)
    assert [one.said for one in judged] == said
    assert len(set(said)) > 1
    for at, one in enumerate(judged):
        known = some.merchant_ids[at] == "m1" and some.currencies[at] == "EUR"
        if some.card_ids[at] == "c0":
            expected: Any = (Decision.DECLINE, "rule:stolen")
        elif some.countries[at] == "NG" or matrix[at, 1] > 1.5:
            rule = "rule:far" if some.countries[at] == "NG" else "rule:fast"
            expected = (Decision.REVIEW, rule) if said[at] is Decision.APPROVE else (said[at], None)
        else:
            is_overruled = known and said[at] is not Decision.APPROVE
            expected = (Decision.APPROVE, "rule:known") if is_overruled else (said[at], None)
        assert (one.decision, one.overruled and one.overruled.by) == expected
        assert one.country == some.countries[at]
    assert {one.overruled.by for one in judged if one.overruled} == {
        "rule:stolen", "rule:far", "rule:fast", "rule:known"
    }  # fmt: skip


def test_where_no_model_can_decide_the_rules_of_the_live_one_hold(model: Model) -> None:
    some = payments(50)
    judged = score(ServingModels(1, Broken(model), None), OneSet(np.zeros((50, 3))), None, some)
    assert {one.decided_by for one in judged} == {DecidedBy.RULES}
    for one, card in zip(judged, some.card_ids, strict=True):
        assert (one.decision is Decision.DECLINE) == (card == "c0")
        if card == "c0":
            assert one.overruled == Overruled("rule:stolen", Decision.APPROVE, Decision.DECLINE)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Model:
    repository = Repository(str(folder))
    found = load(repository, repository.put(artifact()), {FINGERPRINT: history_vectors})
    assert isinstance(found, Model)
    return found


def test_where_the_model_before_stands_in_the_live_one_still_blocks_and_reviews(model: Model, plain: Model) -> None:
    matrix, some = rows(300, seed=9), payments(300)
    judged = score(ServingModels(1, Broken(model), plain), OneSet(matrix), None, some)
    assert {one.decided_by for one in judged} == {DecidedBy.FALLBACK}
    said = plain.decide(plain.score(matrix), some)
    assert [one.said for one in judged] == said
    for at, one in enumerate(judged):
        expected: Any = (said[at], None)
        if some.card_ids[at] == "c0":
            expected = (Decision.DECLINE, "rule:stolen")
        elif said[at] is Decision.APPROVE and some.countries[at] == "NG":
            expected = (Decision.REVIEW, "rule:far")
        elif said[at] is Decision.APPROVE and matrix[at, 1] > 1.5:
            expected = (Decision.REVIEW, "rule:fast")
        assert (one.decision, one.overruled and one.overruled.by) == expected, "the live model's allowances do not hold"
        assert one.country == some.countries[at]


def test_the_rules_of_the_model_before_and_of_the_live_one_have_one_order(model: Model, folder: Path) -> None:
    before = read_artifact(artifact())
    own = RuleSet(
        (
            ListRule("ours", RuleAction.ALLOW, merchants=("m0", "m1", "m2")),
            ListRule("lost", RuleAction.BLOCK, cards=("c0", "c1")),
        )
    )
    manifest = with_policy(before.manifest, Policy(0.0, 0.5), None, own, None)
    repository = Repository(str(folder))
    digest = repository.put(write_artifact(msgspec.structs.replace(before, manifest=manifest)))
    fallback = load(repository, digest, {FINGERPRINT: history_vectors})
    assert isinstance(fallback, Model)
    some = payments(200)
    for at, one in enumerate(score(ServingModels(1, Broken(model), fallback), OneSet(rows(200)), None, some)):
        if some.card_ids[at] in {"c0", "c1"}:
            assert (one.decision, one.overruled and one.overruled.by) == (Decision.DECLINE, "rule:lost")
        elif some.countries[at] == "NG":
            assert (one.decision, one.overruled) == (one.said, None), "a look wins over an allowance, and stays a look"
            assert one.is_bound is (one.said is Decision.DECLINE)
        elif not rows(200)[at, 1] > 1.5:
            assert (one.decision, one.overruled and one.overruled.by) == (Decision.APPROVE, "rule:ours")


def test_of_a_model_that_stood_in_the_rule_cannot_be_proven(model: Model, plain: Model, folder: Path) -> None:
    matrix, some = rows(60, seed=9), payments(60)
    judged = score(ServingModels(1, Broken(model), plain), OneSet(matrix), None, some)
    for at, one in enumerate(judged):
        record = msgspec.structs.replace(recorded(one, at, some, matrix[at]), degraded=one.degraded)
        steps = {step.step: step.equal for step in from_record(record, str(folder))}
        assert steps.pop("list rules", "no rule") == ("no rule" if one.overruled is None else None)
        assert all(steps.values())
    degraded = np.array(
        ["live_model_failed", "history_incomplete,live_model_failed", "canary_model_failed", None], object
    )
    columns = {
        "recorded_score": np.zeros(4), "recorded_band": np.zeros(4), "recorded_decision": np.full(4, "approve", object),
        "digest": np.full(4, plain.digest, object), "overruled_by": np.full(4, "rule:stolen", object),
        "degraded": degraded, "softens_rule": np.zeros(4, np.bool_),
    }  # fmt: skip
    assert recorded_outputs(columns).rules.tolist() == [None, None, "rule:stolen", "rule:stolen"]
    by = np.full(4, "fallback", object)
    blocked = Payments(["c0"] * 4, ["m0"] * 4, [None] * 4, np.full(4, 100), ["EUR"] * 4)
    capped_by = np.zeros(4, np.bool_)
    models = DecidingModels(str(folder), np.full(4, model.digest, object), by, blocked, stood_in(columns), capped_by)
    again, _ = rescore(models, NAMES, rows(4))
    assert again.rules.tolist() == [None, None, "rule:stolen", "rule:stolen"]


def recorded(judgement: Judgement, at: int, some: Payments, vector: Any) -> Score:
    return msgspec.convert(
        {
            "transaction_id": f"t{at}",
            "card_id": some.card_ids[at],
            "merchant_id": some.merchant_ids[at],
            "occurred_at": "2026-01-01T00:00:00.000Z",
            "amount_minor": int(some.amounts_minor[at]),
            "currency": some.currencies[at],
            "score": judgement.score,
            "band": judgement.band,
            "decision": judgement.decision,
            "decided_by": judgement.decided_by,
            "model": judgement.model and msgspec.structs.asdict(judgement.model),
            "arm": judgement.arm,
            "overruled": judgement.overruled and msgspec.to_builtins(judgement.overruled),
            "propensity": judgement.propensity,
            "revision": 1,
            "fingerprint": FINGERPRINT,
            "code_version": "0",
            "features": dict(zip(NAMES, [None if np.isnan(one) else float(one) for one in vector], strict=True)),
            "positions": {"history_epoch": 0, "card": 1, "merchant": 1},
            "degraded": (),
            "dropped": (),
            "epoch": 1,
            "source": {"topic": "transactions", "partition": 0, "offset": at},
            "scored_at": "2026-01-01T00:00:00.000Z",
            "latency_ms": 0,
        }
        | ({} if judgement.country is None else {"merchant_country": judgement.country}),
        Score,
    )


def test_each_decision_comes_out_of_its_own_record_again(model: Model, folder: Path) -> None:
    matrix, some = rows(120, seed=6), payments(120)
    judged = score(ServingModels(1, model, None), OneSet(matrix), None, some)
    for at, one in enumerate(judged):
        steps = from_record(recorded(one, at, some, matrix[at]), str(folder))
        assert [step.step for step in steps][-2:] == ["policy", "list rules"]
        assert all(step.equal for step in steps)


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"overruled": None}, "list rules"),
        ({"overruled": Overruled("rule:known", Decision.APPROVE)}, "list rules"),
        ({"amount_minor": 1, "overruled": Overruled("rule:stolen", Decision.DECLINE)}, "policy"),
    ],
)  # fmt: skip
def test_a_record_that_was_altered_does_not_come_out_again(
    model: Model, folder: Path, changes: Any, differing: str
) -> None:
    some = Payments(["c0"], ["m0"], [None], np.array([100_000]), ["EUR"])
    matrix = rows(1, seed=8)
    (judged,) = score(ServingModels(1, model, None), OneSet(matrix), None, some)
    altered = msgspec.structs.replace(recorded(judged, 0, some, matrix[0]), **changes)
    steps = from_record(altered, str(folder))
    assert differing in [step.step for step in steps if not step.equal]


def judgement(said: Decision, rule: RuleAction | None, arm: str = LIVE) -> Judgement:
    """Return a judgement as the rules leave it, by the words of docs/how-to/set-a-policy.md."""
    plain = Judgement(0.5, 500, said, DecidedBy.MODEL, None, arm=arm)

    def becomes(decision: Decision) -> Judgement:
        ruled = {} if decision is said else {"ruled": decision}
        return replace(plain, decision=decision, overruled=Overruled("rule:x", said, **ruled))

    if rule is RuleAction.BLOCK:
        return becomes(Decision.DECLINE)
    if rule is RuleAction.ALLOW and said is not Decision.APPROVE:
        return becomes(Decision.APPROVE)
    if rule is RuleAction.REVIEW and said is Decision.APPROVE:
        return becomes(Decision.REVIEW)
    return replace(plain, is_bound=True) if rule is RuleAction.REVIEW and said is Decision.DECLINE else plain


@given(
    st.lists(
        st.tuples(st.sampled_from(SAID), st.sampled_from([None, *RuleAction]), st.booleans()), min_size=1, max_size=40
    ),
    st.integers(1, 39),
    st.sampled_from([LIVE, "canary"]),
)
def test_the_cap_counts_what_rules_decline_softens_it_beside_live_and_follows_from_the_scores(
    steps: Any, cut: int, arm: str
) -> None:
    cap = DeclineCap(0.002)
    judged = [judgement(said, rule, arm) for said, rule, _ in steps]
    record = FetchedRecord("transactions", 0, 0, 0, 0, b"c", b"", ())
    count = len(steps)
    some = Payments(["c"] * count, ["m"] * count, [None] * count, np.ones(count, int), ["EUR"] * count)
    out = [recorded(one, at, some, [0.0] * 3) for at, one in enumerate(judged)]
    encoded = [msgspec.json.encode(one) for one in out]
    states: Any = {0: LimitState({arm: DeclineWindow(0b111 << 1_990)})}
    position = Position(declines=states[0].declines)
    for first, last in ((0, cut), (cut, len(steps))):
        part = range(*slice(first, last).indices(len(steps)))
        if not part:
            continue
        scored = Scored(
            [record] * len(part), [None] * len(part), [()] * len(part), {}, [judged[at] for at in part],  # type: ignore[list-item]
            [0] * len(part), [Outgoing(at, b"c", encoded[at], (), f"t{at}") for at in part],
        )  # fmt: skip
        after, states = overrule_decisions(scored, states, cap, None)
        for at, outgoing in zip(part, after.outgoing, strict=True):
            position = folded(position, FetchedRecord("scores", 0, at, 0, 0, b"c", outgoing.value, ()))
            found = msgspec.json.decode(outgoing.value or b"", type=Score)
            by = found.overruled and found.overruled.by
            if steps[at][1] is RuleAction.BLOCK:
                softened = arm != LIVE and found.decision is Decision.REVIEW
                assert (found.decision, by) == (("review", "decline_cap") if softened else ("decline", "rule:x"))
            assert (found.said, found.ruled) == (steps[at][0], judged[at].ruled)
    assert position.declines == states[0].declines
    declined = sum(one.ruled is Decision.DECLINE for one in judged)
    assert states[0].declines[arm].bits & ((1 << len(steps)) - 1) == int(
        "".join(str(int(one.ruled is Decision.DECLINE)) for one in judged), 2
    )
    assert states[0].declines[arm].declines <= 3 + declined


def test_a_canary_whose_rule_declines_everything_is_capped_and_live_is_not() -> None:
    for arm, reviewed in ((LIVE, 0), ("canary", 36)):
        judged = [judgement(Decision.APPROVE, RuleAction.BLOCK, arm) for _ in range(40)]
        record = FetchedRecord("transactions", 0, 0, 0, 0, b"c", b"", ())
        after, _ = cap_declines([record] * 40, judged, {0: {}}, DeclineCap(0.002))
        capped = [one for one in after if one.decision is Decision.REVIEW]
        assert len(capped) == reviewed
        assert {one.overruled for one in capped} <= {Overruled("decline_cap", Decision.APPROVE, Decision.DECLINE)}
        assert {one.ruled for one in after} == {Decision.DECLINE}


@given(st.sampled_from(SAID), st.sampled_from([None, *RuleAction]))
def test_a_lot_is_drawn_only_of_what_a_model_alone_declines(said: Decision, rule: RuleAction | None) -> None:
    one, some = judgement(said, rule), Payments(["c"], ["m"], [None], np.array([100]), ["EUR"])
    payment = {"transaction_id": "t0", "card_id": "c", "merchant_id": "m", "occurred_at": 0, "amount_minor": 100}
    transaction = Transaction(**payment, currency="EUR")  # type: ignore[arg-type]
    value = msgspec.json.encode(recorded(one, 0, some, [0.0] * 3))
    record = FetchedRecord("transactions", 0, 0, 0, 0, b"c", b"", ())
    scored = Scored([record], [transaction], [()], {}, [one], [0], [Outgoing(0, b"c", value, (), "t0")])
    every = LetThrough(10_000, {"EUR": 10**6}, "s", 1)
    after, _ = overrule_decisions(scored, {0: LimitState()}, None, every)
    drawn = after.judgements[0].propensity is not None
    assert drawn == (said is Decision.DECLINE and rule is None)
    assert after.judgements[0].decision == (Decision.APPROVE if drawn else one.decision)

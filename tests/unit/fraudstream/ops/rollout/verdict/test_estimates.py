"""What is estimated: before labels have come, and of what was declined; against a truth that the test knows."""

import numpy as np
import pytest

from benchmarks.worlds.declined import FRAUD_SHARE, draw_capped_lots
from fraudstream.ops.rollout.outcomes.maturity import MaturityTerms, maturity_curve, outcomes_of
from fraudstream.ops.rollout.verdict.declined import declined_facts
from fraudstream.ops.rollout.verdict.estimate import EstimateBasis, EstimateFacts, estimate
from fraudstream.ops.rollout.verdict.pairs import Pairs
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from metrics.bootstrap import BootstrapPlan
from metrics.money import DecisionCode
from support.outcome_cases import Payment, at_ms
from support.verdict_cases import COSTS, Compared, labels_of, pairs_of, saved

TERMS = VerdictTerms(currency="EUR", costs=COSTS, maturity_days=40.0, draws=100)
AS_OF = 100.0


def delayed(seed: int, count: int) -> tuple[list[Compared], int]:
    """Return payments of which one in ten is fraud, labelled after 10 days on average, and what is saved in truth.

    Live approves everything; the challenger reviews half of the frauds and a few others.
    """
    random = np.random.default_rng(seed)
    compared, truth = [], 0
    for at in range(count):
        fraud, day, delay = random.random() < 0.1, random.uniform(0, 100), random.exponential(10)
        known = True if fraud and day + delay <= AS_OF and delay <= 40 else None
        amount = int(random.integers(1_000, 9_000))
        says = "review" if random.random() < (0.5 if fraud else 0.02) else "approve"
        payment = Payment(
            f"card-{at % 700}", day, fraud=known, labelled_day=day + delay, amount_minor=amount, score=0.1
        )
        one = Compared(payment, says, 0.1)
        compared.append(one)
        truth += saved(one, fraud=bool(fraud) and delay <= 40)
    return compared, truth


def estimated(compared: list[Compared]) -> EstimateFacts:
    pairs, terms = pairs_of(compared), MaturityTerms(at_ms(AS_OF), TERMS.maturity_days)
    curve = maturity_curve(labels_of(compared), terms)
    return estimate(pairs, outcomes_of(pairs.rows, terms), (curve, at_ms(AS_OF)), TERMS)


def test_known_frauds_stand_for_those_to_come() -> None:
    """The naive sum misses the frauds of the last weeks; the estimate's interval holds the truth in most worlds."""
    held, naive_below = 0, 0
    for seed in range(4):
        compared, _ = delayed(seed, 6_000)
        found = estimated(compared)
        assert found.basis is EstimateBasis.MATURITY_CURVE
        assert found.payments + found.left_out == 6_000
        assert found.interval is not None
        truth = _truth_of_the_old_enough(seed, found.left_out)
        naive = sum(saved(one, fraud=one.payment.fraud is True) for one in compared)
        held += found.interval.low <= truth <= found.interval.high
        naive_below += naive < truth
    assert held >= 3
    assert naive_below == 4


def _truth_of_the_old_enough(seed: int, left_out: int) -> int:
    """Return what is saved in truth on all payments but the youngest, which the estimate leaves out."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(6_000):
        fraud, day, delay = random.random() < 0.1, random.uniform(0, 100), random.exponential(10)
        amount = int(random.integers(1_000, 9_000))
        says = "review" if random.random() < (0.5 if fraud else 0.02) else "approve"
        one = Compared(Payment("card", day, amount_minor=amount), says)
        rows.append((day, saved(one, fraud=bool(fraud) and delay <= 40)))
    return sum(one for _, one in sorted(rows)[: len(rows) - left_out])


def known_later_where_large(seed: int) -> tuple[list[Compared], int]:
    """Return payments whose small frauds are known after 2 days on average and large ones after 25, and the truth."""
    random = np.random.default_rng(seed)
    compared, truth = [], 0
    for at in range(5_000):
        day, large, fraud = random.uniform(54, 100), random.random() < 0.5, random.random() < 0.15
        amount = int(random.integers(20_000, 40_000) if large else random.integers(1_000, 4_000))
        delay = random.exponential(25 if large else 2)
        label = True if fraud and day + delay <= AS_OF else None
        says = "review" if random.random() < (0.6 if fraud else 0.01) else "approve"
        payment = Payment(f"card-{at % 900}", day, fraud=label, labelled_day=day + delay, amount_minor=amount)
        compared.append(Compared(payment, says))
        if day <= AS_OF - (2.1 if large else 0.2):
            truth += saved(compared[-1], fraud=bool(fraud) and delay <= TERMS.maturity_days)
    return compared, truth


def test_frauds_of_large_amounts_that_are_known_later_do_not_make_the_estimate_low(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = dict[int, list[float]]()
    for bands in (1, 3):
        monkeypatch.setattr("fraudstream.ops.rollout.verdict.estimate.AMOUNT_BANDS", bands)
        for seed in range(2):
            compared, truth = known_later_where_large(seed)
            one = estimated(compared)
            assert one.basis is EstimateBasis.MATURITY_CURVE
            assert one.saved_minor is not None
            found.setdefault(bands, []).append(one.saved_minor / truth)
    by_one, by_bands = (float(np.mean(ratios)) for ratios in found.values())
    assert by_one < 0.9, "one curve for all amounts is low"
    assert abs(by_bands - 1) < 0.1


def test_without_enough_labels_the_scores_say_and_each_model_has_its_word() -> None:
    compared = [
        Compared(Payment(f"card-{at}", 99.0, amount_minor=10_000, score=0.01), "review", 0.5) for at in range(300)
    ]
    found = estimated(compared)
    assert found.basis is EstimateBasis.PROBABILITIES
    by_live, by_challenger = 0.01 * 10_000 - 300, 0.5 * 10_000 - 300
    assert found.saved_minor == pytest.approx(300 * (by_live + by_challenger) / 2)
    assert (found.payments, found.left_out) == (300, 0)


def test_without_scores_there_is_no_estimate() -> None:
    found = estimated([Compared(Payment("a", 99.0, score=None), "review", 0.5)])
    assert (found.basis, found.saved_minor, found.left_out) == (EstimateBasis.NOTHING, None, 1)


def test_an_unobserved_payment_counts_by_the_worst_case() -> None:
    compared = [
        Compared(Payment(f"card-{at}", 99.0, "decline", "decline", amount_minor=500), "approve") for at in range(80)
    ]
    assert estimated(compared).saved_minor == -80 * 500


def lots(seed: int, propensity: float = 0.2) -> tuple[list[Compared], list[bool]]:
    """Return payments that live declined, of which a lot let some through; a third is fraud, the larger ones more."""
    random = np.random.default_rng(seed)
    compared, truths = [], []
    for at in range(1_500):
        amount = int(random.integers(1_000, 50_000))
        fraud, let = random.random() < amount / 75_000, random.random() < propensity
        payment = Payment(
            f"card-{at % 600}", 1.0, "decline", "approve" if let else "decline", bool(fraud) if let else None, 20.0,
            amount, propensity=propensity,
        )  # fmt: skip
        compared.append(Compared(payment, "review"))
        truths.append(bool(fraud))
    return compared, truths


def test_lots_estimate_what_was_declined_without_bias_and_state_their_coverage() -> None:
    shares, saved_by_lots = [], []
    for seed in range(12):
        compared, truths = lots(seed)
        pairs = pairs_of(compared)
        found = declined_facts(pairs, outcomes_of(pairs.rows, TERMS.maturity(at_ms(AS_OF))), TERMS)
        assert found.lots is not None
        assert (found.lots.drawn, found.lots.coverage, found.lots.money_coverage) == (1_500, 1, 1)
        assert found.lots.let_through == sum(one.payment.decided == "approve" for one in compared)
        assert found.lots.fraud_share.value is not None
        assert found.lots.saved_minor.value is not None
        shares.append(found.lots.fraud_share.value - sum(truths) / 1_500)
        truth = sum(saved(one, fraud=fraud) for one, fraud in zip(compared, truths, strict=True))
        saved_by_lots.append((found.lots.saved_minor.value - truth) / 1_500)
        assert found.otherwise.saved_if_fraud_minor < 0 < found.otherwise.events
    assert abs(np.mean(shares)) < 3 * np.std(shares) / 12**0.5
    assert abs(np.mean(saved_by_lots)) < 3 * np.std(saved_by_lots) / 12**0.5


def test_lots_estimate_what_was_declined_while_the_cap_holds_most_of_the_time() -> None:
    shares, recalls, held = [], [], 0
    for seed in range(12):
        world = draw_capped_lots(np.random.default_rng(seed))
        rows = world.rows
        nothing = np.zeros(len(rows))
        challenger = np.where(rows["said"] == DecisionCode.DECLINE, DecisionCode.REVIEW, DecisionCode.APPROVE)
        pairs = Pairs(rows, rows["said"], challenger, rows["score"], nothing, nothing, nothing)
        lots = declined_facts(pairs, outcomes_of(rows, TERMS.maturity(at_ms(AS_OF))), TERMS).lots
        assert lots is not None
        assert (lots.drawn, lots.coverage) == (1_500, 1)
        assert lots.fraud_share.value is not None
        assert lots.fraud_share.interval is not None
        assert lots.live_recall.value is not None
        shares.append(lots.fraud_share.value)
        recalls.append(lots.live_recall.value - world.recall)
        held += lots.fraud_share.interval.low <= FRAUD_SHARE <= lots.fraud_share.interval.high
    assert float(np.mean(shares)) == pytest.approx(FRAUD_SHARE, abs=3 * float(np.std(shares)) / 12**0.5)
    assert abs(np.mean(recalls)) < 3 * np.std(recalls) / 12**0.5 + 0.005
    assert held >= 9


def test_a_decline_without_a_lot_is_in_no_estimate() -> None:
    compared, _ = lots(1)
    without = [
        one._replace(payment=one.payment._replace(propensity=None, decided="decline", fraud=None)) for one in compared
    ]
    pairs = pairs_of(compared + without)
    found = declined_facts(pairs, outcomes_of(pairs.rows, TERMS.maturity(at_ms(AS_OF))), TERMS)
    assert found.lots is not None
    assert found.lots.coverage == pytest.approx(0.5)
    assert found.events == 1_500 + sum(one.is_unobserved for one in compared)
    alone = pairs_of(without)
    assert declined_facts(alone, outcomes_of(alone.rows, TERMS.maturity(at_ms(AS_OF))), TERMS).lots is None
    assert BootstrapPlan().draws > TERMS.draws

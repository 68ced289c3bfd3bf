"""The verdict on a challenger over the public handbook stream, counted again in plain Python, to the cent."""

import json
from collections import defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from features.declaration import load
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from models.repository import Repository
from shadow.comparison import read_comparison
from support.acceptance import sized
from support.fleet.fleet import Fleet, until
from support.fleet.payments import put_model
from support.handbook import DAY_MS, TRANSACTIONS, label, needs_handbook, rows, transaction, weeks
from support.outcome_cases import cards_in_whole_cohorts

COUNT = sized(4_000, 16_000)
PER_TERMINAL = 93
MATURITY_DAYS, CARD_DAYS = 21, 14
OPTIONS = ("--maturity-days", str(MATURITY_DAYS), "--card-days", str(CARD_DAYS), "--cap", "EUR 300", "--json")
CAP_MINOR = 30_000


class Seen(NamedTuple):
    """One payment as the topics show it, and what is known of it."""

    card: str
    occurred_ms: int
    amount: int
    decided: str
    live: str
    challenger: str
    fraud: bool | None

    def saved(self, *, fraud: bool) -> int:
        return loss(self.live, self.amount, fraud=fraud) - loss(self.challenger, self.amount, fraud=fraud)

    @property
    def is_unobserved(self) -> bool:
        return self.decided == "decline" and self.fraud is None


def loss(decision: str, amount: int, *, fraud: bool) -> int:
    """Return what a decision costs by the default costs: 3.00 a review; 2.00 and 5 % a wrong decline."""
    if decision == "review":
        return 300
    if decision == "approve":
        return amount if fraud else 0
    return 0 if fraud else 200 + (amount * 500 + 5_000) // 10_000


def run(fleet: Fleet, challenger: str) -> tuple[list[Seen], int]:
    """Decide the stream week by week, with labels a week later, none of the last week and none of declined payments."""
    done = fleet.cli("model", "challenge", challenger, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    stream = rows(terminals=COUNT // PER_TERMINAL, most=COUNT)
    stretches = list(weeks(stream))
    decided, labelled, labels = 0, 0, dict[str, bool]()
    for stretch in stretches:
        fleet.publish(transaction(row) for row in stretch)
        decided += len(stretch)
        valid = {one.transaction_id: one for one in fleet.await_scores(decided, seconds=120)}
        if stretch is not stretches[-1]:
            known = [row for row in stretch if valid[row["transaction_id"]].decision != "decline"]
            labels |= {row["transaction_id"]: row["fraud"] for row in known}
            fleet.publish((label(row) for row in known), topic="labels")
            labelled += len(known)
            fleet.await_outcomes(labelled, seconds=120)
    until(lambda: sum(fleet.ends("shadow-scores").values()) >= decided, "all are compared", 120)
    scores = fleet.scores()[0]
    said = {one.transaction_id: one for one in map(read_of, fleet.read("shadow-scores"))}
    times = {row["transaction_id"]: row["occurred_at"] for row in stream}
    seen = [
        Seen(
            one.card_id,
            times[one.transaction_id],
            one.amount_minor,
            one.decision.value,
            said[one.transaction_id].live.decision.value,
            said[one.transaction_id].challenger.decision.value,
            labels.get(one.transaction_id),
        )
        for one in scores
    ]
    latest_label = max(times[name] + 7 * DAY_MS for name in labels)
    return seen, max(*times.values(), latest_label)


def read_of(record: Any) -> Any:
    return read_comparison(record.value)


def verdict(fleet: Fleet, *arguments: str) -> dict[str, Any]:
    done = fleet.cli("shadow", "verdict", *OPTIONS, *arguments)
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["verdict"] == "PROMOTE" else 1), done.stderr
    return found


def assert_recounted(found: dict[str, Any], seen: list[Seen], as_of_ms: int) -> None:
    """Assert that every figure of the verdict is that of the topics."""
    coverage = found["coverage"]
    assert [coverage[name] for name in ("eligible", "compared", "unexplained")] == [len(seen), len(seen), 0]
    for swap in found["swaps"]:
        own = [one for one in seen if (one.live, one.challenger) == (swap["live"], swap["challenger"])]
        assert (swap["events"], swap["cards"]) == (len(own), len({one.card for one in own}))
        assert swap["amount_minor"] == {"EUR": sum(one.amount for one in own)}
        assert swap["unobserved"] == sum(one.is_unobserved for one in own)
    assert sum(swap["events"] for swap in found["swaps"]) == sum(one.live != one.challenger for one in seen)
    largest = sorted((one.amount for one in seen if one.live != one.challenger), reverse=True)[:10]
    assert [one["amount_minor"] for one in found["largest"]] == largest
    old_ms = as_of_ms - MATURITY_DAYS * DAY_MS
    young = [one.occurred_ms for one in seen if one.fraud is None and one.occurred_ms > old_ms]
    known = [
        one
        for one in seen
        if one.occurred_ms < min(young, default=2**62) and (one.fraud is not None or not one.is_unobserved)
    ]
    assert_matured(found["matured"], known)
    assert_losses(found["loss"], seen, as_of_ms)
    unobserved = [one for one in seen if one.is_unobserved]
    declined = found["declined"]
    assert (declined["events"], declined["amount_minor"]) == (len(unobserved), sum(one.amount for one in unobserved))
    otherwise = [one for one in unobserved if one.challenger != "decline"]
    assert declined["otherwise"]["events"] == len(otherwise)
    assert declined["otherwise"]["saved_if_fraud_minor"] == sum(one.saved(fraud=True) for one in otherwise)
    assert declined["otherwise"]["saved_if_genuine_minor"] == sum(one.saved(fraud=False) for one in otherwise)


def assert_matured(found: dict[str, Any], known: list[Seen]) -> None:
    frauds = [one for one in known if one.fraud]
    assert (found["payments"], found["frauds"]) == (len(known), len(frauds))
    assert found["fraud_minor"] == sum(one.amount for one in frauds)
    for name in ("live", "challenger"):
        said = [(getattr(one, name), one) for one in known]
        figures, alerts = found[name], [one for decision, one in said if decision != "approve"]
        caught = [one for one in alerts if one.fraud]
        cost = sum(loss(decision, one.amount, fraud=bool(one.fraud)) for decision, one in said)
        assert (figures["alerts"], figures["frauds_caught"], figures["loss_minor"]) == (len(alerts), len(caught), cost)
        assert figures["fraud_lost_minor"] == sum(one.amount for one in frauds) - sum(one.amount for one in caught)
        assert figures["precision"]["value"] == (pytest.approx(len(caught) / len(alerts)) if alerts else None)
        assert figures["recall"]["value"] == pytest.approx(len(caught) / len(frauds))
        trivial = min(
            sum(loss(decision, one.amount, fraud=bool(one.fraud)) for one in known)
            for decision in ("approve", "review", "decline")
        )
        assert figures["savings"]["value"] == pytest.approx(1 - cost / trivial)


def final_cards(seen: list[Seen], as_of_ms: int) -> Iterator[list[Seen]]:
    """Yield the first days of each card in a final cohort, in the order of first payments."""
    by_card: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        by_card[one.card].append(one)
    firsts = {card: min(one.occurred_ms for one in own) for card, own in by_card.items()}
    hashes = {card: int.from_bytes(blake2b(card.encode(), digest_size=8).digest(), "big") for card in firsts}
    windows, final, old_ms = [], [], as_of_ms - MATURITY_DAYS * DAY_MS
    for card in sorted(firsts, key=lambda one: (firsts[one], hashes[one])):
        end = firsts[card] + CARD_DAYS * DAY_MS
        windows.append([one for one in by_card[card] if one.occurred_ms < end])
        final.append(end <= as_of_ms and all(one.fraud is not None or one.occurred_ms <= old_ms for one in windows[-1]))
    yield from windows[: cards_in_whole_cohorts(sorted(firsts.values()), final, CARD_DAYS * DAY_MS)]


def assert_losses(found: dict[str, Any], seen: list[Seen], as_of_ms: int) -> None:
    cards = list(final_cards(seen, as_of_ms))
    every = [one for own in cards for one in own]
    known = [one for one in every if not one.is_unobserved]
    assert (found["cards"], found["final"], found["payments"]) == (
        len({one.card for one in seen}),
        len(cards),
        len(every),
    )
    assert found["final"] > 20
    assert found["unobserved"] == len(every) - len(known)
    for name in ("live", "challenger"):
        assert found[f"{name}_minor"] == sum(
            loss(getattr(one, name), one.amount, fraud=bool(one.fraud)) for one in known
        )
    worst = [
        sum(
            min(one.saved(fraud=True), one.saved(fraud=False))
            if one.is_unobserved
            else one.saved(fraud=bool(one.fraud))
            for one in own
        )
        for own in cards
    ]
    assert found["total_worst_minor"] == sum(worst)
    assert found["capped"] == sum(abs(one) > CAP_MINOR for one in worst)
    mean = sum(min(max(one, -CAP_MINOR), CAP_MINOR) for one in worst) / len(cards)
    assert found["mean_worst_minor"] == pytest.approx(mean)
    assert found["low_minor"] <= mean <= found["high_minor"]


@needs_handbook
@pytest.mark.acceptance
def test_the_verdict_on_a_challenger_is_that_of_a_recount_and_a_promotion_needs_it(fleet: Fleet) -> None:
    fleet.go_live()
    challenger = put_model(fleet.models, seed=1)
    seen, as_of_ms = run(fleet, challenger)
    found = verdict(fleet)
    assert found["challenger"] == challenger
    assert_recounted(found, seen, as_of_ms)
    text = fleet.cli("shadow", "verdict", *OPTIONS[:-1])
    assert f"\n{found['verdict']}, decided by the gate {found['gate']}\n" in text.stdout, text.stderr
    assert_promotion_needs_it(fleet, challenger, found)


def assert_promotion_needs_it(fleet: Fleet, challenger: str, found: dict[str, Any]) -> None:
    """Ask for a verdict on each promotion; one that is none is refused, and `--force` is on the record."""
    assert fleet.cli("limits", "set", "--promote-needs-verdict").returncode == 0
    if found["verdict"] != "PROMOTE":
        refused = fleet.cli("model", "promote", challenger, "--json")
        assert refused.returncode == 1
        assert "nothing was sent" in refused.stderr
        file = fleet.folder / "verdict.json"
        file.write_text(json.dumps(found))
        sent = fleet.cli("model", "promote", challenger, "--json", "--verdict", str(file))
        assert [one["code"] for one in json.loads(sent.stdout)["problems"]] == ["not_promoted"], sent.stderr
        file.write_text(json.dumps(found | {"verdict": "PROMOTE"}))
        forged = fleet.cli("model", "promote", challenger, "--json", "--verdict", str(file))
        assert json.loads(forged.stdout)["kind"] == "accepted", forged.stderr
        assert "verdict PROMOTE of" in fleet.cli("model", "history").stdout
    else:
        assert fleet.promote(challenger)["kind"] == "accepted"


def trained(folder: Path, repository: Repository, name: str, since_day: int) -> str:
    """Train a model on the handbook's payments from a day until the 70th, and return its digest."""
    wanted = (
        "CAST(TRANSACTION_ID AS VARCHAR) AS transaction_id, 'c' || CUSTOMER_ID AS card_id, "
        "'m' || TERMINAL_ID AS merchant_id, CAST(round(TX_AMOUNT * 100) AS BIGINT) AS amount_minor, 'EUR' AS currency, "
        "strftime(CAST(TX_DATETIME AS TIMESTAMP), '%Y-%m-%dT%H:%M:%SZ') AS occurred_at, TX_FRAUD = 1 AS fraud"
    )
    part = f"TX_TIME_DAYS >= {since_day} AND TX_TIME_DAYS < 70 ORDER BY TRANSACTION_ID"
    file = folder / f"{name}.parquet"
    duckdb.connect().sql(f"SELECT {wanted} FROM '{TRANSACTIONS}' WHERE {part}").write_parquet(str(file))  # noqa: S608
    request = TrainingRequest(file=file, name=name, feature_set=load(None), trees=60, threads=1)
    return train(request, repository, lambda _stage, _done, _total: None).digest


@needs_handbook
@pytest.mark.acceptance
def test_a_challenger_trained_with_half_of_the_history_is_judged(fleet: Fleet, tmp_path: Path) -> None:
    repository = Repository(fleet.models)
    live, half = (trained(tmp_path, repository, *one) for one in (("whole", 0), ("half", 35)))
    worker = fleet.worker()
    until(lambda: worker.has_joined, "the group is joined")
    fleet.promote(live)
    worker.await_ready()
    seen, as_of_ms = run(fleet, half)
    found = verdict(fleet)
    assert found["live"] == {live: len(seen)}
    assert found["matured"]["live"]["frauds_caught"] > 0
    assert_recounted(found, seen, as_of_ms)

"""A whole evaluation: two models on a file, as values, as tables, as a page, and by the command."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console
from sklearn.metrics import average_precision_score, roc_auc_score

from features.declaration import FeatureSet
from features.declaration import load as load_features
from features.own_fields import DeclaredFields, category
from features.vector.sets import FeatureSets
from fraudstream.cli.main import main
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.evaluation.page import state_evaluation, words_of_difference
from fraudstream.lab.evaluation.payments import read_payments
from fraudstream.lab.evaluation.report import EvaluationReport
from fraudstream.lab.evaluation.request import EvaluatedPeriod, EvaluationRequest, EvaluationTerms, NotHeldBackError
from fraudstream.lab.evaluation.run import evaluate
from fraudstream.lab.rescoring.rescore import usable_model
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from fraudstream.lab.training.seen import stated_until_ms
from fraudstream.lab.training.segments import country_name
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.verdict.figures import Figure
from metrics.intervals import Interval
from metrics.money import CostMatrix
from models.artifact import read_artifact, with_policy, write_artifact
from models.cost_policy import CostPolicy
from models.loading import Model
from models.repository import Repository
from support.parsed_page import pictures
from support.training_files import silent, transactions, write

SET = "support.features.small_set"
FEATURES = load_features(SET)
SETS = FeatureSets((FEATURES,))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Path]:
    """Train two models on a file; return the repository, the digests and the file."""
    folder = tmp_path_factory.mktemp("evaluation")
    columns = transactions()
    rows = len(columns["fraud"])
    columns |= {
        "channel": ["pos" if row % 3 else "ecommerce" for row in range(rows)],
        "merchant_country": ["DE" if row % 4 else None for row in range(rows)],
    }
    file, repository = write(folder / "a.parquet", columns), Repository(str(folder / "models"))
    request = TrainingRequest(
        file=file, name="card", feature_set=FEATURES, trees=15, threads=1, review_share=0.05, refit=False
    )
    digests = [train(replace(request, name=name, trees=trees), repository, silent).digest for name, trees in _MODELS]
    return folder / "models", digests, file


_MODELS = (("card", 15), ("small", 2))


def request_for(house: tuple[Path, list[str], Path], *, draws: int = 20, **changes: Any) -> EvaluationRequest:
    models, digests, file = house
    request = EvaluationRequest(
        file=file,
        models=str(models),
        model=digests[0],
        against=digests[1],
        sets=SETS,
        made_ms=1_800_000_000_000,
        terms=EvaluationTerms(budgets=(1, 5), draws=draws),
        threads=1,
    )
    return replace(request, **changes)


@pytest.fixture(scope="module")
def report(house: tuple[Path, list[str], Path]) -> EvaluationReport:
    return evaluate(request_for(house), silent)


def test_the_figures_are_those_of_the_models_on_what_they_have_not_seen(
    house: tuple[Path, list[str], Path], report: EvaluationReport, tmp_path: Path
) -> None:
    models, digests, file = house
    with TransactionsFile(file, tmp_path, 1) as source:
        found = read_payments(source, FEATURES, tmp_path, silent)
    table = found.table
    loaded = [usable_model(str(models), digest, SETS) for digest in digests]
    until = max(stated_until_ms(model.manifest, Repository(str(models))) for model in loaded)
    rows = np.flatnonzero((table.occurred_ms > until) & (table.fraud >= 0))
    assert report.data.payments == len(rows)
    assert report.data.held_back
    assert report.data.frauds == int(table.fraud[rows].sum())
    for model, one in zip(loaded, report.models, strict=True):
        _check(model, one.figures, np.asarray(table.matrix[rows]), table.fraud[rows] == 1)
        assert one.model.digest == model.digest
        assert sum(bar for bar in one.scores.evaluated) == len(rows)
        assert sum(feature.gain for feature in one.features) == pytest.approx(1)
        assert {feature.name for feature in one.features} == set(FEATURES.names)
    assert country_name(int(found.columns.country[1])) == "DE"


def _check(model: Model, figures: dict[str, Figure], matrix: Any, fraud: Any) -> None:
    scores = model.score(matrix)
    alerts = scores >= model.policy.review_at
    assert figures["recall"].value == pytest.approx((alerts & fraud).sum() / fraud.sum())
    # every card of this file has a fraud within two weeks now and then, so some are blocked: only a bound holds
    assert figures["auc"].value == pytest.approx(roc_auc_score(fraud, scores), abs=0.1)
    assert figures["average_precision"].value == pytest.approx(average_precision_score(fraud, scores), abs=0.2)


def test_a_model_with_costs_decides_by_them(house: tuple[Path, list[str], Path]) -> None:
    models, digests, _ = house
    repository = Repository(str(models))
    artifact = read_artifact(repository.fetch(digests[0]))
    costs = CostPolicy({"EUR": CostMatrix(0, 0, 10_000, 0)})  # a review is free, so each payment is reviewed
    manifest = with_policy(artifact.manifest, artifact.manifest.policy, costs, None, None)
    digest = repository.put(write_artifact(msgspec.structs.replace(artifact, manifest=manifest)))
    found = evaluate(request_for(house, draws=1, model=digest, against=None), silent)
    assert (found.models[0].reviews, found.models[0].declines) == (found.data.payments, 0)
    assert found.models[0].figures["recall"].value == 1


def test_segments_are_cut_by_declared_categories_and_those_of_the_contract_in_words(
    house: tuple[Path, list[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = transactions()
    rows = len(columns["fraud"])
    columns |= {
        "ip_country": [("NG", "AT", None)[row % 3] for row in range(rows)],
        "card_country": ["DE" if row % 4 else "FR" for row in range(rows)],
        "mcc": [f"{row % 12:04}" for row in range(rows)],
    }
    file = write(tmp_path / "fields.parquet", columns)
    sets = FeatureSets((FeatureSet(FEATURES.rows, DeclaredFields((category("ip_country"),))),))
    asked = ("ip_country", "card_country", "mcc")
    found = evaluate(request_for(house, file=file, sets=sets, segments=asked, draws=2), silent)
    names = {kind: [one.name for one in found.segments if one.kind == kind] for kind in asked}
    assert sorted(names["ip_country"]) == ["AT", "NG", "not given"]
    assert names["card_country"] == ["DE", "FR"]
    assert (len(names["mcc"]), names["mcc"][-1]) == (9, "others")
    assert sum(one.payments for one in found.segments if one.kind == "ip_country") == found.data.payments
    assert "ip_country, " in state_evaluation(found).html()
    monkeypatch.setenv("FRAUDSTREAM_MODELS", str(house[0]))
    done = CliRunner().invoke(main, ["evaluate", house[1][0], str(file), "--segment", "ip"])
    assert (done.exit_code, "there are currency, mcc, card_country" in done.output) == (1, True), done.output


def test_the_report_has_weeks_segments_and_paired_differences(report: EvaluationReport) -> None:
    assert sum(week.payments for week in report.weeks) == report.data.payments
    kinds = {one.kind for one in report.segments}
    assert kinds == {"amount", "channel", "country", "card"}
    for name, figure in report.differences.items():
        values = [one.figures[name].value for one in report.models]
        if None not in values:
            assert figure.value == pytest.approx(values[0] - values[1])
    assert report.data.reference == "first week"


def test_the_same_request_gives_the_same_report_and_json_reads_back(
    house: tuple[Path, list[str], Path], report: EvaluationReport
) -> None:
    assert evaluate(request_for(house), silent) == report
    again = msgspec.convert(json.loads(json.dumps(report.facts())), EvaluationReport)
    assert again == report


def test_tables_and_page_show_both_models_and_whether_they_are_held_back(report: EvaluationReport) -> None:
    console = Console(record=True, width=200)
    console.print(on_terminal(state_evaluation(report)))
    text = console.export_text()
    assert "held back" in text
    for one in report.models:
        assert one.model.digest[:12] in text
    page = state_evaluation(report).html()
    assert len(pictures(page)) > 10
    assert "they are held back" in page


def differing(report: EvaluationReport, *figure: Any) -> EvaluationReport:
    return msgspec.structs.replace(report, differences=report.differences | {"average_precision": Figure(*figure)})


def test_the_headline_says_whether_the_first_model_is_better(report: EvaluationReport) -> None:
    other = report.models[1].model.label
    assert words_of_difference(differing(report, 0.021, Interval(0.011, 0.031))) == (
        "better", f"Better: average precision differs by 0.021 (0.011 to 0.031) from that of {other}"
    )  # fmt: skip
    assert words_of_difference(differing(report, -0.021, Interval(-0.031, -0.011)))[0] == "worse"
    assert words_of_difference(differing(report, 0.0, Interval(-0.01, 0.01)))[1].startswith("Not told apart: ")
    few = words_of_difference(differing(report, 0.074, None))[1]
    assert few.startswith("Too early to say: average precision differs by ")
    assert few.endswith(", and fewer than 50 cards bear on it, so it may be chance")
    alone = msgspec.structs.replace(report, models=report.models[:1], differences={})
    headline = state_evaluation(alone).headline
    assert headline is not None
    assert re.fullmatch(r"Finds .* % .*of the frauds; .* of its alerts are frauds", headline.words)


def test_payments_of_the_training_are_refused_unless_they_are_asked_for(house: tuple[Path, list[str], Path]) -> None:
    since = 1_767_225_600_000
    with pytest.raises(NotHeldBackError):
        evaluate(request_for(house, period=EvaluatedPeriod(since_ms=since)), silent)
    asked = EvaluatedPeriod(since_ms=since, use_training_rows=True)
    found = evaluate(request_for(house, draws=1, against=None, period=asked), silent)
    assert not found.data.held_back
    assert found.data.trained_rows > 0
    assert found.differences == {}
    assert "NOT HELD BACK" in state_evaluation(found).html()


def test_the_command_writes_json_and_a_page_and_refuses_what_it_cannot_do(
    house: tuple[Path, list[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, digests, file = house
    monkeypatch.setenv("FRAUDSTREAM_MODELS", str(models))
    monkeypatch.setenv("FRAUDSTREAM_FEATURES", SET)
    page = tmp_path / "page.html"
    command = ["evaluate", digests[0][:12], str(file), "--draws", "5", "--budget", "3", "--json", "--report", str(page)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["models"][0]["model"]["digest"] == digests[0]
    assert facts["models"][0]["budgets"][0]["budget"] == 3
    assert "its number of alerts is not" not in done.stderr
    assert page.read_text().startswith("<!DOCTYPE html>")
    shown = CliRunner().invoke(main, ["evaluate", digests[0][:12], str(file), "--draws", "5"])
    assert "Average precision" in shown.stdout
    since = ["evaluate", digests[0][:12], str(file), "--since", "2026-01-01T00:00:00Z"]
    refused = CliRunner().invoke(main, since)
    assert refused.exit_code == 1
    assert "--use-training-rows" in refused.stderr
    unknown = CliRunner().invoke(main, ["evaluate", "00000000", str(file)])
    assert unknown.exit_code == 1
    costs = CliRunner().invoke(main, ["evaluate", digests[0][:12], str(file), "--review-cost", "JPY 300"])
    assert costs.exit_code == 1
    assert "stated for JPY" in costs.stderr

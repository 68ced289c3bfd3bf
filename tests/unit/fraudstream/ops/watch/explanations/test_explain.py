"""Explanations of scores of real models: every alert has one, exact ones add up, and others say why."""

import logging
import re
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest

from features.reasons import ReasonTable
from fraudstream.ops.watch.explanations.explain import Explained, explain
from fraudstream_client.outputs import AlertExplanation, Score
from models.loading import Contributions, Model
from models.policy import Floats
from stream.contract.schema import json_schema
from stream.scoring.facts import ExplanationOutcome
from support.explanations.alerts import NAMES, model_in, scored
from support.explanations.shapley import shapley_values
from support.paths import HOUSE

TABLE, NOW_MS = ReasonTable(), 1_772_359_201_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return model_in(folder)


def explained(model: Model, *scores: Score) -> list[Explained]:
    return explain(TABLE, scores, {model.digest: model}, NOW_MS)


def test_an_explanation_adds_up_to_the_raw_score_and_keeps_what_identifies_the_alert(model: Model) -> None:
    scores = [scored(model, offset) for offset in range(40)]
    margins = model.contributions(vectors_of(scores)).margins
    for score, margin, (found, outcome) in zip(scores, margins, explained(model, *scores), strict=True):
        shown = sum(one.contribution or 0.0 for one in found.reasons)
        assert abs((found.base or 0.0) + shown + (found.rest or 0.0) - margin) < 1e-9
        assert outcome is ExplanationOutcome.EXPLAINED
        assert (found.transaction_id, found.card_id, found.source) == (
            score.transaction_id,
            score.card_id,
            score.source,
        )
        assert (found.digest, found.score) == (model.digest, score.score)
        assert found.explained_at == "2026-03-01T10:00:01.000Z"


def test_the_reasons_are_those_of_shapley_values_by_their_definition(model: Model, folder: Path) -> None:
    (text,) = [path.read_text() for path in folder.rglob("model.txt")]
    for offset in range(5):
        score = scored(model, offset)
        ((found, _),) = explained(model, score)
        base, values = shapley_values(text, tuple(vectors_of([score])[0].tolist()))
        by_code: dict[str, float] = {}
        for name, value in zip(NAMES, values, strict=True):
            by_code[TABLE.code_of(name)] = by_code.get(TABLE.code_of(name), 0.0) + value
        strongest = sorted((value for value in by_code.values() if value > 1e-12), reverse=True)[:4]
        assert [one.contribution for one in found.reasons if (one.contribution or 0) > 1e-12] == pytest.approx(
            strongest
        )
        assert all(one.contribution == pytest.approx(by_code[one.code], abs=1e-12) for one in found.reasons)
        assert found.base == pytest.approx(base)


def test_an_alert_is_explained_alike_alone_and_among_others(model: Model) -> None:
    scores = [scored(model, offset) for offset in range(20)]
    assert [one for score in scores for one in explained(model, score)] == explained(model, *scores)


def test_alerts_of_several_models_keep_their_order(model: Model, tmp_path: Path) -> None:
    other = model_in(tmp_path, ("a", "b", "c"), seed=2)
    scores = [scored(one, offset) for offset, one in enumerate((other, model, None, other, model))]
    found = explain(TABLE, scores, {one.digest: one for one in (model, other)}, NOW_MS)
    assert [one.explanation.source for one in found] == [one.source for one in scores]
    assert [one.explanation.digest for one in found] == [
        other.digest,
        model.digest,
        None,
        other.digest,
        model.digest,
    ]
    assert [one.outcome for one in found].count(ExplanationOutcome.BY_RULES) == 1


@pytest.mark.parametrize(
    ("changes", "outcome", "said"),
    [
        ({"features": None}, ExplanationOutcome.NO_FEATURES, "carries no features"),
        ({"features": {"a": 1.0}}, ExplanationOutcome.OTHER_FEATURES, "its features are not those of model"),
        ({"score": 0.123}, ExplanationOutcome.OTHER_SCORE, "for its features, not 0.123"),
    ],
)
def test_an_alert_that_cannot_be_explained_is_written_without_reasons_and_logged(
    model: Model,
    changes: dict[str, object],
    outcome: ExplanationOutcome,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "fraudstream.explanations"):
        found, sound = explained(model, scored(model, 1, **changes), scored(model, 2))
    assert found.outcome is outcome
    assert (found.explanation.reasons, found.explanation.base, found.explanation.rest) == ((), None, None)
    assert found.explanation.digest == model.digest
    assert sound.outcome is ExplanationOutcome.EXPLAINED
    assert "the alert of transactions 0 offset 1 is written without reasons" in caplog.text
    assert said in caplog.text


class Inexact(Model):
    """A model whose contributions miss the raw score of the first row by a little."""

    def contributions(self, matrix: Floats) -> Contributions:
        """Return contributions of which those of the first row do not add up."""
        found = super().contributions(matrix)
        found.features[0, 0] += 2e-9
        return found


def test_contributions_that_miss_the_raw_score_are_not_shown(model: Model) -> None:
    inexact = Inexact(model.digest, model.manifest, model._booster)
    first, second = explain(TABLE, [scored(model, 1), scored(model, 2)], {model.digest: inexact}, NOW_MS)
    assert (first.outcome, second.outcome) == (ExplanationOutcome.INEXACT, ExplanationOutcome.EXPLAINED)
    assert (first.explanation.reasons, first.explanation.rest) == ((), None)


def test_a_record_decodes_as_its_type_and_has_the_fields_of_the_contract(model: Model) -> None:
    ((found, _),) = explained(model, scored(model, 3))
    value = msgspec.json.encode(found)
    assert msgspec.json.decode(value, type=AlertExplanation) == found
    fields = msgspec.json.decode(value)
    jsonschema.validate(fields, json_schema("explanation/1"))
    assert list(fields) == [
        "schema",
        "transaction_id",
        "card_id",
        "digest",
        "score",
        "reasons",
        "base",
        "rest",
        "source",
        "explained_at",
    ]
    assert [list(one) for one in fields["reasons"]] == [["code", "feature", "value", "contribution", "text"]] * len(
        fields["reasons"]
    )


def test_the_record_of_the_guide_is_one() -> None:
    guide = (HOUSE / "docs/how-to/explain-decisions.md").read_text()
    (block,) = re.findall(r"^```json\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE)
    found = msgspec.json.decode(block, type=AlertExplanation)
    assert msgspec.json.decode(block).keys() == msgspec.json.decode(msgspec.json.encode(found)).keys()
    sentences = [TABLE.analyst_sentence(one.feature or "", one.value, "EUR") for one in found.reasons]
    assert [one.text for one in found.reasons] == sentences
    assert [one.code for one in found.reasons] == [TABLE.code_of(one.feature or "") for one in found.reasons]


def vectors_of(scores: list[Score]) -> np.ndarray:
    values = [[np.nan if value is None else value for value in (one.features or {}).values()] for one in scores]
    return np.array(values, dtype=np.float64)

"""A whole distillation: a small student of a trained teacher, recounted from batch scores by plain Python."""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from click.testing import CliRunner
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from features.declaration import FeatureSet
from features.rows import card
from features.vector.sets import FeatureSets
from fraudstream.cli.main import main
from fraudstream.lab.distillation.page import state_distillation
from fraudstream.lab.distillation.report import DistillationReport
from fraudstream.lab.distillation.request import (
    NamedTeacher,
    ScoresFileError,
    StudentSize,
    TeacherError,
)
from fraudstream.lab.rescoring.file_run import score_file
from fraudstream.lab.rescoring.request import FileRequest, UnknownModelError
from models.artifact import MANIFEST, MODEL, Manifest, read_manifest
from models.loading import Model, load
from models.times import format_time, parse_time_ms
from stream.control.probes import probe_vectorisers
from support.distillation_cases import FEATURES, SET, SETS, SMALL, DistillationCase, payments
from support.invented import assert_invented
from support.parsed_page import parsed, pictures, words
from support.training_files import DAY_MS, silent, write

SIZES = (StudentSize(2, 3), StudentSize(40, 8, 3))
Scored = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Distilled:
    """A teacher and its student, with the scores of both for all payments by batch scoring."""

    case: DistillationCase
    teacher: str
    report: DistillationReport
    of_teacher: Scored
    of_student: Scored

    def held_back(self) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
        """Return each held-back payment with both models' rows."""
        part = self.report.held_back
        return [
            (row, self.of_teacher[row["transaction_id"]], self.of_student[row["transaction_id"]])
            for row in self.case.rows()
            if part.since <= row["occurred_at"] <= part.until
        ]


def scored(case: DistillationCase, digest: str) -> Scored:
    """Score the file as `fraudstream score --out` does; return the rows by transaction."""
    out = case.folder / f"{digest}.parquet"
    score_file(FileRequest(case.file, digest, out, case.repository.url, SETS, 1), silent)
    found = duckdb.connect().execute(f"SELECT transaction_id, score, decision FROM '{out}'").fetchall()  # noqa: S608
    return {one: {"score": score, "decision": decision} for one, score, decision in found}


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Distilled:
    case = DistillationCase(tmp_path_factory.mktemp("distilled"))
    teacher = case.teacher()
    os.utime(f"{case.repository.url}/{teacher}/manifest.json", (1_000_000_000, 1_000_000_000))
    report = case.distil(teacher, sizes=SIZES)
    return Distilled(case, teacher, report, scored(case, teacher), scored(case, report.digest))


def manifest_of(case: DistillationCase, digest: str) -> Manifest:
    return read_manifest(case.repository.fetch(digest)[MANIFEST])


def test_a_student_is_a_model_that_a_worker_serves_and_names_its_teacher(distilled: Distilled) -> None:
    report, repository = distilled.report, distilled.case.repository
    model = load(repository, report.digest, probe_vectorisers(SETS))
    assert isinstance(model, Model)
    manifest = model.manifest
    assert (manifest.parent, manifest.distilled) == (distilled.teacher, None)
    assert (manifest.parameters["objective"], manifest.parameters["num_leaves"]) == ("cross_entropy", 4)
    assert manifest.training is not None
    assert manifest.training.rows == report.train.rows + report.calibrate.rows
    assert manifest.metrics == report.metrics
    assert (manifest.policy.review_at, manifest.policy.decline_at) == (report.review_at, report.decline_at)
    assert report.metrics["alert_rate"] == pytest.approx(report.comparison.student_alerts / report.held_back.rows)
    assert "distilled" not in json.loads(repository.fetch(report.digest)[MANIFEST])
    assert_invented(repository.fetch(report.digest), SETS.newest)


def test_a_teacher_counts_as_stored_when_the_student_was_begun(distilled: Distilled) -> None:
    stored_ms = distilled.case.repository.manifest(distilled.teacher).stored_ms
    assert stored_ms is not None
    assert stored_ms > 1_100_000_000_000


def test_the_same_file_teacher_and_request_give_the_same_digest(distilled: Distilled) -> None:
    again = distilled.case.distil(distilled.teacher, threads=2)
    assert again.digest == distilled.report.digest
    others = [
        distilled.case.distil(distilled.teacher, **change).digest
        for change in ({"seed": 2}, {"size": StudentSize(20, 7)})
    ]
    assert len({again.digest, *others}) == 3


def test_swaps_agreement_and_volumes_are_those_of_a_recount_by_plain_python(distilled: Distilled) -> None:
    report = distilled.report
    rows = distilled.held_back()
    assert len(rows) == report.held_back.rows
    assert sum(row["fraud"] for row, _, _ in rows) == report.held_back.frauds
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row, teacher, student in rows:
        pairs.setdefault((teacher["decision"], student["decision"]), []).append(row)
    assert {(one.teacher, one.student): one.events for one in report.decisions} == {
        pair: len(found) for pair, found in pairs.items()
    }
    for one in report.decisions:
        found = pairs[one.teacher, one.student]
        assert one.cards == len({row["card_id"] for row in found})
        assert one.amount_minor == {"EUR": sum(row["amount_minor"] for row in found)}
        frauds = [row["amount_minor"] for row in found if row["fraud"]]
        assert (one.frauds, one.fraud_minor.get("EUR", 0)) == (len(frauds), sum(frauds))
    both = report.comparison
    alike = sum(len(found) for (teacher, student), found in pairs.items() if teacher == student)
    assert both.agreement.value == pytest.approx(alike / len(rows))
    assert both.agreement.low is not None
    assert both.agreement.low <= alike / len(rows) <= (both.agreement.high or 0)
    assert both.teacher_alerts == sum(teacher["decision"] != "approve" for _, teacher, _ in rows)
    assert both.student_declines == sum(student["decision"] == "decline" for _, _, student in rows)
    assert both.volume_ratio.value == pytest.approx(both.student_alerts / both.teacher_alerts)


def test_ranking_and_differences_of_scores_are_those_of_other_libraries(distilled: Distilled) -> None:
    rows, both = distilled.held_back(), distilled.report.comparison
    fraud = [row["fraud"] for row, _, _ in rows]
    teacher, student = ([row[at]["score"] for row in rows] for at in (1, 2))
    assert both.rank_correlation.value == pytest.approx(spearmanr(teacher, student).statistic)
    assert both.score_difference.value == pytest.approx(
        sum(abs(one - other) for one, other in zip(teacher, student, strict=True)) / len(rows)
    )
    known = {(row["card_id"], -(-parse_time_ms(row["labelled_at"]).epoch_ms // DAY_MS)) for row in distilled.case.rows()
             if row["fraud"]}  # fmt: skip
    open_cards = [
        at
        for at, (row, _, _) in enumerate(rows)
        for day in [parse_time_ms(row["occurred_at"]).epoch_ms // DAY_MS]
        if not any((row["card_id"], since) in known for since in range(day - 13, day + 1))
    ]
    assert len(open_cards) < len(rows)
    precisions = [
        average_precision_score([fraud[at] for at in open_cards], [scores[at] for at in open_cards])
        for scores in (teacher, student)
    ]
    assert [both.teacher_average_precision, both.student_average_precision] == pytest.approx(precisions)
    assert both.average_precision_lost.value == pytest.approx(precisions[0] - precisions[1])
    stated = [one["average_precision"] for one in (distilled.report.teacher_metrics, distilled.report.metrics)]
    assert stated == pytest.approx(precisions)


def loss_minor(row: dict[str, Any], decision: str) -> int:
    """A review 3.00; a wrong decline 2.00 and 5 %, halves up; an approved fraud its amount."""
    if decision == "review":
        return 300
    if decision == "decline":
        return 0 if row["fraud"] else 200 + (row["amount_minor"] * 500 + 5_000) // 10_000
    return int(row["amount_minor"]) if row["fraud"] else 0


def test_losses_and_savings_are_those_of_a_recount_by_plain_python(distilled: Distilled) -> None:
    rows, money = distilled.held_back(), distilled.report.comparison.money
    losses = [sum(loss_minor(one[0], one[at]["decision"]) for one in rows) for at in (1, 2)]
    assert [money.teacher_loss_minor, money.student_loss_minor] == losses
    trivial = min(sum(loss_minor(row, decision) for row, _, _ in rows) for decision in ("approve", "review", "decline"))
    savings = [1 - loss / trivial for loss in losses]
    assert [money.teacher_savings, money.student_savings] == pytest.approx(savings)
    assert money.savings_lost.value == pytest.approx(savings[0] - savings[1])
    assert (money.currency, money.rows) == ("EUR", len(rows))


def is_in_band(name: str, row: dict[str, Any]) -> bool:
    """Tell whether an amount lies in a band such as `EUR from 10.00 below 50.00`."""
    currency, *words = name.replace(",", "").split()
    ends = dict(zip(words[::2], words[1::2], strict=True))
    low, high = float(ends.get("from", "0")), float(ends.get("below", "inf"))
    return bool(row["currency"] == currency and low <= row["amount_minor"] / 100 < high)


def test_segments_are_those_of_a_recount_by_plain_python(distilled: Distilled) -> None:
    first: dict[str, int] = {}
    for row in distilled.case.rows():
        first.setdefault(row["card_id"], parse_time_ms(row["occurred_at"]).epoch_ms)

    def band(row: dict[str, Any]) -> str:
        names = [one.name for one in distilled.report.segments if one.by == "amount"]
        return next(name for name in names if is_in_band(name, row))

    def age(row: dict[str, Any]) -> str:
        new = parse_time_ms(row["occurred_at"]).epoch_ms - first[row["card_id"]] < 7 * DAY_MS
        return "card in its first 7 days" if new else "card known for longer"

    named: dict[str, Callable[[dict[str, Any]], str]] = {
        "amount": band,
        "channel": lambda row: str(row["channel"]),
        "country": lambda row: str(row["merchant_country"]),
        "card": age,
    }
    found = {(one.by, one.name): one for one in distilled.report.segments}
    assert {by for by, _ in found} == set(named)
    assert sum(by == "country" for by, _ in found) == 8
    rows = distilled.held_back()
    for (by, name), one in found.items():
        kept = [each for each in rows if named[by](each[0]) == name]
        if name == "others":
            shown = {other for kind, other in found if kind == by}
            kept = [each for each in rows if named[by](each[0]) not in shown]
        swapped = [row for row, teacher, student in kept if teacher["decision"] != student["decision"]]
        assert (one.figures.rows, one.swaps) == (len(kept), len(swapped)), (by, name)
        assert one.swapped_minor == sum(row["amount_minor"] for row in swapped)
        assert one.figures.frauds == sum(row["fraud"] for row, _, _ in kept)
    for by in named:
        assert sum(one.figures.rows for (kind, _), one in found.items() if kind == by) == len(rows)


def test_sizes_are_compared_with_the_stored_one_and_the_front_is_marked(distilled: Distilled) -> None:
    report = distilled.report
    assert {one.size for one in report.sizes} == {SMALL.text, "2x3", "40x8x3"}
    assert [one.size for one in report.sizes if one.stored] == [SMALL.text]
    assert [one.features for one in report.sizes if one.size == "40x8x3"] == [3]
    times = [one.time.batch_us for one in report.sizes]
    assert times == sorted(times)
    best = min(report.sizes, key=lambda one: one.average_precision_lost.value or 0)
    assert best.on_front
    assert report.sizes[0].on_front  # nothing is faster
    stored = next(one for one in report.sizes if one.stored)
    assert stored.average_precision_lost == report.comparison.average_precision_lost
    assert report.speed.student == stored.time
    assert report.speed.teacher is not None
    assert report.speed.batch_ratio == report.speed.teacher.batch_us / report.speed.student.batch_us
    assert any("all sizes are compared on the same held-back part" in one for one in report.warnings)


def scores_file(distilled: Distilled, name: str, change: Callable[[list[dict[str, Any]]], Any] = list) -> Path:
    """Write a file of the teacher's scores, changed."""
    rows = [{"transaction_id": one, "score": row["score"]} for one, row in distilled.of_teacher.items()]
    changed: list[dict[str, Any]] = change(rows)
    columns = {key: [row[key] for row in changed] for key in changed[0]}
    return write(distilled.case.folder / name, columns)


UNTIL_MS = 1_767_225_600_000 + 20 * DAY_MS


def test_a_file_of_scores_teaches_as_its_model_does(distilled: Distilled) -> None:
    case = distilled.case
    file = scores_file(distilled, "scores.parquet")
    report = case.distil(scores=file, scores_until_ms=UNTIL_MS, review_share=0.05, decline_share=0.02)
    text = case.repository.fetch(report.digest)[MODEL]
    assert text == case.repository.fetch(distilled.report.digest)[MODEL]
    manifest = manifest_of(case, report.digest)
    assert manifest.parent is None
    assert manifest.distilled is not None
    assert manifest.distilled.scores_file is not None
    assert manifest.distilled.scores_file.trained_until == format_time(UNTIL_MS)
    assert report.speed.teacher is None
    assert report.scores is not None
    assert report.scores.digest == manifest.distilled.scores_file.digest
    written = case.folder / f"{distilled.teacher}.parquet"  # as `score --out` writes it, with decisions
    whole = case.distil(scores=written, scores_until_ms=UNTIL_MS)
    assert whole.comparison.teacher_alerts == pytest.approx(distilled.report.comparison.teacher_alerts, rel=0.3)


def duplicated(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows, rows[0], rows[1]]


def foreign(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows, {"transaction_id": "unknown", "score": 0.5}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows[7:],
            r"7 payments of the transactions file have no score\n.*5,993 scores for 6,000 payments",
        ),
        (duplicated, "transaction_id is that of an earlier row in 2 rows, first in row 6001: keep one of each"),
        (foreign, "1 scores are of no payment of the transactions file"),
        (
            lambda rows: [row | {"decision": "maybe"} for row in rows],
            "decision is none of approve, review, decline in 6000 rows, first in row 1: 'maybe'",
        ),
    ],
)
def test_a_file_of_scores_that_does_not_match_is_refused_with_counts(
    distilled: Distilled, change: Callable[[list[dict[str, Any]]], Any], message: str
) -> None:
    file = scores_file(distilled, "wrong.csv", change)
    before = distilled.case.repository.digests()
    with pytest.raises(ScoresFileError, match=message):
        distilled.case.distil(scores=file, scores_until_ms=UNTIL_MS)
    assert distilled.case.repository.digests() == before


def test_scores_that_are_the_labels_are_refused(distilled: Distilled) -> None:
    fraud = {row["transaction_id"]: row["fraud"] for row in distilled.case.rows()}

    def leaked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"score": row["score"] * 0.1 + 0.8 * fraud[row["transaction_id"]]} for row in rows]

    file = scores_file(distilled, "leaked.parquet", leaked)
    with pytest.raises(ScoresFileError, match=r"tell all .* frauds of the held-back part .*, so they know the labels"):
        distilled.case.distil(scores=file, scores_until_ms=UNTIL_MS)


def test_a_teacher_that_has_seen_the_held_back_part_is_refused(distilled: Distilled, tmp_path: Path) -> None:
    case, cut = distilled.case, len(payments()["fraud"]) * 9 // 10
    earlier = DistillationCase(tmp_path)
    earlier.file = write(tmp_path / "earlier.parquet", {name: values[:cut] for name, values in payments().items()})
    earlier.repository = case.repository
    with pytest.raises(
        TeacherError, match=r"was trained on transactions up to .*: it has seen labels that the student"
    ):
        earlier.distil(distilled.teacher)
    grandchild = case.distil(distilled.report.digest)  # a student may teach, too, on the file of its own teacher
    assert manifest_of(case, grandchild.digest).parent == distilled.report.digest
    since_ms = parse_time_ms(distilled.report.held_back.since).epoch_ms
    file = scores_file(distilled, "late.parquet")
    with pytest.raises(TeacherError, match=r"the model of .*late\.parquet was trained on transactions up to"):
        case.distil(scores=file, scores_until_ms=since_ms)


def test_a_teacher_of_unknown_training_is_refused(distilled: Distilled) -> None:
    contents = dict(distilled.case.repository.fetch(distilled.teacher))
    manifest = json.loads(contents[MANIFEST])
    manifest["imported"] = {"model_file": "0" * 64, "calibrated_on": manifest.pop("training")}
    digest = distilled.case.repository.put(contents | {MANIFEST: msgspec.json.encode(manifest)})
    with pytest.raises(TeacherError, match="nobody stated until when it was trained: import it with --trained-until"):
        distilled.case.distil(digest)


def test_an_ensemble_teaches_the_weighted_mean_of_its_models(distilled: Distilled) -> None:
    case = distilled.case
    other = case.teacher(trees=15, leaves=4, seed=5)
    weighted = (NamedTeacher(distilled.teacher, 3.0), NamedTeacher(other[:12], 1.0))
    report = case.distil(teachers=weighted, review_share=0.05, decline_share=0.02)
    second = scored(case, other)

    def mean(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"score": 0.75 * row["score"] + 0.25 * second[row["transaction_id"]]["score"]} for row in rows]

    file = scores_file(distilled, "mean.parquet", mean)
    by_file = case.distil(scores=file, scores_until_ms=UNTIL_MS, review_share=0.05, decline_share=0.02)
    texts = {case.repository.fetch(one.digest)[MODEL] for one in (report, by_file)}
    assert len(texts) == 1
    assert by_file.comparison == report.comparison
    manifest = manifest_of(case, report.digest)
    assert manifest.distilled is not None
    assert [(one.digest, one.weight) for one in manifest.distilled.ensemble] == [
        (distilled.teacher, 0.75),
        (other, 0.25),
    ]
    twice = (NamedTeacher(distilled.teacher), NamedTeacher(distilled.teacher[:9]))
    with pytest.raises(TeacherError, match="named twice, by different prefixes"):
        case.distil(teachers=twice)


def test_a_teacher_with_more_features_teaches_a_student_of_the_newest_set(distilled: Distilled) -> None:
    extended = FeatureSet((*FEATURES.rows, card("merchants", "30d")))
    case = distilled.case
    rich = case.teacher(feature_set=extended)
    report = case.distil(rich, sets=FeatureSets((extended, FEATURES)))
    assert report.fingerprint == FEATURES.fingerprint
    assert [one.features for one in report.teachers] == [len(extended)]
    with pytest.raises(UnknownModelError, match="needs features"):
        case.distil(rich)


def test_the_page_shows_figures_swaps_segments_speed_and_the_curve_of_sizes(distilled: Distilled) -> None:
    report = distilled.report
    stated = state_distillation(report, 1_800_000_000_000)
    page = stated.html()
    assert page == state_distillation(report, 1_800_000_000_000).html()
    tree = parsed(page)
    titles = [node.text for node in tree.all("h2")]
    assert {"In short", "What they decide differently", "Money and ranking", "By segment", "Speed", "Sizes"} <= set(
        titles
    )
    shown = {word for picture in pictures(page) for word in words(picture)}
    assert {"2x3", "40x8x3", f"{SMALL.text} (stored)"} <= shown
    assert "Sizes" not in [node.text for node in parsed(state_distillation(replaced(report), 0).html()).all("h2")]
    assert stated.headline is not None
    assert re.match(
        r"The student decides [\d.]+ % .*of the payments as its teacher does, [\d.]+ times", stated.headline.words
    )


def replaced(report: DistillationReport) -> DistillationReport:
    return msgspec.structs.replace(report, sizes=())


def invoke(case: DistillationCase, *arguments: str) -> Any:
    settings = {"FRAUDSTREAM_MODELS": case.repository.url, "FRAUDSTREAM_BROKERS": "localhost:1", "COLUMNS": "200"}
    settings |= {"FRAUDSTREAM_FEATURES": SET}
    return CliRunner().invoke(main, ["distill", str(case.file), "--name", "student", *arguments], env=settings)


def test_the_command_prints_the_report_writes_the_page_and_refuses_wrong_use(
    distilled: Distilled, tmp_path: Path
) -> None:
    case, page = distilled.case, tmp_path / "page.html"
    small = ("--trees", "10", "--leaves", "4", "--threads", "1")
    printed = invoke(case, "--teacher", distilled.teacher[:10], *small, "--json", "--report", str(page))
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.stdout)["digest"] != ""
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert json.loads(printed.stdout)["comparison"] == msgspec.to_builtins(distilled.report.comparison)
    table = invoke(case, "--teacher", distilled.teacher, *small, "--sizes", "2x3")
    assert table.exit_code == 0, table.output
    for words_shown in ("Decided alike", "Decided differently", "times as fast", "2x3"):
        assert words_shown in table.stdout
    assert invoke(case).exit_code == 2
    assert invoke(case, "--teacher", "zz").exit_code == 2
    assert invoke(case, "--teacher", distilled.teacher, "--trees", "0").exit_code == 2
    missing = invoke(case, "--teacher", "0" * 64)
    assert (missing.exit_code, "fraudstream model list" in missing.stderr) == (1, True)

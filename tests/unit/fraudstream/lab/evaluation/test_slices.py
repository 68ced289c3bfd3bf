"""Weeks and segments part the payments, and the figures of each are those of its payments alone."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fraudstream.lab.evaluation.drift import ReferenceGroups
from fraudstream.lab.evaluation.request import EvaluationTerms
from fraudstream.lab.evaluation.slices import SliceContext, segment_slices, slice_reports, weeks
from fraudstream.lab.training.segments import MOST_COUNTRIES, NOT_GIVEN, NamedTexts
from metrics.drift import stability_of_scores
from support.evaluation_cases import CURRENCIES, DAY_MS, START_MS, payments, said

OF = payments()
SAID = (said(OF), said(OF, seed=2))
TERMS = EvaluationTerms(draws=20, cards_a_day=10)


def context() -> SliceContext:
    return SliceContext(OF, SAID, TERMS, [ReferenceGroups.of(one.scores[:2_000]) for one in SAID])


def test_weeks_part_the_payments_from_the_first_day_on() -> None:
    found = weeks(OF)
    assert [len(one.rows) for one in found] == [
        int(((OF.occurred_ms - START_MS) // (7 * DAY_MS) == week).sum()) for week in range(3)
    ]
    assert np.concatenate([one.rows for one in found]).tolist() == list(range(len(OF.fraud)))
    assert [one.since_ms for one in found] == [START_MS + week * 7 * DAY_MS for week in range(3)]


def test_the_segments_of_each_kind_part_the_payments() -> None:
    found = segment_slices(OF, CURRENCIES, 30 * DAY_MS)
    kinds = {one.kind for one in found}
    assert kinds == {"amount", "channel", "country", "card"}
    for kind in kinds:
        rows = np.concatenate([one.rows for one in found if one.kind == kind])
        assert sorted(rows.tolist()) == list(range(len(OF.fraud)))


def test_bands_of_amounts_have_round_ends_of_one_currency() -> None:
    bands = [one for one in segment_slices(OF, CURRENCIES, 0) if one.kind == "amount"]
    assert bands[0].name == "EUR below 130.00"
    assert {one.name[:3] for one in bands} == {"EUR", "JPY"}
    for one in bands:
        assert len(set(OF.currency[one.rows].tolist())) == 1


def test_a_kind_that_the_file_does_not_give_is_left_out_and_so_are_new_cards_at_its_begin() -> None:
    of = OF._replace(channel=np.zeros_like(OF.channel), country=np.zeros_like(OF.country))
    assert {one.kind for one in segment_slices(of, CURRENCIES, 0)} == {"amount"}


def test_the_most_frequent_texts_of_a_category_are_segments_by_words_and_the_others_one() -> None:
    rows = len(OF.fraud)
    places = np.stack([np.arange(rows) % 11, np.arange(rows) % 2, np.zeros(rows, np.int64)], axis=1)
    places[: rows // 2, 0] = 10
    words = [NamedTexts("ip_country", ("", *(f"C{at}" for at in range(1, 11)))), NamedTexts("country", ("", "AT"))]
    of = OF._replace(categories=places)
    found = segment_slices(of, CURRENCIES, 0, [*words, NamedTexts("of_no_payment", ("",))])
    by_kind = {kind: [one for one in found if one.kind == kind] for kind in ("ip_country", "attributes.country")}
    assert {one.kind for one in found} == {"amount", "channel", "country", *by_kind}
    names = [one.name for one in by_kind["ip_country"]]
    assert (names[0], names[1], names[-1], len(names)) == ("C10", NOT_GIVEN, "others", MOST_COUNTRIES + 1)
    assert sorted(one.name for one in by_kind["attributes.country"]) == ["AT", NOT_GIVEN]
    for parts in by_kind.values():
        assert sorted(np.concatenate([one.rows for one in parts]).tolist()) == list(range(rows))


def test_the_figures_of_a_slice_are_those_of_its_payments() -> None:
    done: list[str] = []
    found = slice_reports(context(), weeks(OF), lambda stage, *_: done.append(stage))
    assert done == ["weeks"] * 3
    for report, one in zip(found, weeks(OF), strict=True):
        kept = one.rows[~OF.blocked[one.rows]]
        expected = average_precision_score(OF.fraud[kept], SAID[0].scores[kept])
        assert report.figures[0]["average_precision"].value == pytest.approx(expected)
        moved = stability_of_scores(SAID[0].scores[:2_000], SAID[0].scores[one.rows])
        assert report.figures[0]["score_stability"].value == pytest.approx(moved)
        assert report.frauds == int(OF.fraud[one.rows].sum())
        assert report.fraud_share.value == pytest.approx(OF.fraud[one.rows].mean())
        assert report.differences["average_precision"].value == pytest.approx(
            expected - average_precision_score(OF.fraud[kept], SAID[1].scores[kept])
        )


def test_segments_have_no_card_precision_and_one_without_fraud_has_no_recall() -> None:
    of = OF._replace(fraud=OF.fraud & (OF.channel > 0))
    chosen = [one for one in segment_slices(of, CURRENCIES, 0) if one.name == "not given" and one.kind == "channel"]
    (report,) = slice_reports(context()._replace(payments=of), chosen, lambda *_: None)
    assert "card_precision" not in report.figures[0]
    assert report.figures[0]["recall"].value is None
    assert report.figures[0]["average_precision"].value is None

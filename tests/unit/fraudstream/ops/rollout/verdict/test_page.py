"""The page of a verdict shows the figures of its report, whatever the verdict is, and names as text."""

import re

import msgspec
import pytest
from hypothesis import given, settings

from fraudstream.ops.rollout.verdict.gates import VerdictWord
from fraudstream.ops.rollout.verdict.page import verdict_page
from fraudstream.ops.rollout.verdict.report import VerdictReport, judge_challenger
from stream.contract.money import number_text
from support.parsed_page import Node, parsed, pictures
from support.verdict_cases import OPTIONS, Compared, compared_payments, read_of
from support.verdict_reports import example


@pytest.fixture(scope="module")
def report() -> VerdictReport:
    return example()


@pytest.fixture(scope="module")
def page(report: VerdictReport) -> Node:
    return parsed(verdict_page(report))


def rows(page: Node, caption: str) -> dict[str, list[str]]:
    """Return the rows of a table by their heads."""
    (table,) = (table for table in page.all("table") if table.all("caption")[0].text == caption)
    return {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in table.all("tbody")[0].all("tr")}


def test_the_banner_has_the_word_and_what_its_gate_found(report: VerdictReport, page: Node) -> None:
    (banner,) = page.of_class("banner")
    gate = next(one for one in report.gates if one.gate is report.gate)
    assert banner.all("strong")[0].text == report.verdict.value
    assert f"Found: {gate.found}. Asked for: {gate.required}." in banner.text


def test_the_gates_are_those_of_the_report(report: VerdictReport, page: Node) -> None:
    assert rows(page, "Gates, in their order") == {
        one.gate.value: ["yes" if one.passed else "NO", one.found, one.required] for one in report.gates
    }


def test_what_is_to_be_done_about_gates_that_are_not_passed_is_said(report: VerdictReport, page: Node) -> None:
    failed = [one for one in report.gates if not one.passed]
    assert all(one.advice in page.text for one in failed)


def test_money_is_that_of_the_report_to_the_cent(report: VerdictReport, page: Node) -> None:
    loss, shown = report.loss, rows(page, "What this rests on")
    assert shown["Loss by what live said"] == [f"EUR {number_text(loss.live_minor, 'EUR')}"]
    assert shown["Loss by what the challenger said"] == [f"EUR {number_text(loss.challenger_minor, 'EUR')}"]
    assert shown["Saved in all, by the worst case"] == [f"EUR {number_text(loss.total_worst_minor, 'EUR')}"]
    counts = rows(page, "Counts and money")
    sides = (report.matured.live, report.matured.challenger)
    assert counts["Loss"] == [f"EUR {number_text(one.loss_minor, 'EUR')}" for one in sides]
    assert counts["Fraud not alerted"] == [f"EUR {number_text(one.fraud_lost_minor, 'EUR')}" for one in sides]
    assert counts["Frauds alerted"] == [f"{one.frauds_caught:,}" for one in sides]


def test_shares_have_their_intervals(report: VerdictReport, page: Node) -> None:
    recall = report.matured.challenger.recall
    assert recall.value is not None
    assert recall.interval is not None
    low, high = recall.interval
    assert rows(page, "Shares")["Recall of frauds"][1] == (
        f"{100 * recall.value:.2f} ({100 * low:.2f} to {100 * high:.2f})"
    )


def test_what_differs_is_counted_in_payments_cards_and_money(report: VerdictReport, page: Node) -> None:
    shown = rows(page, "Each pair of decisions")
    assert len(shown) == len(report.swaps) > 2
    for one in report.swaps:
        events, cards, amount, *known = shown[f"{one.live.value} to {one.challenger.value}"]
        assert (events, cards) == (f"{one.events:,}", f"{one.cards:,}")
        assert amount == f"EUR {number_text(one.amount_minor['EUR'], 'EUR')}"
        assert known == [f"{count:,}" for count in (one.frauds, one.genuine, one.unobserved)]
    assert list(rows(page, "The largest of them in EUR")) == [one.transaction_id for one in report.largest]


def test_the_world_of_the_example_has_something_in_every_chart(report: VerdictReport) -> None:
    shown = [picture for picture in pictures(verdict_page(report)) if picture.get("role") == "img"]
    assert len(shown) == 6
    assert report.declined.otherwise.events
    assert report.declined.lots is not None
    assert not [picture for picture in shown if "Nothing to show yet" in "".join(picture.itertext())]


@pytest.mark.parametrize("word", VerdictWord)
def test_each_word_has_a_banner_of_its_own(report: VerdictReport, word: VerdictWord) -> None:
    (banner,) = parsed(verdict_page(msgspec.structs.replace(report, verdict=word))).of_class("banner")
    tones = {VerdictWord.PROMOTE: "good", VerdictWord.HOLD: "wait", VerdictWord.REJECT: "bad"}
    assert banner.attributes["class"] == f"banner {tones[word]}"


def test_the_same_report_gives_the_same_page(report: VerdictReport) -> None:
    assert verdict_page(report) == verdict_page(report)


def test_names_with_markup_are_shown_as_text(report: VerdictReport) -> None:
    name = "<img src=x onerror=alert(1)>"
    largest = tuple(msgspec.structs.replace(one, transaction_id=name, card_id=name) for one in report.largest)
    hostile = msgspec.structs.replace(
        report, challenger=name, deployment=name, live={name: 3}, largest=largest, live_now=name
    )
    made = verdict_page(hostile)
    assert "<img" not in made
    assert name[:12] in parsed(made).all("h1")[0].text
    assert set(rows(parsed(made), "The largest of them in EUR")) == {name}


@settings(max_examples=5, derandomize=True)
@given(compared_payments())
def test_any_verdict_has_a_well_formed_page(compared: list[Compared]) -> None:
    page = parsed(verdict_page(judge_challenger(read_of(compared), OPTIONS)))
    ids = [node.attributes["id"] for node in page.all("*") if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", page.text)


def test_a_verdict_on_nothing_has_a_page() -> None:
    page = parsed(verdict_page(judge_challenger(read_of([]), OPTIONS)))
    assert page.of_class("banner")[0].all("strong")[0].text == "HOLD"
    assert "nobody yet" in page.text

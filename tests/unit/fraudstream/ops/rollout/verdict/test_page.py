"""The page of a verdict shows the figures of its report, whatever the verdict is, and names as text."""

import re
from io import StringIO
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from rich.console import Console

from fraudstream.ops.report.document import SIGNS, Tone
from fraudstream.ops.report.parts import NO, YES
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.verdict.gates import GateName, VerdictWord
from fraudstream.ops.rollout.verdict.losses import CohortFacts
from fraudstream.ops.rollout.verdict.page import state_verdict, verdict_words
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
    text = state_verdict(report).html()
    assert len([picture for picture in pictures(text) if picture.get("role") == "img"]) == 6, "something in every chart"
    return parsed(text)


def rows(page: Node, caption: str) -> dict[str, list[str]]:
    """Return the rows of a table by their heads."""
    (table,) = (table for table in page.all("table") if table.all("caption")[0].text == caption)
    return {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in table.all("tbody")[0].all("tr")}


def test_the_banner_has_the_word_and_what_its_gate_found(report: VerdictReport, page: Node) -> None:
    (banner,) = page.of_class("banner")
    gate = next(one for one in report.gates if one.gate is report.gate)
    assert banner.of_class("decision")[0].text == f"{report.verdict.value}, decided by the gate {report.gate.value}"
    assert f"Found: {gate.found}. Asked for: {gate.required}." in banner.text


def test_the_gates_are_those_of_the_report(report: VerdictReport, page: Node) -> None:
    assert rows(page, "Gates, in their order") == {
        one.gate.value: [YES if one.passed else NO, one.found, one.required] for one in report.gates
    }


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


def test_what_differs_is_counted_in_payments_cards_and_money(report: VerdictReport, page: Node) -> None:
    shown = rows(page, "Each pair of decisions")
    assert len(shown) == len(report.swaps) > 2
    for one in report.swaps:
        events, cards, amount, *known = shown[f"{one.live.value} to {one.challenger.value}"]
        assert (events, cards) == (f"{one.events:,}", f"{one.cards:,}")
        assert amount == f"EUR {number_text(one.amount_minor['EUR'], 'EUR')}"
        assert known[:3] == [f"{count:,}" for count in (one.frauds, one.genuine, one.unobserved)]
        assert known[3] == number_text(one.fraud_minor.get("EUR", 0), "EUR")
    assert list(rows(page, "The largest of them in EUR")) == [one.transaction_id for one in report.largest]


@settings(max_examples=2, derandomize=True)
@given(compared_payments())
def test_any_verdict_has_a_well_formed_page(compared: list[Compared]) -> None:
    page = parsed(state_verdict(judge_challenger(read_of(compared), OPTIONS)).html())
    ids = [node.attributes["id"] for node in page.all("*") if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", page.text)


def test_a_verdict_on_nothing_says_so_and_shows_nothing_empty() -> None:
    stated = state_verdict(judge_challenger(read_of([]), OPTIONS))
    page = parsed(stated.html())
    assert page.of_class("banner")[0].all("strong")[0].text == "Too early to say: no payment was compared yet"
    assert "nobody yet" in page.text
    assert [section.title for section in stated.stated] == ["In short"]
    assert not page.all("figure") + page.all("dl")[:-1]
    assert "n/a" not in page.text


def words(report: VerdictReport, **loss: Any) -> str:
    return verdict_words(msgspec.structs.replace(report, loss=msgspec.structs.replace(report.loss, **loss)))


def test_the_headline_says_how_much_is_saved_or_lost(report: VerdictReport) -> None:
    promoted = msgspec.structs.replace(report, verdict=VerdictWord.PROMOTE, gate=GateName.LOSS)
    assert words(promoted, low_minor=40.2, high_minor=110.1) == "Better: saves EUR 0.40 to 1.10 a card"
    rejected = msgspec.structs.replace(report, verdict=VerdictWord.REJECT, gate=GateName.LOSS)
    assert words(rejected, low_minor=-110.1, high_minor=-40.2) == "Worse: loses EUR 0.40 to 1.10 a card"


def test_the_headline_says_when_to_ask_again(report: VerdictReport) -> None:
    """Cohorts are of 7 days, a card's first days are 7, and payments are mature after 20 days."""
    held = msgspec.structs.replace(report, verdict=VerdictWord.HOLD, gate=GateName.LABELS)
    waiting = (CohortFacts("2026-03-01T00:00:00.000Z", 1_106, False, None, None, False),)  # noqa: FBT003 - a struct's fields
    assert words(held, final=0, cards=1_106, cohorts=waiting) == (
        "Too early to say: 0 of 1,106 cards are mature; ask again on 4 April 2026"
    )
    undecided = msgspec.structs.replace(held, gate=GateName.LOSS)
    assert words(undecided, final=900, cards=1_106, cohorts=waiting, low_minor=-40.2, high_minor=110.1) == (
        "Too early to say: saves EUR -0.40 to 1.10 a card, and 900 of 1,106 cards are mature; ask again on 4 April 2026"
    )


def test_a_terminal_and_the_page_say_the_same(report: VerdictReport, page: Node) -> None:
    stated = state_verdict(report)
    console = Console(width=200, file=StringIO())
    console.print(on_terminal(stated))
    shown = console.file.getvalue()  # type: ignore[attr-defined] - a StringIO
    assert shown.startswith(f"{SIGNS[Tone.WAIT]} {verdict_words(report)}\n")
    for name in [node.text for tag in ("h2", "caption") for node in page.all(tag)]:
        assert name == "Contents" or name in shown

"""Tables align quantities with their units, and the matrix of decisions adds up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.report.decisions import DECISIONS, DecisionCell, DecisionMatrix
from fraudstream.ops.report.document import Section
from fraudstream.ops.report.parts import NO, YES, Cell, Folded, KeyFigure, KeyFigures, Note
from fraudstream.ops.report.quantities import Count, Money, Percentage
from fraudstream.ops.report.tables import DataTable
from stream.contract.money import number_text
from support.parsed_page import Node, parsed


def heads(table: Node) -> list[str]:
    return [node.text for node in table.all("thead")[0].all("th")]


def rows(table: Node) -> list[list[str]]:
    return [[node.text for node in row.children if isinstance(node, Node)] for row in table.all("tbody")[0].all("tr")]


def test_a_unit_that_a_column_has_throughout_stands_in_its_head() -> None:
    table = DataTable(
        "c",
        ("Arm", "Lost", "Rate"),
        (("a", Money(123_450, "EUR"), Percentage(0.5)), ("b", None, Percentage(0.25))),
    )
    tree = parsed(table.markup("k"))
    assert heads(tree) == ["Arm", "Lost (EUR)", "Rate (%)"]
    assert rows(tree) == [["a", "1,234.50", "50.00"], ["b", "n/a", "25.00"]]


def test_amounts_of_several_currencies_keep_their_own() -> None:
    table = DataTable("c", ("Arm", "Lost"), (("a", Money(100, "EUR")), ("b", Money(100, "JPY"))))
    tree = parsed(table.markup("k"))
    assert heads(tree) == ["Arm", "Lost"]
    assert rows(tree) == [["a", "EUR 1.00"], ["b", "JPY 100"]]


def test_numbers_are_aligned_right_and_texts_are_not() -> None:
    tree = parsed(DataTable("c", ("Arm", "Cards", "Word"), (("a", Count(3), "x"),)).markup("k"))
    kinds = [node.attributes.get("class", "") for node in tree.all("tbody")[0].all("tr")[0].children]  # type: ignore[union-attr]
    assert kinds == ["token", "n", "token"]
    assert [node.attributes.get("class", "") for node in tree.all("thead")[0].all("th")] == ["", "n", ""]


def test_words_are_kept_whole_and_long_ids_may_be_cut() -> None:
    tree = parsed(DataTable("c", ("A", "B", "C"), (("c-1", "not known before June", "x" * 64),)).markup("k"))
    assert tree.all("tbody")[0].all("th")[0].attributes["class"] == "token"
    assert [cell.attributes.get("class") for cell in tree.all("td")] == ["words", None]


@pytest.mark.parametrize("rows", [(), (("a", None),), (("a", ""), ("b", None))])
def test_a_table_without_data_is_empty(rows: tuple[tuple[Cell, ...], ...]) -> None:
    table = DataTable("c", ("A", "B"), rows)
    assert table.is_empty
    assert Section("s", (table, Note(), Folded("f", (table,)))).is_empty


def test_rows_and_columns_without_data_are_left_out() -> None:
    tree = parsed(
        DataTable("c", ("A", "B", "C"), (("a", None, Count(1)), ("b", None, None), ("c", "", False))).markup("k")
    )
    assert heads(tree) == ["A", "C"]
    assert rows(tree) == [["a", "1"], ["c", NO]]


def test_yes_and_no_differ_by_sign_and_word() -> None:
    tree = parsed(DataTable("c", ("A", "B"), (("a", True), ("b", False))).markup("k"))
    assert [cell.text for cell in tree.all("td")] == [YES, NO]
    assert not set(YES.lower()) & set(NO.lower()) - {" "}
    assert [cell.attributes["class"] for cell in tree.all("td")] == ["yes", "no"]


@pytest.mark.parametrize(("columns", "cells"), [((), ()), (("A",), (("a", "b"),)), (("A", "B"), (("a",),))])
def test_a_table_needs_columns_and_rows_that_fit(columns: tuple[str, ...], cells: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(ValueError, match="the table 'c'"):
        DataTable("c", columns, cells)


def test_a_key_figure_that_is_not_known_is_left_out() -> None:
    figures = KeyFigures((KeyFigure("Recall", None, "no labels yet"), KeyFigure("Alerts", Count(3))))
    assert [node.text for node in parsed(figures.markup("k")).all("dd")] == ["3"]
    assert KeyFigures(figures.figures[:1]).is_empty


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(DECISIONS), st.sampled_from(DECISIONS)),
        st.builds(DecisionCell, st.integers(0, 10**9), st.integers(0, 10**15)),
    )
)
def test_the_matrix_of_decisions_adds_up_in_events_and_money(
    cells: dict[tuple[str, str], DecisionCell],
) -> None:
    matrix = DecisionMatrix("c", "live", "challenger", "EUR", cells)
    whole = matrix.total("all", "all")
    assert whole.events == sum(cell.events for cell in cells.values())
    assert whole.amount_minor == sum(cell.amount_minor for cell in cells.values())
    for side in DECISIONS:
        assert matrix.total(side, "all").events == sum(c.events for (row, _), c in cells.items() if row == side)
        assert matrix.total("all", side).events == sum(c.events for (_, column), c in cells.items() if column == side)
    shown = rows(parsed(matrix.markup("k")))
    assert [row[0] for row in shown] == [*DECISIONS, *(["all"] if matrix.is_whole else [])]
    if matrix.is_whole:
        assert shown[-1][-1] == f"{whole.events:,}EUR {number_text(whole.amount_minor, 'EUR')}"


def test_a_matrix_of_differences_alone_has_no_totals_and_no_figures_where_both_agree() -> None:
    cells = {("approve", "review"): DecisionCell(3, 450)}
    shown = rows(parsed(DecisionMatrix("c", "live", "challenger", "EUR", cells).markup("k")))
    assert shown[0] == ["approve", "alike", "3EUR 4.50", "0EUR 0.00"]
    assert [row[0] for row in shown] == list(DECISIONS)


def test_what_both_decide_alike_is_said_and_not_only_shaded() -> None:
    tree = parsed(DecisionMatrix("c", "live", "challenger", "EUR", {}).markup("k"))
    assert [node.all("small")[0].text for node in tree.of_class("alike")] == ["alike"] * 3


def test_a_matrix_refuses_a_decision_that_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="unknown decisions: block"):
        DecisionMatrix("c", "live", "challenger", "EUR", {("block", "review"): DecisionCell(1, 1)})

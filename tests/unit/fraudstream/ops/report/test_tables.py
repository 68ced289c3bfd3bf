"""Tables align quantities with their units, and the matrix of decisions adds up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.report.decisions import DECISIONS, DecisionCell, DecisionMatrix
from fraudstream.ops.report.document import Section
from fraudstream.ops.report.parts import NO, Cell, Folded, Note
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


@pytest.mark.parametrize(("columns", "cells"), [((), ()), (("A",), (("a", "b"),)), (("A", "B"), (("a",),))])
def test_a_table_needs_columns_and_rows_that_fit(columns: tuple[str, ...], cells: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(ValueError, match="the table 'c'"):
        DataTable("c", columns, cells)


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


def test_a_matrix_refuses_a_decision_that_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="unknown decisions: block"):
        DecisionMatrix("c", "live", "challenger", "EUR", {("block", "review"): DecisionCell(1, 1)})

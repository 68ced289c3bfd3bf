"""The matrix of decisions: how often two models decided so and so about the same payments, in events and in money."""

from collections.abc import Mapping
from dataclasses import dataclass

from fraudstream.ops.report.markup import Markup, element, joined, text
from fraudstream.ops.report.quantities import Count, Money, quantity_text
from fraudstream.ops.report.tables import DataTable

DECISIONS = ("approve", "review", "decline")
_TOTAL = "all"


@dataclass(frozen=True, slots=True)
class DecisionCell:
    """The payments on which two models decided in one way: how many, and their amounts in minor units."""

    events: int = 0
    amount_minor: int = 0

    def __add__(self, other: "DecisionCell") -> "DecisionCell":
        """Return both together."""
        return DecisionCell(self.events + other.events, self.amount_minor + other.amount_minor)


@dataclass(frozen=True, slots=True)
class DecisionMatrix:
    """Payments of one currency by what each of two models decided; a payment counts once.

    Attributes:
        caption: what it shows.
        rows, columns: whose decisions these are, such as "live 81d07a5b".
        currency: of the amounts.
        cells: by the decision of `rows` and that of `columns`; what is missing is 0. If no pair of like decisions is
            among them, what both decide alike was not counted by decision, and the table has no totals.

    Raises:
        ValueError: a decision in `cells` is none of `DECISIONS`.
    """

    caption: str
    rows: str
    columns: str
    currency: str
    cells: Mapping[tuple[str, str], DecisionCell]

    def __post_init__(self) -> None:
        unknown = sorted({decision for pair in self.cells for decision in pair} - set(DECISIONS))
        if unknown:
            raise ValueError(f"the matrix {self.caption!r} has unknown decisions: {', '.join(unknown)}")

    @property
    def is_whole(self) -> bool:
        """Whether payments on which both agree were counted, too; those of no payments were."""
        return not self.cells or any(row == column for row, column in self.cells)

    @property
    def is_empty(self) -> bool:
        """Whether no payment is in it."""
        return not any(cell.events for cell in self.cells.values())

    def as_table(self) -> DataTable:
        """Return it as a table of texts, for a terminal."""
        names = (*DECISIONS, _TOTAL) if self.is_whole else DECISIONS
        heads = (f"{self.rows}, by {self.columns}", *names)
        return DataTable(
            self.caption, heads, tuple((row, *(self._words(row, name) for name in names)) for row in names)
        )

    def _words(self, row: str, column: str) -> str:
        held = self.total(row, column)
        if row == column != _TOTAL and not self.is_whole:
            return "alike"
        return f"{held.events:,} / {quantity_text(Money(held.amount_minor, self.currency))}"

    def markup(self, key: str) -> Markup:
        """Return a table; cells on which both agree are shaded and say "alike"."""
        caption_id = f"{key}-caption"
        names = (*DECISIONS, _TOTAL) if self.is_whole else DECISIONS
        over = element(
            "tr",
            element("th", text(self.rows), rowspan="2", scope="col"),
            element("th", text(self.columns), colspan=str(len(names)), scope="colgroup", class_="group"),
        )
        heads = element("tr", *(element("th", text(name), scope="col", class_="n") for name in names))
        body = element("tbody", *(self._row(name, names) for name in names))
        caption = element("caption", text(self.caption), id=caption_id)
        table = element("table", caption, element("thead", over, heads), body, class_="matrix")
        return element("div", table, class_="scroll", role="region", tabindex="0", aria_labelledby=caption_id)

    def total(self, row: str, column: str) -> DecisionCell:
        """Return the sum over what both names stand for: a decision, or "all"."""
        chosen_rows = DECISIONS if row == _TOTAL else (row,)
        chosen_columns = DECISIONS if column == _TOTAL else (column,)
        pairs = [(one, other) for one in chosen_rows for other in chosen_columns]
        return sum((self.cells.get(pair, DecisionCell()) for pair in pairs), DecisionCell())

    def _row(self, row: str, columns: tuple[str, ...]) -> Markup:
        cells = (self._cell(row, column) for column in columns)
        return element("tr", element("th", text(row), scope="row"), *cells)

    def _cell(self, row: str, column: str) -> Markup:
        held = self.total(row, column)
        alike = row == column != _TOTAL
        if alike and not self.is_whole:
            return element("td", element("small", text("alike")), class_="n alike")
        kind = "n alike" if alike else "n total" if _TOTAL in {row, column} else "n"
        money = quantity_text(Money(held.amount_minor, self.currency))
        mark = (element("br"), element("small", text("alike"))) if alike else ()
        return element(
            "td",
            element("span", text(quantity_text(Count(held.events)))),
            element("br"),
            joined(element("span", text(money), class_="money"), *mark),
            class_=kind,
        )

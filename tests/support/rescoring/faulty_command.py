"""`fraudstream score` with a planted bug, to show that a comparison finds it: `faulty_command.py BUG ARGUMENTS…`.

Bugs are planted in this process only, so it needs `--threads 1`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from features.history import records
from features.history.history import History, RowView
from features.history.store import Ints

COMMAND = (sys.executable, str(Path(__file__).resolve()))
FORGETFUL_CARDS = 50


def labels_before_they_came() -> None:
    """Apply a merchant's labels from the beginning, not at the positions in their outcomes."""
    from fraudstream.lab.rescoring import log_order  # noqa: PLC0415 - needs an extra

    log_order.LABEL_ORDER = log_order.LABEL_ORDER.replace("coalesce(key, before)", "0")


def a_record_is_missing() -> None:
    """Leave out the oldest record of some cards' histories, where they are copied and where they are read in place."""
    original, original_view = History.upto, History.view_upto

    def forgets(history: History, width: int, count: int) -> bool:
        is_card = width == records.COLUMNS[records.Entity.CARD]
        return is_card and count > 1 and history.entity % FORGETFUL_CARDS == 0

    def upto(history: History, position: int) -> Ints:
        rows = original(history, position)
        return rows[1:] if forgets(history, rows.shape[1], len(rows)) else rows

    def view_upto(history: History, position: int) -> RowView:
        rows, first, stop, address = original_view(history, position)
        if not forgets(history, rows.shape[1], stop - first):
            return rows, first, stop, address
        return rows, first + 1, stop, address + rows.strides[0]

    History.upto = upto  # type: ignore[method-assign]
    History.view_upto = view_upto  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {one.__name__: one for one in (labels_before_they_came, a_record_is_missing)}

if __name__ == "__main__":
    from fraudstream.cli.main import main

    BUGS[sys.argv.pop(1)]()
    main()

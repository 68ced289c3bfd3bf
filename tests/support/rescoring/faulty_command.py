"""`fraudstream score` with a planted bug, to show that a comparison finds it: `faulty_command.py BUG ARGUMENTS…`.

Bugs are planted in this process only, so it needs `--threads 1`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from features.history import records
from features.history.history import History
from features.history.store import Ints

COMMAND = (sys.executable, str(Path(__file__).resolve()))
FORGETFUL_CARDS = 50


def labels_before_they_came() -> None:
    """Apply a merchant's labels from the beginning, not at the positions in their outcomes."""
    from stream.rescoring import log_order  # noqa: PLC0415 - needs an extra

    log_order.LABEL_ORDER = log_order.LABEL_ORDER.replace("coalesce(key, before)", "0")


def a_record_is_missing() -> None:
    """Leave out the oldest record of some cards' histories."""
    original = History.upto

    def upto(history: History, position: int) -> Ints:
        rows = original(history, position)
        is_card = rows.shape[1] == records.COLUMNS[records.Entity.CARD]
        return rows[1:] if is_card and len(rows) > 1 and history.entity % FORGETFUL_CARDS == 0 else rows

    History.upto = upto  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {one.__name__: one for one in (labels_before_they_came, a_record_is_missing)}

if __name__ == "__main__":
    from stream.cli.main import main

    BUGS[sys.argv.pop(1)]()
    main()

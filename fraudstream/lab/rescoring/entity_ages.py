"""The ages, at some decisions, of other transactions of their cards, merchants or devices, as far as windows differ.

A hot merchant has a million such transactions, and of two whose ages no window tells apart one is enough. So the
database groups them, and the answer has a few lines for each decision, whatever the histories are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from features.history.store import Ints
from fraudstream.lab.dataset.database import connect_memory, quoted
from fraudstream.lab.rescoring.tasks import DECIDE
from fraudstream.lab.rescoring.workdir import Workdir

_GROUPED = """
SELECT line, min(age_ms), is_label, is_answered FROM ({pairs}) {decided}
GROUP BY line, is_label, is_answered, {bucket}
"""
_DECIDED = "SEMI JOIN decided USING (number)"


class SeenAge(NamedTuple):
    """Decision `line` may have seen a transaction of this age, or a label about it; below 0 it is newer.

    Of all ages between two bounds there is the least. `is_answered` tells of late answers, see `late_answers`.
    """

    line: int
    age_ms: int
    is_label: bool
    is_answered: bool


class EntityAges:
    """Asks for ages at the decisions `asked`: columns line, number, occurred_ms, entity_id and what a query needs.

    `bounds_ms` are the ages at which some window begins or ends. Use it as a context.
    """

    def __init__(self, workdir: Workdir, asked: dict[str, Any], bounds_ms: Ints) -> None:
        self._workdir = workdir
        self._bucket = " + ".join(f"(age_ms >= {bound})::INT" for bound in np.unique(bounds_ms).tolist()) or "0"
        self._connection = connect_memory(workdir.folder, workdir.memory_mb)
        self._connection.register("asked", asked)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def of_file(self, file: Path, condition: str, *, only_decided: bool) -> list[SeenAge]:
        """Return the ages of the transactions `other` in a file that are of the same entity and meet a condition.

        The file has their columns entity_id, occurred_ms, number and what the condition needs.
        """
        pairs = (
            "SELECT line, asked.occurred_ms - other.occurred_ms AS age_ms, other.number, false AS is_label, "
            f"false AS is_answered FROM asked JOIN read_parquet({quoted(file)}) AS other "
            f"ON asked.entity_id = other.entity_id AND {condition}"
        )
        return self.of_pairs(pairs, file, only_decided=only_decided)

    def of_pairs(self, pairs: str, file: Path, *, only_decided: bool) -> list[SeenAge]:
        """Return the ages that a query gives, whose columns are those of `SeenAge` and the number in a file.

        With `only_decided`, transactions that would get no decision do not count.
        """
        if only_decided:
            self._register_decided(file)
        grouped = _GROUPED.format(pairs=pairs, decided=_DECIDED if only_decided else "", bucket=self._bucket)
        found: Sequence[tuple[int, int, bool, bool]] = self._connection.execute(grouped).fetchall()
        return [SeenAge(*one) for one in found]

    def _register_decided(self, file: Path) -> None:
        found = self._connection.execute(
            f"SELECT DISTINCT number FROM read_parquet({quoted(file)}) SEMI JOIN asked USING (entity_id)"
        ).fetchnumpy()
        numbers = np.asarray(found["number"], np.int64)
        self._connection.register("decided", {"number": numbers[self._workdir.fates()[numbers] == DECIDE]})

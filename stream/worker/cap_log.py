"""Logs when the cap on declines begins to hold in a partition, and when it ends: never a line for each payment."""

import logging
from collections.abc import Mapping

from models.decline_cap import WINDOW, DeclineCap, DeclineWindow
from stream.positions.offsets import Position

log = logging.getLogger("fraudstream.decline_cap")


class CapLog:
    """Remembers in which partitions and arms the cap held at the last look."""

    def __init__(self) -> None:
        self._held: set[tuple[int, str]] = set()

    def look(self, positions: Mapping[int, Position], cap: DeclineCap | None) -> None:
        """Log what has changed in these partitions; None: no cap."""
        if cap is None and not self._held:
            return
        for partition, position in positions.items():
            for arm, window in position.declines.items():
                self._look((partition, arm), window, cap)

    def _look(self, place: tuple[int, str], window: DeclineWindow, cap: DeclineCap | None) -> None:
        holds = window.holds(cap)
        if holds is (place in self._held):
            return
        partition, arm = place
        facts = {"partition": partition, "arm": arm, "declines": window.declines}
        if cap is not None and holds:
            self._held.add(place)
            log.warning(
                "partition %d: of the last %d decisions of %s, its model declined %d, and the cap is %d: what it "
                "declines is reviewed. End its canary or roll back, or set the cap by `fraudstream limits set`",
                *(partition, WINDOW, arm, window.declines, cap.most),
                extra={"event": "decline_cap_begins"} | facts,
            )
        else:
            self._held.discard(place)
            log.info(
                "partition %d: what the model of %s declines is declined again; it declined %d of the last %d",
                *(partition, arm, window.declines, WINDOW),
                extra={"event": "decline_cap_ends"} | facts,
            )

"""What a silent fleet decides about the payments that the other one publishes, joined by their place on the topic."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fraudstream.demo.scoreboard import Place
from models.policy import Decision


@dataclass(slots=True)
class SilentComparison:
    """Counts the payments that both fleets have decided, whichever decision is read first."""

    compared: int = 0
    changes: Counter[tuple[Decision, Decision]] = field(default_factory=Counter)
    """Different decisions: the published one and the silent one."""
    _published: dict[Place, Decision] = field(default_factory=dict)
    _silent: dict[Place, Decision] = field(default_factory=dict)

    @property
    def differing(self) -> int:
        """How many of those compared were decided differently."""
        return self.changes.total()

    def publish(self, place: Place, decision: Decision) -> None:
        """Add a decision that the other fleet has published."""
        silent = self._silent.pop(place, None)
        if silent is None:
            self._published[place] = decision
        else:
            self._compare(decision, silent)

    def decide_silently(self, place: Place, decision: Decision) -> None:
        """Add a silent decision; one about a payment that the fleet has published itself has no counterpart."""
        published = self._published.pop(place, None)
        if published is None:
            self._silent[place] = decision
        else:
            self._compare(published, decision)

    def _compare(self, published: Decision, silent: Decision) -> None:
        self.compared += 1
        if published is not silent:
            self.changes[published, silent] += 1

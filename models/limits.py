"""What overrules decisions whichever models make them, and what these limits go by in each partition."""

from typing import NamedTuple

import msgspec

from models.decline_cap import NO_CAP, NO_DECLINES, CapShare, DeclineCap, DeclineWindows
from models.let_through import LetThrough, LetThroughTotals
from models.volume import VolumeBudget


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What overrules decisions and promotions, in full.

    `decline_cap` is the cap on declines, a share of decisions; 1 or absent: none. `let_through` is what is approved
    though a model declined it; absent: nothing. With `promote_needs_verdict`, a promotion needs a verdict that says so.
    `volume_budget` is what a promoted model's volume of alerts must keep; absent: nothing is asked.
    """

    decline_cap: CapShare | None = None
    let_through: LetThrough | None = None
    promote_needs_verdict: bool = False
    volume_budget: VolumeBudget | None = None

    @property
    def cap(self) -> DeclineCap | None:
        """The cap on declines in force; None: no cap."""
        return None if self.decline_cap in (None, NO_CAP) else DeclineCap(self.decline_cap or NO_CAP)


class LimitState(NamedTuple):
    """What the limits of a partition go by, after its last written score.

    `declines` are the windows of the cap on declines, `let_through` is what was let through. Both follow from the
    scores alone, and a commit notes them.
    """

    declines: DeclineWindows = NO_DECLINES
    let_through: LetThroughTotals = LetThroughTotals()

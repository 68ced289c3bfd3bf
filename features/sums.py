"""What aggregates that add amounts up have to know of a window, whether it is made of records or of panes as well."""

from typing import Protocol

from features.frames import Flags, Floats
from features.store import Ints


class Sums(Protocol):
    """`features.frames.Window` and `features.paned_windows.PanedWindow` tell this of each history, shape (n,)."""

    @property
    def count(self) -> Ints:
        """How many transactions."""
        ...

    @property
    def empty(self) -> Flags:
        """Where there is none."""
        ...

    @property
    def total(self) -> Floats:
        """Sum of the amounts in units of 10^-4: the float64 that is nearest to the exact integer."""
        ...

    @property
    def largest(self) -> Floats:
        """The largest amount in units of 10^-4; 0 in an empty window."""
        ...

    @property
    def spread(self) -> Floats:
        """Count * sum(a^2) - (sum a)^2 in units of 10^-8: the float64 that is nearest to the exact integer."""
        ...

    def own_times_count(self) -> Floats:
        """Own amount times the count, in units of 10^-4: the float64 that is nearest to the exact integer."""
        ...

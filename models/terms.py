"""Who publishes: of all deployments of a topic prefix, one writes its decisions to `scores`.

A fold over the accepted commands of all deployments. A term begins with the deployment that publishes; the first one,
0, with the deployment whose first promotion was accepted first.
"""

from typing import NamedTuple

from models.commands import CommandKind, Event, EventKind

_EPOCHS_OF_A_TERM = 2**32


class Term(NamedTuple):
    """The present term, and the deployment that publishes in it; None while no model was ever promoted."""

    number: int = 0
    publisher: str | None = None

    def epoch(self, generation: int, highest: int) -> int:
        """Return an epoch of this term above the highest so far: the group's generation, or the next number.

        Epochs are term * 2^32 + n, so they order fleets as they order workers.
        """
        term, number = divmod(max(0, highest), _EPOCHS_OF_A_TERM)
        following = number + 1 if highest >= 0 and term == self.number else 0
        return self.number * _EPOCHS_OF_A_TERM + max(generation, following)

    def is_before(self, epoch: int) -> bool:
        """Tell whether an epoch is of a later term, which is not known here yet."""
        return epoch >= (self.number + 1) * _EPOCHS_OF_A_TERM


def number_in_term(epoch: int) -> int:
    """Return the number of an epoch within its term; -1 if there is none."""
    return epoch if epoch < 0 else epoch % _EPOCHS_OF_A_TERM


def follow_term(term: Term, event: Event) -> Term:
    """Return the term after one more event of any deployment."""
    if term.publisher is None and event.kind is EventKind.ACCEPTED and event.command is CommandKind.PROMOTE:
        return Term(term.number, event.deployment)
    return term

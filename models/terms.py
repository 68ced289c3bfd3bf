"""Who publishes: of all deployments of a topic prefix, one writes its decisions to `scores`.

A fold over the accepted commands of all deployments. A term begins with the deployment that publishes; the first one,
0, with the deployment whose first promotion was accepted first, each other with an accepted `cut_over`.
"""

from typing import NamedTuple

from models.commands import CommandKind, Event, EventKind

_EPOCHS_OF_A_TERM = 2**32


class Term(NamedTuple):
    """The present term, and the deployment that publishes in it; None while no model was ever promoted.

    `earlier` are the deployments that published in the terms before, from term 0 on.
    """

    number: int = 0
    publisher: str | None = None
    earlier: tuple[str, ...] = ()

    def epoch(self, generation: int, highest: int) -> int:
        """Return an epoch of this term above the highest so far: the group's generation, or the next number.

        Epochs are term * 2^32 + n, so they order fleets as they order workers.
        """
        number = number_in_term(highest) + 1 if term_of(highest) == self.number else 0
        return self.number * _EPOCHS_OF_A_TERM + max(generation, number)

    def is_before(self, epoch: int) -> bool:
        """Tell whether an epoch is of a later term, which is not known here yet."""
        return term_of(epoch) > self.number

    def published_in(self, number: int) -> str | None:
        """Return the deployment that published in a term; None if that is not known."""
        return self.publisher if number == self.number else next(iter(self.earlier[number : number + 1]), None)

    def is_void(self, event: Event) -> bool:
        """Tell whether an event accepts a hand-over that does not make the term after this one: it counts as unsaid."""
        accepts = event.kind is EventKind.ACCEPTED and event.command is CommandKind.CUT_OVER
        return accepts and (self.publisher is None or event.term != self.number + 1)


def term_of(epoch: int) -> int:
    """Return the term of an epoch; -1 if there is no epoch."""
    return epoch if epoch < 0 else epoch // _EPOCHS_OF_A_TERM


def number_in_term(epoch: int) -> int:
    """Return the number of an epoch within its term; -1 if there is none."""
    return epoch if epoch < 0 else epoch % _EPOCHS_OF_A_TERM


def follow_term(term: Term, event: Event) -> Term:
    """Return the term after one more event of any deployment."""
    if event.kind is not EventKind.ACCEPTED or term.is_void(event):
        return term
    if event.command is CommandKind.CUT_OVER:
        return Term(term.number + 1, event.deployment, (*term.earlier, str(term.publisher)))
    if event.command is CommandKind.PROMOTE and term.publisher is None:
        return Term(term.number, event.deployment)
    return term

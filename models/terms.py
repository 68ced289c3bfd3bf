"""Who publishes: of all deployments of a topic prefix, one writes its decisions to `scores`.

A fold over the accepted commands of all deployments. A term begins with the deployment that publishes; the first one,
0, with the deployment whose first promotion was accepted first, each other with an accepted `cut_over`.
"""

from typing import NamedTuple

from models.commands import CommandKind, Event, EventKind
from models.errors import EpochsUsedUpError

_EPOCHS_OF_A_TERM = 2**32
_EPOCHS_OF_A_GENERATION = 2**10
LAST_ATTEMPT = _EPOCHS_OF_A_GENERATION - 1
"""So often an owner may give up a write before the next epoch would be one that its successor takes."""


class Term(NamedTuple):
    """The present term, and the deployment that publishes in it; None while no model was ever promoted.

    `earlier` are the deployments that published in the terms before, from term 0 on.
    """

    number: int = 0
    publisher: str | None = None
    earlier: tuple[str, ...] = ()

    def epoch(self, generation: int, highest: int) -> int:
        """Return the first epoch of an owner: above the highest so far, and above all attempts of owners before it.

        Epochs are term * 2^32 + generation * 2^10 + attempt, so they order fleets as they order workers, and the writes
        of one worker after those that it gave up. It is the first multiple of 2^10 at or above the group's generation *
        2^10 that is above `highest`.

        Raises:
            EpochsUsedUpError: it would be an epoch of the next term.
        """
        above = self._number_above(highest) + LAST_ATTEMPT
        number = max(generation * _EPOCHS_OF_A_GENERATION, above - above % _EPOCHS_OF_A_GENERATION)
        if number >= _EPOCHS_OF_A_TERM:
            raise EpochsUsedUpError(
                f"the epochs of term {self.number} are used up in generation {generation} of the group: hand over to "
                "another deployment, which begins the next term"
            )
        return self.number * _EPOCHS_OF_A_TERM + number

    def epoch_without_attempts(self, generation: int, highest: int) -> int:
        """Return an owner's epoch by the formula before: the generation, or one more than the highest so far."""
        return self.number * _EPOCHS_OF_A_TERM + max(generation, self._number_above(highest))

    def is_in_block(self, epoch: int, generation: int) -> bool:
        """Tell whether an epoch is no attempt beyond those of a generation: every later one's are above it."""
        return epoch < self.number * _EPOCHS_OF_A_TERM + (generation + 1) * _EPOCHS_OF_A_GENERATION

    def may_be_newer(self, seen: int, generation: int, *, attempts: bool) -> bool:
        """Tell whether an epoch of this term may be that of an owner under a later generation.

        `attempts` tells by which of the two formulas epochs are taken.
        """
        least = generation * _EPOCHS_OF_A_GENERATION if attempts else generation
        return term_of(seen) >= self.number and number_in_term(seen) >= least

    def _number_above(self, highest: int) -> int:
        return number_in_term(highest) + 1 if term_of(highest) == self.number else 0

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


def first_attempt(epoch: int) -> int:
    """Return the first of the attempts of which an epoch is one."""
    return epoch - epoch % _EPOCHS_OF_A_GENERATION


def attempt_after(epoch: int) -> int | None:
    """Return the epoch of an owner's next attempt after it has given up a write; None if it has made the last one."""
    return epoch + 1 if epoch % _EPOCHS_OF_A_GENERATION < LAST_ATTEMPT else None


def follow_term(term: Term, event: Event) -> Term:
    """Return the term after one more event of any deployment."""
    if event.kind is not EventKind.ACCEPTED or term.is_void(event):
        return term
    if event.command is CommandKind.CUT_OVER:
        return Term(term.number + 1, event.deployment, (*term.earlier, str(term.publisher)))
    if event.command is CommandKind.PROMOTE and term.publisher is None:
        return Term(term.number, event.deployment)
    return term

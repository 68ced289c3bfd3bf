"""The deployment whose first promotion was accepted first publishes; epochs order terms, and workers within them."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.commands import CommandKind, Event, EventKind
from models.terms import Term, follow_term, number_in_term

NUMBERS = st.integers(0, 2**20)
TERM = 2**32


def event(deployment: str, kind: EventKind = EventKind.ACCEPTED, command: CommandKind | None = None) -> Event:
    return Event(
        event_id="e",
        deployment=deployment,
        kind=kind,
        revision=1,
        worker="w",
        at="2026-01-01T00:00:00.000Z",
        command_id="c",
        command=command or CommandKind.PROMOTE,
    )


def test_nobody_publishes_before_the_first_promotion() -> None:
    before = [event("a", command=CommandKind.CHALLENGE), event("a", EventKind.REFUSED), event("a", EventKind.CANDIDATE)]
    assert reduce(follow_term, before, Term()) == Term(0, None)


def test_the_deployment_whose_promotion_was_accepted_first_publishes_whatever_follows() -> None:
    events = [event("b"), event("a"), event("b", command=CommandKind.DEMOTE), event("a")]
    assert reduce(follow_term, events, Term()) == Term(0, "b")


@pytest.mark.parametrize(
    ("term", "generation", "highest", "epoch"),
    [
        (0, 3, -1, 3),
        (0, 3, 2, 3),
        (0, 3, 3, 4),
        (0, 3, 9, 10),
        (1, 3, 9, TERM + 3),
        (1, 3, TERM + 5, TERM + 6),
        (2, 0, TERM + 5, 2 * TERM),
    ],
)
def test_an_epoch_is_the_groups_generation_or_the_next_number_of_its_term(
    term: int, generation: int, highest: int, epoch: int
) -> None:
    assert Term(term).epoch(generation, highest) == epoch


@given(NUMBERS, NUMBERS, st.integers(-1, 2**20), st.integers(0, 5))
def test_an_epoch_is_above_all_of_its_own_and_earlier_terms(
    term: int, generation: int, number: int, later: int
) -> None:
    highest = number if number < 0 else max(0, term - later) * TERM + number
    epoch = Term(term).epoch(generation, highest)
    assert epoch > highest
    assert epoch // TERM == term
    assert number_in_term(epoch) >= generation


def test_an_epoch_of_a_later_term_is_recognised() -> None:
    assert Term(1).is_before(2 * TERM)
    assert not Term(1).is_before(2 * TERM - 1)
    assert not Term(0).is_before(-1)
    assert number_in_term(-1) == -1

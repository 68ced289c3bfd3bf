"""The deployment whose first promotion was accepted first publishes, until a hand-over names another.

Epochs order terms, and workers within them.
"""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.commands import CommandKind, Event, EventKind
from models.terms import Term, follow_term, number_in_term, term_of

NUMBERS = st.integers(0, 2**20)
TERM = 2**32


def event(
    deployment: str, kind: EventKind = EventKind.ACCEPTED, command: CommandKind | None = None, term: int | None = None
) -> Event:
    return Event(
        event_id="e",
        deployment=deployment,
        kind=kind,
        revision=1,
        worker="w",
        at="2026-01-01T00:00:00.000Z",
        command_id="c",
        command=command or CommandKind.PROMOTE,
        term=term,
    )


def cut_over(deployment: str, term: int | None, kind: EventKind = EventKind.ACCEPTED) -> Event:
    return event(deployment, kind, CommandKind.CUT_OVER, term)


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


def test_an_accepted_hand_over_begins_the_next_term() -> None:
    term = reduce(follow_term, [event("blue"), cut_over("green", 1), event("green"), cut_over("blue", 2)], Term())
    assert term == Term(2, "blue", ("blue", "green"))
    assert [term.published_in(number) for number in range(4)] == ["blue", "green", "blue", None]


@pytest.mark.parametrize("stale", [cut_over("red", term) for term in (None, 0, 1, 3)])
def test_a_hand_over_that_does_not_make_the_next_term_is_void(stale: Event) -> None:
    term = reduce(follow_term, [event("blue"), cut_over("green", 1)], Term())
    assert term.is_void(stale)
    assert follow_term(term, stale) == term


def test_a_refused_hand_over_and_one_before_any_promotion_name_nobody() -> None:
    refused = cut_over("green", None, EventKind.REFUSED)
    blue = follow_term(Term(), event("blue"))
    assert (blue.is_void(refused), follow_term(blue, refused)) == (False, blue)
    assert Term().is_void(cut_over("green", 1))
    assert follow_term(Term(), cut_over("green", 1)) == Term()


def test_the_term_of_an_epoch_is_what_is_above_its_number() -> None:
    assert [term_of(epoch) for epoch in (-1, 0, TERM - 1, TERM, 5 * TERM + 7)] == [-1, 0, 0, 1, 5]

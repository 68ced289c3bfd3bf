"""The deployment whose first promotion was accepted first publishes, until a hand-over names another.

Epochs order terms, and workers within them.
"""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.commands import CommandKind, Event, EventKind
from models.errors import EpochsUsedUpError
from models.terms import Term, attempt_after, follow_term, number_in_term
from support import control_events

NUMBERS = st.integers(0, 2**20)
TERM = 2**32
GENERATION = 2**10


def event(
    deployment: str, kind: EventKind = EventKind.ACCEPTED, command: CommandKind | None = None, term: int | None = None
) -> Event:
    named = {"deployment": deployment, "command_id": "c", "command": command or CommandKind.PROMOTE, "term": term}
    return control_events.event(kind, 1, "e", **named)


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
        (0, 3, -1, 3 * GENERATION),
        (0, 3, 9, 3 * GENERATION),
        (0, 3, 3 * GENERATION - 1, 3 * GENERATION),
        (0, 3, 3 * GENERATION, 4 * GENERATION),
        (0, 3, 4 * GENERATION + 9, 5 * GENERATION),
        (1, 3, 9, TERM + 3 * GENERATION),
        (1, 3, TERM + 5 * GENERATION, TERM + 6 * GENERATION),
        (2, 0, TERM + 5, 2 * TERM),
    ],
)
def test_an_owner_begins_with_the_first_attempt_of_its_generation_or_above_all_that_was_seen(
    term: int, generation: int, highest: int, epoch: int
) -> None:
    assert Term(term).epoch(generation, highest) == epoch


@pytest.mark.parametrize(
    ("term", "generation", "highest", "epoch"),
    [
        (0, 3, -1, 3),
        (0, 3, 3, 4),
        (0, 3, 9, 10),
        (1, 3, 9, TERM + 3),
        (1, 3, TERM + 5, TERM + 6),
        (2, 0, TERM + 5, 2 * TERM),
    ],
)
def test_without_attempts_an_epoch_is_the_groups_generation_or_the_next_number_of_its_term(
    term: int, generation: int, highest: int, epoch: int
) -> None:
    assert Term(term).epoch_without_attempts(generation, highest) == epoch


@given(NUMBERS, NUMBERS, st.integers(-1, 2**30), st.integers(0, 5))
def test_an_epoch_is_above_all_of_its_own_and_earlier_terms(
    term: int, generation: int, number: int, later: int
) -> None:
    highest = number if number < 0 else max(0, term - later) * TERM + number
    for epoch in (Term(term).epoch(generation, highest), Term(term).epoch_without_attempts(generation, highest)):
        assert epoch > highest
        assert epoch // TERM == term
        assert number_in_term(epoch) >= generation
    assert Term(term).epoch(generation, highest) % GENERATION == 0


@given(NUMBERS, st.integers(0, 2**20), st.integers(1, 1_000), st.integers(-1, 2**30))
def test_no_attempt_of_an_owner_is_above_what_a_later_one_takes_though_it_has_seen_nothing_of_it(
    term: int, generation: int, later: int, number: int
) -> None:
    highest = number if number < 0 else term * TERM + number
    epoch: int | None = Term(term).epoch(generation, -1)
    last = -1
    while epoch is not None:
        last, epoch = epoch, attempt_after(epoch)
    assert last == Term(term).epoch(generation, -1) + 1_023
    assert Term(term).epoch(generation + later, -1) > last
    assert Term(term).epoch(generation + later, max(highest, -1)) > max(last, highest)


@pytest.mark.parametrize(
    ("seen", "generation", "attempts", "may_be"),
    [
        (3 * GENERATION - 1, 3, True, False),
        (3 * GENERATION, 3, True, True),
        (2, 3, False, False),
        (3, 3, False, True),
        (TERM + 2, 3, False, False),
        (TERM + 3 * GENERATION, 3, True, True),
        (-1, 0, True, False),
        (-1, 0, False, False),
    ],
)
def test_an_epoch_of_the_own_or_a_later_generation_may_be_that_of_a_newer_owner(
    seen: int, generation: int, *, attempts: bool, may_be: bool
) -> None:
    assert Term(max(0, seen) // TERM).may_be_newer(seen, generation, attempts=attempts) is may_be


def test_an_epoch_of_the_term_before_is_no_newer_owners() -> None:
    assert not Term(1).may_be_newer(9 * GENERATION, 3, attempts=True)


def test_epochs_that_reach_into_the_next_term_are_refused() -> None:
    last = TERM // GENERATION - 1
    assert Term(2).epoch(last, -1) == 3 * TERM - GENERATION
    for generation, highest in ((last + 1, -1), (0, 3 * TERM - GENERATION)):
        with pytest.raises(EpochsUsedUpError, match="epochs of term 2 are used up"):
            Term(2).epoch(generation, highest)


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

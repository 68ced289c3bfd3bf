"""The cap on declines: what it overrules is what a plain recount of each decision says, however decisions are cut."""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decline_cap import (
    WINDOW,
    DeclineCap,
    DeclineWindow,
    DeclineWindows,
    from_note,
    noted,
    overrule,
)
from stream.positions.offsets import Decision, Position

DECLINED, APPROVED = True, False
NOTES = msgspec.json.Decoder(dict[str, tuple[bytes, bool]])
SHARES = st.sampled_from([0.0001, 0.0005, 0.0035, 0.02, 0.07, 0.25, 0.5, 0.9999])


def recounted(decisions: Sequence[bool], share: float) -> Iterator[bool]:
    """Yield whether each decision is overruled, by a count after each one: the cap ends when that falls too low."""
    window, allowed, holds = deque([APPROVED] * WINDOW, maxlen=WINDOW), Decimal(str(share)) * WINDOW, False
    for declined in decisions:
        window.append(declined)
        if declined and sum(window) > allowed:
            holds = True
        elif sum(window) < allowed * Decimal("0.8"):
            holds = False
        yield declined and holds


def by_the_rule(
    decisions: Sequence[bool], shares: Sequence[float | None], let_through: Collection[int] = ()
) -> Iterator[bool]:
    """Yield whether each decision is overruled under its own share: the rule of the reference, decline by decline."""
    window, was_overruled = deque([APPROVED] * WINDOW, maxlen=WINDOW), False
    for at, (declined, share) in enumerate(zip(decisions, shares, strict=True)):
        before = sum(window)
        window.append(declined)
        if at in let_through:
            yield False
            continue
        if declined:
            allowed = Decimal(str(share or 0)) * WINDOW
            goes_on = was_overruled and before >= allowed * Decimal("0.8")
            was_overruled = share is not None and (goes_on or sum(window) > allowed)
        yield declined and was_overruled


@st.composite
def streams(draw: st.DrawFn) -> list[bool]:
    """Make some thousand decisions of stretches in which every n-th one is declined."""
    stretches = st.tuples(st.sampled_from([1, 2, 3, 10, 60, 5_000]), st.integers(1, 1_500))
    parts = draw(st.lists(stretches, min_size=1, max_size=6))
    return [at % every == every - 1 for every, length in parts for at in range(length)]


def cuts_of(count: int) -> st.SearchStrategy[list[int]]:
    """Cut so many decisions into batches; some are empty."""
    inner = st.lists(st.integers(0, count), max_size=12)
    return inner.map(lambda found: [0, *sorted(found), count])


def through_a_note(window: DeclineWindow) -> DeclineWindow:
    """Return what the next owner of the partition finds in the commit."""
    return from_note(NOTES.decode(msgspec.json.encode(noted({"live": window}))))["live"]


def folded(
    window: DeclineWindow, decisions: Sequence[bool], overruled: Sequence[int], let_through: Collection[int] = ()
) -> DeclineWindow:
    """Return the window that a worker restores from the scores of these decisions."""
    for at, declined in enumerate(decisions):
        window = window.after(declined=declined, overruled=at in overruled, passed=at in let_through)
    return window


@given(st.data(), streams(), SHARES)
def test_what_is_overruled_is_what_a_recount_says_whatever_the_batches_retries_and_restores(
    data: st.DataObject, decisions: list[bool], share: float
) -> None:
    cuts, cap = data.draw(cuts_of(len(decisions))), DeclineCap(share)
    window, found = DeclineWindow(), list[int]()
    for first, last in pairwise(cuts):
        batch = decisions[first:last]
        overruled, after = overrule(window, batch, cap)
        match data.draw(st.sampled_from(["written", "tried again", "restored from the commit", "from the scores"])):
            case "tried again":
                overruled, after = overrule(window, batch, cap)
            case "restored from the commit":
                after = through_a_note(after)
            case "from the scores":
                after = folded(through_a_note(window), batch, overruled)
        found += [first + at for at in overruled]
        window = after
    expected = recounted(decisions, share)
    assert found == [at for at, overruled in enumerate(expected) if overruled]
    assert window.declines == sum(decisions[-WINDOW:])


@given(st.data(), streams())
def test_a_cap_that_is_set_changed_or_taken_away_holds_from_then_on(data: st.DataObject, decisions: list[bool]) -> None:
    cuts = data.draw(cuts_of(len(decisions)))
    shares, window, found = list[float | None](), DeclineWindow(), list[int]()
    for first, last in pairwise(cuts):
        share = data.draw(st.none() | SHARES)
        shares += [share] * (last - first)
        overruled, window = overrule(window, decisions[first:last], None if share is None else DeclineCap(share))
        found += [first + at for at in overruled]
    expected = by_the_rule(decisions, shares)
    assert found == [at for at, overruled in enumerate(expected) if overruled]


@given(st.data(), streams(), SHARES, st.integers(0, 2**32))
def test_what_is_let_through_counts_in_the_window_and_the_cap_asks_nothing_of_it(
    data: st.DataObject, decisions: list[bool], share: float, seed: int
) -> None:
    lots, cap = np.random.default_rng(seed).random(len(decisions)) < 0.4, DeclineCap(share)
    passed = {at for at, declined in enumerate(decisions) if declined and lots[at]}
    cuts, window, found = data.draw(cuts_of(len(decisions))), DeclineWindow(), list[int]()
    for first, last in pairwise(cuts):
        batch, own = decisions[first:last], [at - first for at in sorted(passed) if first <= at < last]
        overruled, after = overrule(window, batch, cap, own)
        if data.draw(st.booleans()):
            after = folded(through_a_note(window), batch, overruled, own)
        found += [first + at for at in overruled]
        window = after
    expected = by_the_rule(decisions, [share] * len(decisions), passed)
    assert found == [at for at, overruled in enumerate(expected) if overruled]
    assert window.declines == sum(decisions[-WINDOW:])


@pytest.mark.parametrize(
    ("share", "most", "least"), [(0.0001, 0, 1), (0.0035, 7, 6), (0.07, 140, 112), (0.9, 1800, 1440)]
)
def test_the_counts_of_a_share_are_exact(share: float, most: int, least: int) -> None:
    assert (DeclineCap(share).most, DeclineCap(share).least) == (most, least)


def test_a_note_of_many_arms_stays_below_what_kafka_takes_and_keeps_the_live_one() -> None:
    names = [*(f"{number:064}" for number in range(20)), "0" * 65, "\n", "\u00e4"]
    windows: DeclineWindows = {name: DeclineWindow((1 << WINDOW) - 1, overruled=True) for name in names}
    note = msgspec.json.encode(noted({**windows, "live": DeclineWindow(5)}))
    assert len(note) < 4_096 - 500
    found = from_note(NOTES.decode(note))
    assert found["live"] == DeclineWindow(5)
    assert found.items() <= {**windows, "live": DeclineWindow(5)}.items()
    assert len(found) == 8
    assert found.keys() <= {*names[:20], "live"}


def test_the_windows_of_arms_that_decided_last_are_noted_and_those_of_the_past_are_not() -> None:
    past = {f"a-{number}": DeclineWindow(number) for number in range(7)}
    position = Position(declines={"live": DeclineWindow(), **past})
    for at, arm in enumerate(("live", "z-2", "z-1", "live", "z-1")):
        position = position.after(Decision(epoch=1, revision=1, place=at, arm=arm))
    found = from_note(NOTES.decode(msgspec.json.encode(noted(position.declines))))
    assert found.keys() == {"live", "z-1", "z-2", *(f"a-{number}" for number in range(2, 7))}
    assert [name for name in found if name.startswith("z")] == ["z-2", "z-1"], "a note keeps who decided last"

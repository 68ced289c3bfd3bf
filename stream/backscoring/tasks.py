"""The work of back-scoring, cut into pieces that processes do one by one: each reads the workplace and writes to it."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from features.records import Entity
from features.store import Fate, Ints
from stream.backscoring.ledgers import Ledger, read_followers, write_followers
from stream.backscoring.passes import CardPass, GoingOn, Mark, OtherPass, Placed, chosen
from stream.backscoring.shards import LabelAt, Lot, Place, Shard
from stream.backscoring.workplace import Workplace

FATES = tuple(Fate)
CODE = MappingProxyType({fate: code for code, fate in enumerate(FATES)})
DECIDE = CODE[Fate.DECIDE]
"""How fates are kept, as numbers."""


def judge_cards(place: Workplace, shard: int) -> None:
    """Run through a shard of cards: fates, what was seen of cards, and the labels that go on to other parties."""
    fates, done = place.fates(), place.progress()
    going_on: dict[Entity, list[GoingOn]] = {entity: [] for entity in place.others}
    with Shard(place, Entity.CARD, shard) as source, Ledger(place, Entity.CARD, shard, source.rows()) as ledger:
        cards, labels = CardPass(place.feature_set), source.labels()
        due = deque(labels)
        for lot in source.lots():
            places = lot.places() if due and due[0].place <= lot.last else ()
            judged = cards.take(lot.transactions, [*_marks(due, places, lot.last)], lot.rows >= 0)
            fates[lot.numbers] = codes = np.array([CODE[fate] for fate in judged.fates], np.int8)
            ledger.keep(lot.rows[(lot.rows >= 0) & (codes == DECIDE)], judged.seen)
            _extend(going_on, judged.going_on)
            done[shard] += len(lot.numbers)
        _extend(going_on, cards.note([Mark(0, one.place[2], one.label) for one in due]))
    for entity, followers in going_on.items():
        places_there = {one.place[2]: one.elsewhere[entity] for one in labels if entity in one.elsewhere}
        write_followers(place.going_on(entity, shard), followers, places_there)


def _marks(due: deque[LabelAt], places: Sequence[Place], last: Place) -> Iterator[Mark]:
    """Take off the labels that come before the last transaction of a lot, each before its transaction."""
    at = 0
    while due and due[0].place <= last:
        one = due.popleft()
        while places[at] < one.place:
            at += 1
        yield Mark(at, one.place[2], one.label)


def _extend(going_on: dict[Entity, list[GoingOn]], more: Mapping[Entity, Sequence[GoingOn]]) -> None:
    for entity in going_on:
        going_on[entity] += more.get(entity, ())


def take_in(entity: Entity, place: Workplace, shard: int) -> None:
    """Run through a shard of another party: what is to be decided, and the labels that come with it."""
    fates, done = place.fates(), place.progress()
    with Shard(place, entity, shard) as source, Ledger(place, entity, shard, source.rows()) as ledger:
        party = OtherPass(place.feature_set, entity)
        followers = read_followers(place, entity, party.hashes(source.names()))
        due = deque(followers.placed)
        for lot in source.lots():
            owed = _owed(lot, fates[lot.numbers] == DECIDE)
            if len(owed.numbers):
                places = owed.places() if due and due[0][0] <= owed.last else ()
                placed = [*_placed(due, places, owed.last)] if places else []
                seen = party.take(owed.transactions, placed, followers.waiting, owed.rows >= 0)
                ledger.keep(owed.rows[owed.rows >= 0], seen)
            done[shard] += len(lot.numbers)


def _owed(lot: Lot, decided: Ints) -> Lot:
    """Return those of a lot that are to be decided."""
    if decided.all():
        return lot
    which = np.flatnonzero(decided)
    return Lot(chosen(lot.transactions, which), *(column[which] for column in lot[1:]))


def _placed(due: deque[tuple[Place, int, Ints]], places: Sequence[Place], last: Place) -> Iterator[Placed]:
    """Take off the labels that come before the last of some transactions."""
    at = 0
    while due and due[0][0] <= last:
        where, party, row = due.popleft()
        while places[at] < where:
            at += 1
        yield Placed(at, party, row)

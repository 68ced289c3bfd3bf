"""The work of back-scoring, cut into pieces that processes do one by one: each reads the workplace and writes to it."""

from collections import deque
from collections.abc import Iterator, Sequence
from types import MappingProxyType

import numpy as np

from features.history.store import Entity, Fate, Ints
from stream.rescoring.ledgers import FollowingLabel, ShardLedger, read_followers, write_followers
from stream.rescoring.passes import CardPass, ForwardedLabel, LabelMark, OtherPass, PlacedLabel, chosen
from stream.rescoring.shards import LabelAt, Place, Shard, ShardBatch
from stream.rescoring.workdir import Workdir

FATES = tuple(Fate)
CODE = MappingProxyType({fate: code for code, fate in enumerate(FATES)})
DECIDE = CODE[Fate.DECIDE]
"""How fates are kept, as numbers."""


def judge_cards(place: Workdir, shard: int) -> None:
    """Run through a shard of cards: fates, what was seen of cards, and the labels that go on to other parties."""
    fates, done = place.fates(), place.progress()
    going_on: list[ForwardedLabel] = []
    with Shard(place, Entity.CARD, shard) as source, ShardLedger(place, Entity.CARD, shard, source.rows()) as ledger:
        cards, labels = CardPass(place.sets), source.labels()
        due = deque(labels)
        for lot in source.lots():
            places = lot.places() if due and due[0].place <= lot.last else ()
            judged = cards.take(lot.transactions, [*_marks(due, places, lot.last)], lot.rows >= 0)
            fates[lot.numbers] = codes = np.array([CODE[fate] for fate in judged.fates], np.int8)
            ledger.keep(lot.rows[(lot.rows >= 0) & (codes == DECIDE)], judged.seen)
            going_on += judged.going_on
            done[shard] += len(lot.numbers)
        going_on += cards.note([LabelMark(0, one.place[2], one.label) for one in due])
    for kind in place.others:
        told = {one.place[2]: (one.elsewhere.get(kind), one.at_ms) for one in labels}
        write_followers(place.going_on(kind, shard), [one for one in going_on if one.kind is kind], told)


def _marks(due: deque[LabelAt], places: Sequence[Place], last: Place) -> Iterator[LabelMark]:
    """Take off the labels that come before the last transaction of a lot, each before its transaction."""
    at = 0
    while due and due[0].place <= last:
        one = due.popleft()
        while places[at] < one.place:
            at += 1
        yield LabelMark(at, one.place[2], one.label)


def take_in(entity: Entity, place: Workdir, shard: int) -> None:
    """Run through a shard of another party: what is to be decided, and the labels that come with it."""
    fates, done = place.fates(), place.progress()
    with Shard(place, entity, shard) as source, ShardLedger(place, entity, shard, source.rows()) as ledger:
        party = OtherPass(place.sets, entity)
        followers = read_followers(place, entity, party.hashes(source.names()))
        due = deque(followers.placed)
        for lot in source.lots():
            owed = to_decide(lot, fates[lot.numbers] == DECIDE)
            if len(owed.numbers):
                places = owed.places() if due and due[0].place <= owed.last else ()
                placed = [*placed_before(due, places, owed.last)] if places else []
                seen = party.take(owed.transactions, placed, followers.waiting, owed.rows >= 0)
                ledger.keep(owed.rows[owed.rows >= 0], seen)
            done[shard] += len(lot.numbers)


def to_decide(lot: ShardBatch, decided: Ints) -> ShardBatch:
    """Return those of a lot that are to be decided."""
    if decided.all():
        return lot
    which = np.flatnonzero(decided)
    return ShardBatch(chosen(lot.transactions, which), *(column[which] for column in lot[1:]))


def placed_before(due: deque[FollowingLabel], places: Sequence[Place], last: Place) -> Iterator[PlacedLabel]:
    """Take off the labels that come before the last of some transactions."""
    at = 0
    while due and due[0].place <= last:
        one = due.popleft()
        while places[at] < one.place:
            at += 1
        yield PlacedLabel(at, one.party, one.row)

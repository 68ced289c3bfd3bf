"""The tasks of a rescoring run: each runs one shard through its histories, reading and writing the run's folder."""

from collections import deque
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from features.history.store import Entity, Fate
from fraudstream.lab.rescoring.erased import erased_cards
from fraudstream.lab.rescoring.history_pass import CardLabel, CardPass, Flags, ForwardedLabel, OtherPass, PartyLabel
from fraudstream.lab.rescoring.shard_output import (
    IncomingLabel,
    ShardOutput,
    read_incoming_labels,
    write_forwarded_labels,
)
from fraudstream.lab.rescoring.shards import OrderedLabel, Shard, ShardBatch, SortKey
from fraudstream.lab.rescoring.workdir import Workdir

FATES = tuple(Fate)
CODE = MappingProxyType({fate: code for code, fate in enumerate(FATES)})
"""Fates as the numbers that the run's folder keeps."""
DECIDE = CODE[Fate.DECIDE]
DueLabel = TypeVar("DueLabel", OrderedLabel, IncomingLabel)


def run_card_shard(workdir: Workdir, shard: int) -> None:
    """Run a shard of cards through their histories; write fates, features and the labels forwarded to other parties."""
    fates, done = workdir.fates(), workdir.progress()
    forwarded: list[ForwardedLabel] = []
    with Shard(workdir, Entity.CARD, shard) as source, ShardOutput(workdir, Entity.CARD, shard, source.rows()) as out:
        cards, labels = CardPass(workdir.sets, erased_cards(workdir)), source.labels()
        due = deque(labels)
        for batch in source.batches():
            sort_keys = batch.sort_keys() if due and due[0].sort_key <= batch.last_key else ()
            before = [*_card_labels_before(due, sort_keys, batch.last_key)]
            judged = cards.judge_batch(batch.transactions, before, batch.rows >= 0)
            fates[batch.numbers] = codes = np.array([CODE[fate] for fate in judged.fates], np.int8)
            out.write(batch.rows[(batch.rows >= 0) & (codes == DECIDE)], judged.seen)
            forwarded += judged.forwarded
            done[shard] += len(batch.numbers)
        forwarded += cards.append_labels([CardLabel(0, one.sort_key[2], one.label) for one in due])
    for kind in workdir.others:
        published = {one.sort_key[2]: (one.other_keys.get(kind), one.published_ms) for one in labels}
        of_kind = [one for one in forwarded if one.kind is kind]
        write_forwarded_labels(workdir.forwarded(kind, shard), of_kind, published)


def run_other_shard(entity: Entity, workdir: Workdir, shard: int) -> None:
    """Run a shard of another kind of entity through its histories: transactions to be decided, and their labels."""
    done = workdir.progress()
    with Shard(workdir, entity, shard) as source, ShardOutput(workdir, entity, shard, source.rows()) as out:
        others = OtherPass(workdir.sets, entity)
        incoming = read_incoming_labels(workdir, entity, others.hashes(source.entity_ids()))
        due = deque(incoming.ordered)
        for batch in source.batches():
            accepted = to_decide(batch, workdir.is_in_other_logs(batch.numbers, DECIDE))
            if len(accepted.numbers):
                sort_keys = accepted.sort_keys() if due and due[0].sort_key <= accepted.last_key else ()
                before = [*other_labels_before(due, sort_keys, accepted.last_key)] if sort_keys else []
                seen = others.judge_batch(accepted.transactions, before, incoming.parked, accepted.rows >= 0)
                out.write(accepted.rows[accepted.rows >= 0], seen)
            done[shard] += len(batch.numbers)


def to_decide(batch: ShardBatch, decided: Flags) -> ShardBatch:
    """Return the transactions of a batch that are to be decided."""
    if decided.all():
        return batch
    which = np.flatnonzero(decided)
    return ShardBatch(batch.transactions.at(which), *(column[which] for column in batch[1:]))


def _card_labels_before(
    due: deque[OrderedLabel], sort_keys: Sequence[SortKey], last_key: SortKey
) -> Iterator[CardLabel]:
    """Take from `due` the labels that come before the last of some transactions of cards."""
    for at, one in _labels_before(due, sort_keys, last_key):
        yield CardLabel(at, one.sort_key[2], one.label)


def other_labels_before(
    due: deque[IncomingLabel], sort_keys: Sequence[SortKey], last_key: SortKey
) -> Iterator[PartyLabel]:
    """Take from `due` the labels that come before the last of some transactions of another kind of entity."""
    for at, one in _labels_before(due, sort_keys, last_key):
        yield PartyLabel(at, one.party, one.row)


def _labels_before(
    due: deque[DueLabel], sort_keys: Sequence[SortKey], last_key: SortKey
) -> Iterator[tuple[int, DueLabel]]:
    """Yield each label with the index of the transaction after it, the first whose sort key is not less."""
    at = 0
    while due and due[0].sort_key <= last_key:
        one = due.popleft()
        while sort_keys[at] < one.sort_key:
            at += 1
        yield at, one

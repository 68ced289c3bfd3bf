"""Payments counted by their fields: the first ones of each slot of time, of each partition of `transactions`.

Which these are follows from the topic alone. They are read as workers read them: a value that is dropped is none.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

from features.declaration import HOUR_MS
from features.errors import DeclarationError
from features.own_fields import NO_FIELDS
from features.vector.sets import load_sets
from fraudstream.ops.watch.fields.judgement import LOOK_BACK_MS, SLOT_MS, FieldFindings, SlotCounts, judge
from stream.clock import now_ms
from stream.contract.attributes import OTHER_NAME, FieldRules
from stream.contract.codes import Rejection
from stream.contract.transaction import FIELDS, backfill_mark, read_transaction
from stream.id_rules import declared_ids
from stream.kafka.topics import TRANSACTIONS
from stream.scan import FetchedRecord, scan_topic
from stream.settings import Settings

OPTIONAL_FIELDS = tuple(name for name, one in FIELDS.items() if not one.required and name != "attributes")
"""The fields of the contract that a payment may have."""
SLOT_RECORDS = 50
"""So many records of each partition are counted in a slot."""
_OF_MANY_PLACES = {"max_partition_fetch_bytes": 65_536, "fetch_max_wait_ms": 1}
"""Little of a partition is read at a place, and a fetch that waits would hold up the requests for the next one."""
_AFTER_ALL_MS = 1 << 50
_ANY_TIME_MS = 1 << 62
_LOOK_SECONDS = 10.0
_FEW_HOURS = 3


def rules_of(settings: Settings) -> tuple[FieldRules, str]:
    """Return what the workers of a deployment read of a payment.

    Where the modules of its features cannot be loaded, no attribute is known to be declared; the text says why, then.
    """
    try:
        declared, unknown = load_sets(settings.features).fields, ""
    except DeclarationError as error:
        declared, unknown = NO_FIELDS, str(error)
    return FieldRules(declared, ids=declared_ids(settings.id_shapes)), unknown


async def read_slots(settings: Settings, begins_ms: Iterable[int], rules: FieldRules) -> AsyncIterator[SlotCounts]:
    """Count the payments of some slots, one after the other.

    Those before the first payment cost no request: a topic that is minutes old has hardly any others.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond, or the topic is missing.
    """
    topic, wanted = settings.topic(TRANSACTIONS.name), list(begins_ms)
    async with scan_topic(settings, topic, _AFTER_ALL_MS, **_OF_MANY_PLACES) as scan:
        oldest_ms = await scan.oldest_ms(min(wanted, default=_AFTER_ALL_MS))
        at_ms, end = 0, dict[int, int]()
        for begin_ms in wanted:
            if oldest_ms is None or begin_ms + SLOT_MS <= oldest_ms:
                yield SlotCounts(begin_ms)
                continue
            first = end if at_ms == begin_ms else await scan.first_since(begin_ms)
            at_ms, end = begin_ms + SLOT_MS, await scan.first_since(begin_ms + SLOT_MS)
            scan.start_at(first)
            counts = SlotCounts(begin_ms)
            until = {number: min(at + SLOT_RECORDS, end[number]) for number, at in first.items()}
            async for records, _ in scan.read(until):
                for record in records:
                    count_payment(counts, record, rules)
            yield counts


def count_payment(counts: SlotCounts, record: FetchedRecord, rules: FieldRules) -> None:
    """Count the fields of a record; what is refused, erased or only fills histories is none."""
    read = read_transaction(record.value, record.key, _ANY_TIME_MS, rules.ids)
    if isinstance(read, Rejection) or read.erases or backfill_mark(record.headers) is not None:
        return
    own = rules.read(read.transaction)
    counts.payments += 1
    of_contract = {name for name in OPTIONAL_FIELDS if getattr(read.transaction, name) is not None}
    counts.fields.update(of_contract | own.values.keys())
    counts.undeclared.update(name or OTHER_NAME for name in own.undeclared)


async def look_at_fields(settings: Settings) -> FieldFindings | None:
    """Read a part of the last day's slots, and judge by them; None if there are too few by some seconds later.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond, or the topic is missing.
    """
    end_ms, (rules, _), slots = now_ms(), rules_of(settings), list[SlotCounts]()
    recent = range(end_ms - _FEW_HOURS * HOUR_MS, end_ms, SLOT_MS)
    day = range(end_ms - LOOK_BACK_MS - HOUR_MS, recent.start, HOUR_MS)
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            async for one in read_slots(settings, [*reversed(recent), *reversed(day)], rules):
                slots.append(one)
    except TimeoutError:
        return None
    return judge(slots, end_ms)

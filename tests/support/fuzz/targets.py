"""What reads bytes from outside, by name: a check that takes any bytes, and genuine ones to begin with.

A check raises only if a reader does what it must not: raise an error that its callers do not expect, or not read back
what was written. `command.py` runs one with atheris, `tests/unit/test_outside_bytes.py` all with Hypothesis.
"""

import json
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import cramjam
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from features.history.append import rows_by_entity
from features.history.store import Entity
from features.memory_store import MemoryStore
from features.redis.topology import Master, Servers
from fraudstream_client.outputs import Decision
from models.commands import AcceptedArm
from models.commands import encode as encode_record
from models.lineup import Lineup
from models.snapshot import SnapshotScope, SnapshotSeal
from shadow.protocol import CompareResult, Loaded, frame
from shadow.protocol import encode as encode_message
from stream.contract.codes import DeadLetterCode
from stream.control.probes import write_probe
from stream.engine.unpacking import FetchedRecord
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from support.control_events import MODELS, accepted, event, restore_of
from support.features import stored_histories
from support.features.recount import transactions
from support.fuzz import control_checks, stored_checks, topic_checks
from support.model_artifacts import artifact, train
from support.record_batches import CODECS, HEADER_BYTES, LAST_DELTA_AT, marker, packed, sent, signed, with_body
from support.shadow_cases import scored
from support.stream_records import CARD_NUMBER, FULL_PAYMENT, LATEST_MS, MENTION, PAYMENT, literally


class Target(NamedTuple):
    """A check of a reader, and a function that returns genuine bytes, and those that were once its undoing.

    It is a function because some are made by training a model.
    """

    check: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


WITH_ATTRIBUTES = FULL_PAYMENT | {
    "longitude": -11.5,
    "attributes": {"loyal": True, "visits": 3.5, "note": "x", "none": None},
}
COMMAND = {
    "schema": "command/1",
    "command_id": "c-1",
    "deployment": "default",
    "expected_revision": 0,
    "kind": "promote",
    "model": MODELS[0],
    "actor": "ann",
    "reason": "better",
    "issued_at": "2026-01-01T00:00:00.000Z",
    "expires_at": "2027-01-02T00:00:00.000Z",
    "watch_seconds": 60,
    "force": True,
}
TRACE = (
    b"traceparent:00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n"
    b"tracestate:congo=t61rcWkgMzE,rojo=00f067aa0ba902b7\nbaggage:user=1,k=v;p\ncorrelation-id:c-1\nredriven-from"
)


def _record_batches() -> Sequence[bytes]:
    rows = [(b"card-1", b'{"a":1}' * 9, [("traceparent", b"00-x"), ("n", None)]), (None, None, ()), (b"", b"b", ())]
    old = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    packed_old = LegacyRecordBatchBuilder(1, 1, 1 << 20)
    for builder in (old, packed_old):
        for number in range(3):
            builder.append(number, 5_000, b"key", b"value" * 20)
    transaction = b"".join((sent(0, 7), sent(1, 8), marker(2, 7, abort=True), marker(3, 8, abort=False), sent(4, 9)))
    java = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
    body = packed(rows)[HEADER_BYTES:]
    block = bytes(cramjam.snappy.compress_raw(body))
    in_blocks = with_body(java + len(block).to_bytes(4, "big") + block, CODECS["snappy"], len(rows))
    every_codec = [packed(rows, codec, 40) for codec in CODECS.values()]
    far = bytearray(every_codec[0])
    struct.pack_into(">i", far, LAST_DELTA_AT, 2**31 - 1)
    damaged = bytearray(marker(1, 7, abort=True))
    damaged[HEADER_BYTES] = 0x7F  # a negative length
    sound = [*every_codec, b"".join(every_codec), bytes(old.build()), bytes(packed_old.build()), transaction, in_blocks]
    return [*sound, signed(far), signed(damaged), with_body(b"not compressed" * 9, CODECS["lz4"], 3)]


def _transactions() -> Sequence[bytes]:
    odd = [{"amount_minor": -1}, {"currency": "XXQ"}, {"card_id": CARD_NUMBER}, {"mcc": "1"}, {"occurred_at": 10**12}]
    odd += [{"kind": "refund"}, {"schema": "transaction/2"}, {"x": [[{"y": "\\u00e9"}]] * 20}, {"latitude": 1e3}]
    payments = [PAYMENT, WITH_ATTRIBUTES, *(WITH_ATTRIBUTES | one for one in odd)]
    odd_ids = [literally("device_id", one) for one in ("1e400", "9" * 5_000, "[" * 3_000 + "]" * 3_000)]
    twice = b'{"card_id":5,' + json.dumps(PAYMENT).encode()[1:]
    return [b"card-1\0" + one for one in (*(json.dumps(one).encode() for one in payments), *odd_ids, twice)]


def _labels() -> Sequence[bytes]:
    full = MENTION | {
        "merchant_id": "m",
        "occurred_at": "2026-01-31T12:00:00Z",
        "fraud_type": "stolen",
        "schema": "label/1",
    }
    return [b"card-1\0" + json.dumps(one).encode() for one in (MENTION, full, full | {"fraud": 1}, full | {"x": {}})]


def _headers() -> Sequence[bytes]:
    return [TRACE, b"a:1\nb:" + CARD_NUMBER.encode() + b"\n" + CARD_NUMBER.encode() + b":2", b"x:" + b"y" * 2000, b""]


def _dead_letters() -> Sequence[bytes]:
    found = []
    sent_before, odd = [("redriven-from", b"transactions:3:4"), ("a", None)], [("redriven-from", b"\xe1")]
    for headers, ms in (([], LATEST_MS), (sent_before, LATEST_MS), (odd, LATEST_MS), ([], LATEST_MS * 10**6)):
        record = FetchedRecord("transactions", 3, 7, ms, 0, b"card-1", json.dumps(PAYMENT).encode(), headers)
        letter = DeadLetter(record, DeadLetterCode.UNDECIDABLE, "why").to_record(
            LetterOrigin("blue", values="redacted")
        )
        lines = b"\n".join(name.encode() + b":" + (value or b"") for name, value in letter.headers)
        found.append(lines + b"\0" + (letter.value or b""))
    return found


def _scores() -> Sequence[bytes]:
    values = [one.value or b"" for one in scored(4).outgoing]
    side = {"digest": MODELS[0], "score": 0.5, "band": 500, "decision": "review"}
    compared = {name: json.loads(values[0])[name] for name in ("transaction_id", "card_id", "occurred_at", "currency")}
    compared |= {"amount_minor": 1, "live": side, "challenger": side, "decision_changed": False, "revision": 1}
    compared |= {"source": {"topic": "t", "partition": 0, "offset": 3}, "compared_at": "2026-01-01T00:00:00.000Z"}
    far = json.dumps(json.loads(values[0]) | {"epoch": 2**63}).encode()
    return [b"\n".join(values), *values[:2], json.dumps(compared).encode(), far]


def _commands() -> Sequence[bytes]:
    named = {name: value for name, value in COMMAND.items() if name not in {"model", "watch_seconds"}}
    of_partition = named | {"topic": "transactions", "partition": 3}
    odd = [COMMAND | {"kind": "challenge"}, named | {"kind": "rollback"}, named | {"kind": "demote", "issued_at": 5}]
    odd += [
        of_partition | {"kind": "accept_loss", "log": 1, "up_to": 7, "first": 3},
        of_partition | {"kind": "skip", "offset": 9},
    ]
    odd += [named | {"kind": "split", "arms": {"a": 100}, "share_bp": 5}, COMMAND | {"evidence": {"a": [1.5]}}]
    arms = {name: {"model": MODELS[0], "share_bp": 100} for name in "ab"}
    odd += [named | {"kind": "split", "arms": arms, "exclude": ["card-1"], "salt": "s"}]
    hidden = {"exclude": ["h1=" + "0f" * 16], "exclude_key_check": "f0" * 16}
    odd += [named | {"kind": "split", "arms": arms, **hidden}]
    odd += [named | {"kind": "end_split", "winner": "a"}]
    odd += [COMMAND | {"issued_at": "2026-06-31T00:00:00.000Z"}, COMMAND | {"expires_at": "2026-01-01T00:00:60.000Z"}]
    return [json.dumps(one).encode() for one in (COMMAND, *odd)]


def _event_log() -> list[bytes]:
    events = [
        accepted(1),
        accepted(2, "challenge", MODELS[1], watch_until="2026-01-02T00:00:00.000Z"),
        event("candidate", 2, "e-3", command_id="c-3", model=MODELS[2]),
        event("ready", 2, "e-4", command_id="c-3", model=MODELS[2], probe_hash=MODELS[0]),
        accepted(3, "promote", MODELS[2], watch_until="2026-01-02T00:00:00.000Z", event_id="e-5"),
        event("cutover", 3, "e-6", partition=1, offset=17),
        event("shadow", 3, "e-7", model=MODELS[1], compared=5, skipped=2, failed=1),
        accepted(3, "accept_loss", topic="transactions", partition=1, log=1, up_to=7, topic_id="id", event_id="e-8"),
        accepted(3, "skip", topic="transactions", partition=1, offset=8, event_id="e-9"),
        accepted(4, "roll_back", event_id="e-10"),
        accepted(5, "demote", event_id="e-11", deployment="other"),
        accepted(5, "split", arms={"a": AcceptedArm(MODELS[2], 100)}, salt="s", exclude=("card-1",), event_id="e-12"),
        accepted(6, "end_split", MODELS[2], winner="a", event_id="e-13"),
    ]
    return [encode_record(one) for one in events]


def _events() -> Sequence[bytes]:
    values = _event_log()
    return [b"\n".join(values), b"\n".join((*values[:2], *restore_of(values), values[2])), *values]


def _snapshots() -> Sequence[bytes]:
    seal = SnapshotSeal(SnapshotScope("here", "model-events", "default"), (b"k" * 32,))
    return [seal.write(Lineup("default"), _event_log()[:count]) for count in (0, 1, 13)]


def _artifacts() -> Sequence[bytes]:
    files = artifact()
    return [b"\0".join(files[name] for name in sorted(files))]


def _model_texts() -> Sequence[bytes]:
    return [artifact()["model.txt"], artifact(seed=3)["model.txt"]]


def _model_files() -> Sequence[bytes]:
    named, nameless = train(), train(("Column_0", "Column_1", "Column_2"), seed=3)
    texts = [named.model_to_string(), nameless.model_to_string()]
    return [*(text.encode() for text in texts), texts[0].replace("[seed: 0]", "[seed: 1e999]").encode()]


def _probes() -> Sequence[bytes]:
    store = MemoryStore(stored_checks.default_set())
    earlier = [
        {**stored_histories.PAYMENT, "id": f"t{at}", "offset": at, "ms": stored_histories.NOW_MS - at} for at in (2, 3)
    ]
    store.observe_now(transactions(earlier))
    batch = transactions([stored_histories.PAYMENT])
    return [write_probe(batch, store.observe_now(batch), 0)]


def _histories() -> Sequence[bytes]:
    found = []
    for number, kind in enumerate(stored_checks.KINDS):
        entry = stored_histories.history(kind)
        found += [bytes([number]) + entry.incomplete_header(7)]
        for count in range(1, 4):
            row = {
                **stored_histories.PAYMENT,
                "id": f"t{count}",
                "offset": count,
                "ms": stored_histories.NOW_MS + count,
            }
            entry.append(rows_by_entity(transactions([row]), (Entity.CARD, kind))[kind].rows[0], int(row["ms"]))
            found.append(bytes([number]) + entry.header() + entry.rows.tobytes())
    return found


def _redis_states() -> Sequence[bytes]:
    servers = Servers((Master("a" * 40, "run", "lead", promoted=False),) * 2, frozenset({"b" * 40}))
    hashes = (
        (b"transactions:3", b"5 7 9 0", b"labels:0", b"1 1 1 1"),
        (b"transactions:3", b"77", b"labels:0", b"88", b"void", b"1"),
        (b"137438953472", b"12", b"4294967296", b"15"),
        (stored_checks.LAYOUT.key(Entity.CARD, 5), b"1700000000000"),
        (b"labels:" + b"9" * 5_000, b"1 1 1 1"),
    )
    return [
        b"7",
        b"7 card=3196800000,merchant=3801600000",
        b"7\ncard 1/3196800000\nmerchant 1/3600000 3600000/1296000000",
        servers.text.encode(),
        *map(b"\0".join, hashes),
        b"9" * 5_000 + b"\ncard 1/5",
    ]


def _challenger_replies() -> Sequence[bytes]:
    loaded = frame(encode_message(Loaded("a" * 64, "f")))
    compared = [
        CompareResult((b"{}",), (0.25,), (Decision.APPROVE,), 1, 2),
        CompareResult((None,), (None,), (None,), 1, 2, "why"),
    ]
    odd = [b"\x81\xa4type\xa6\xe6oaded", b"\x82\xa4type\xa6Loaded\xa1x" + b"\x91" * 5_000 + b"\xc0"]
    talk = b"".join((loaded, *(frame(encode_message(one)) for one in compared)))
    return [loaded, talk, loaded * 2, *map(frame, odd)]


TARGETS = {
    "record-batches": Target(topic_checks.check_record_batches, _record_batches),
    "transactions": Target(topic_checks.check_transactions, _transactions),
    "labels": Target(topic_checks.check_labels, _labels),
    "headers": Target(topic_checks.check_headers, _headers),
    "dead-letters": Target(topic_checks.check_dead_letters, _dead_letters),
    "scores": Target(topic_checks.check_scores, _scores),
    "commit-notes": Target(
        topic_checks.check_commit_notes, lambda: [b"[1,2,3,4]", b'[7,9,3,12,"0123456789abcdef","topic-id"]']
    ),
    "commands": Target(control_checks.check_commands, cache(_commands)),
    "events": Target(control_checks.check_events, _events),
    "snapshots": Target(control_checks.check_snapshots, _snapshots),
    "artifacts": Target(stored_checks.check_artifacts, cache(_artifacts)),
    "model-texts": Target(stored_checks.check_model_texts, cache(_model_texts)),
    "model-files": Target(stored_checks.check_model_files, cache(_model_files)),
    "probes": Target(stored_checks.check_probes, cache(_probes)),
    "histories": Target(stored_checks.check_histories, _histories),
    "redis-states": Target(stored_checks.check_redis_states, _redis_states),
    "challenger-replies": Target(stored_checks.check_challenger_replies, _challenger_replies),
}

"""Writes `clients/conformance/cases.jsonl.gz`, by which a client in any language is tested.

    $ python tests/support/conformance.py

What is expected is worked out by the words of the contract, from all records before each, and not by `ValidScores`.
The format is in the README beside the file.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FILE = Path(__file__).resolve().parents[2] / "clients/conformance/cases.jsonl.gz"
VALIDITY_CASES, ARM_CASES = 10_000, 1_000
SEED = 91
OF_A_TERM, OF_A_GENERATION = 2**32, 2**10
"""An epoch is term, generation and attempt in one number."""
LAST_EPOCH, LAST_OFFSET, LAST_LOG = 2**63 - 1, 2**44 - 1, 511

Draw = Callable[[int], int]
"""Returns a number from 0 to below its argument."""
Standings = Mapping[int, tuple[int, int, int]]
"""By partition: the highest epoch, and log and offset of the last valid score; -1, 0 and -1 before the first."""

SCORE = (
    '{"schema":"score/1","transaction_id":"t-@log-@offset","card_id":"c-1","merchant_id":"m-1",'
    '"occurred_at":"2026-01-31T12:00:00.000Z","amount_minor":1999,"currency":"EUR","score":0.25,"band":500,'
    '"decision":"approve","decided_by":"model","model":{"name":"cards","version":"7","digest":"@digest"},'
    '"arm":"live","deployment":"default","revision":3,"fingerprint":"f","code_version":"0.1.0","features":null,'
    '"positions":{"history_epoch":1,"card":2,"merchant":3},"degraded":[],"dropped":[],"epoch":@epoch,'
    '"source":{"topic":"transactions","partition":@partition,"offset":@offset,"log":@log},'
    '"scored_at":"2026-01-31T12:00:00.007Z","latency_ms":7}'
).replace("@digest", "0f" * 32)
WITHOUT_LOG = (
    '{"later":{"epoch":1,"source":{"offset":-1}},"source" : {"offset":@offset, "partition":@partition,'
    '"topic":"transactions"},\n"epoch": @epoch ,'
    + SCORE[1:].replace(',"epoch":@epoch', "").replace("@log", "0").partition(',"source"')[0]
    + ',"scored_at":"2026-01-31T12:00:00.007Z","latency_ms":7}'
)
"""Another order, blanks, and a field of a later version, which readers ignore; and no log, which stands for 0."""


class Record(NamedTuple):
    """A record: a score of this epoch and source, or an unreadable value by its name; neither is a tombstone."""

    partition: int
    score: tuple[int, int, int] | None = None
    unreadable: str | None = None
    states_log: bool = True

    def written(self) -> list[Any]:
        """Return its form in the file."""
        if self.score is None:
            return [self.partition, self.unreadable]
        epoch, log, offset = self.score
        return [self.partition, epoch, offset, *([log] if self.states_log else [])]


def _damaged() -> dict[str, bytes]:
    """Return values that are no `score/1`; who takes one for a score counts every later one as void."""
    good = SCORE.replace("@epoch", "4611686018427387904").replace("@offset", "17592186044415").replace("@log", "511")
    good = good.replace("@partition", "0")
    assert json.loads(good)["source"]["log"] == LAST_LOG
    changes = {
        "another schema": ('"score/1"', '"score/2"'),
        "epoch absent": ('"epoch":4611686018427387904,', ""),
        "epoch null": ('"epoch":4611686018427387904', '"epoch":null'),
        "epoch as a text": ('"epoch":4611686018427387904', '"epoch":"4611686018427387904"'),
        "epoch with a fraction": ('"epoch":4611686018427387904', '"epoch":461.5'),
        "epoch below 0": ('"epoch":4611686018427387904', '"epoch":-1'),
        "epoch of 2^63": ('"epoch":4611686018427387904', '"epoch":9223372036854775808'),
        "offset absent": ('"offset":17592186044415,', ""),
        "offset below 0": ('"offset":17592186044415', '"offset":-1'),
        "offset of 2^44": ('"offset":17592186044415', '"offset":17592186044416'),
        "log null": ('"log":511', '"log":null'),
        "log below 0": ('"log":511', '"log":-1'),
        "log of 512": ('"log":511', '"log":512'),
        "source null": ('"source":{', '"source":null,"sauce":{'),
        "decision absent": ('"decision":"approve",', ""),
        "transaction null": ('"transaction_id":"t-511-17592186044415"', '"transaction_id":null'),
        "NaN": ('"latency_ms":7', '"latency_ms":NaN'),
        "cut off": ('"latency_ms":7}', '"late'),
        "something behind it": ('"latency_ms":7}', '"latency_ms":7}{}'),
    }
    for name, (text, _) in changes.items():
        assert good.count(text) == 1, name
    return {
        "empty": b"",
        "a list": b"[]",
        "an empty object": b"{}",
        "a number": b"7",
        "not JSON": b"no score",
        "not UTF-8": good.replace("cards", "card@").encode().replace(b"@", b"\xff"),
        "nested": b"[" * 5_000,
        **{name: good.replace(text, wrong).encode() for name, (text, wrong) in changes.items()},
    }


UNREADABLE = _damaged()


def value_of(record: Sequence[Any], score: str, without_log: str, values: Mapping[str, bytes]) -> bytes | None:
    """Return the value of a record in the file, as a client's own test makes it."""
    match record:
        case [_, None]:
            return None
        case [_, str() as name]:
            return values[name]
    partition, epoch, offset, *log = record
    text = score.replace("@log", str(log[0])) if log else without_log
    text = text.replace("@partition", str(partition)).replace("@epoch", str(epoch)).replace("@offset", str(offset))
    return text.encode()


# --- what is expected


class Expected(NamedTuple):
    """The indices of the valid records, how many scores are void, how many records unreadable, and the state after."""

    valid: list[int]
    void: int
    unreadable: int
    after: dict[int, tuple[int, int, int]]


def expected_of(records: Sequence[Record], before: Standings) -> Expected:
    """Apply the contract's words: for each score, look at all that came before it on its partition."""
    valid = list[int]()
    for at, record in enumerate(records):
        if record.score is not None and _is_valid(record, records[:at], valid, before):
            valid.append(at)
    readable = [at for at, record in enumerate(records) if record.score is not None]
    partitions = {*before, *(records[at].partition for at in readable)}
    after = {
        partition: (_highest(partition, records, before), *_last(partition, records, valid, before))
        for partition in sorted(partitions)
    }
    return Expected(valid, len(readable) - len(valid), len(records) - len(readable), after)


def _is_valid(record: Record, earlier: Sequence[Record], valid: Sequence[int], before: Standings) -> bool:
    """Its epoch is not below the highest so far, and its log and offset are above those of the last valid one."""
    epoch, log, offset = record.score or (-1, 0, -1)
    return epoch >= _highest(record.partition, earlier, before) and (log, offset) > _last(
        record.partition, earlier, valid, before
    )


def _highest(partition: int, records: Sequence[Record], before: Standings) -> int:
    stored = before[partition][0] if partition in before else -1
    return max([stored, *(one.score[0] for one in records if one.score and one.partition == partition)])


def _last(partition: int, records: Sequence[Record], valid: Sequence[int], before: Standings) -> tuple[int, int]:
    for at in reversed(valid):
        score = records[at].score
        if records[at].partition == partition and score is not None:
            return score[1], score[2]
    return before[partition][1:] if partition in before else (0, -1)


def expected_bucket(salt: str, card_id: str) -> int:
    """Return the bucket by the contract's words."""
    digest = hashlib.blake2b(card_id.encode("utf-8"), key=salt.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 10_000


def expected_arm(card_bucket: int, shares: Mapping[str, int]) -> str:
    """Return the arm by the contract's words: ranges one behind the other, in the order of the arms' names."""
    end = 0
    for name in sorted(shares):
        end += shares[name]
        if card_bucket < end:
            return name
    return "live"


# --- the cases


@dataclass(slots=True)
class _History:
    """What happens on one partition: owners in turn, zombies among them, a topic that is made anew."""

    partition: int
    draw: Draw
    term: int
    generation: int = 1
    attempt: int = 0
    log: int = 0
    offset: int = -1
    epochs: list[int] = field(default_factory=list)

    def next(self) -> Record:
        """Return what the partition's next record is."""
        steps = (
            *([self._decide] * 6),
            *([self._new_owner, self._zombie] * 2),
            *(self._attempt, self._new_term, self._new_log, self._old_log),
            *(self._unreadable, self._tombstone),
        )
        return steps[self.draw(len(steps))]()

    def _decide(self) -> Record:
        """The owner decides the next offset, or one behind some that were refused."""
        return self._score(self._epoch(), self.log, self.offset + 1 + (self.draw(4) == 0) * self.draw(9))

    def _new_owner(self) -> Record:
        """It goes on, or decides again what the one before it decided, which is void."""
        self.generation, self.attempt = self.generation + 1 + self.draw(2), 0
        return self._score(self._epoch(), self.log, self.offset + 1 - self.draw(3))

    def _zombie(self) -> Record:
        """A worker that owned the partition before, or still does, writes once more."""
        return self._score(self._earlier_epoch(), self.log, self.offset + 1 - self.draw(2))

    def _attempt(self) -> Record:
        self.attempt += 1
        return self._score(self._epoch(), self.log, self.offset + self.draw(2))

    def _new_term(self) -> Record:
        self.term, self.generation, self.attempt = self.term + 1, 1, 0
        return self._score(self._epoch(), self.log, self.offset + 1)

    def _new_log(self) -> Record:
        """The topic was made anew, and its offsets begin again."""
        self.log, self.offset = self.log + 1, -1
        self.generation += self.draw(2)
        return self._score(self._epoch(), self.log, self.draw(2))

    def _old_log(self) -> Record:
        return self._score(self._earlier_epoch(), max(self.log - self.draw(2), 0), self.offset + 5)

    def _unreadable(self) -> Record:
        names = list(UNREADABLE)
        return Record(self.partition, unreadable=names[self.draw(len(names))])

    def _tombstone(self) -> Record:
        return Record(self.partition)

    def _score(self, epoch: int, log: int, offset: int) -> Record:
        offset = max(offset, 0)
        self.epochs.append(epoch)
        if log == self.log:
            self.offset = max(self.offset, offset)
        return Record(self.partition, (epoch, log, offset), states_log=log > 0 or self.draw(2) == 0)

    def _epoch(self) -> int:
        return self.term * OF_A_TERM + self.generation * OF_A_GENERATION + self.attempt

    def _earlier_epoch(self) -> int:
        return self.epochs[self.draw(len(self.epochs))] if self.epochs else self._epoch()


def _owners(draw: Draw) -> list[Record]:
    """Return records as owners and zombies write them."""
    histories = [_History(partition, draw, term=draw(3)) for partition in range(1 + draw(3))]
    return [histories[draw(len(histories))].next() for _ in range(1 + draw(12))]


def _dense(draw: Draw) -> list[Record]:
    """Return scores of few epochs, logs and offsets, in any order, so that many are equal."""
    return [_any_score(draw, range(3), range(2), range(4)) for _ in range(1 + draw(8))]


def _extreme(draw: Draw) -> list[Record]:
    """Return scores at the bounds, and where a 64-bit float no longer tells epochs apart."""
    epochs = (0, 2**53 - 1, 2**53, 2**53 + 1, LAST_EPOCH - 1, LAST_EPOCH)
    return [_any_score(draw, epochs, (0, 1, LAST_LOG), (0, 1, LAST_OFFSET)) for _ in range(1 + draw(8))]


def _any_score(draw: Draw, epochs: Sequence[int], logs: Sequence[int], offsets: Sequence[int]) -> Record:
    score = epochs[draw(len(epochs))], logs[draw(len(logs))], offsets[draw(len(offsets))]
    return Record(draw(2), score, states_log=score[1] > 0 or draw(2) == 0)


def _validity_case(draw: Draw) -> dict[str, Any]:
    """Return a case; in a quarter of them the first records have been read before, and their standings are stored."""
    records = (_owners, _owners, _owners, _dense, _dense, _extreme)[draw(6)](draw)
    read = draw(len(records)) if draw(4) == 0 else 0
    before = expected_of(records[:read], {}).after
    expected = expected_of(records[read:], before)
    return {
        "standings": before,
        "records": [record.written() for record in records[read:]],
        **expected._asdict(),
    }


def _arm_case(draw: Draw) -> dict[str, Any]:
    """Return a canary or a split of up to four arms, whose shares may leave nothing to live; and a card."""
    names = [("canary",), ("b", "a"), ("new", "Old", "a-1"), ("z", "y", "x", "w")][draw(4)]
    shares = {name: 1 + draw(9_999 // len(names)) for name in names}
    if draw(8) == 0:
        shares[names[0]] += 10_000 - sum(shares.values())
    salt = ("s", "r-2026-11", "x" * 64, f"salt-{draw(1_000)}")[draw(4)]
    card_id = ("c", f"card-{draw(10**6)}", "a" * 64, "b" * (1 + draw(64)))[draw(4)]
    found = expected_bucket(salt, card_id)
    return {
        "salt": salt, "card_id": card_id, "shares": shares, "bucket": found, "arm": expected_arm(found, shares)
    }  # fmt: skip


def lines() -> Iterator[str]:
    """Yield the lines of the file."""
    bits = np.random.PCG64(SEED)

    def draw(below: int) -> int:
        return int(bits.random_raw()) % below

    values = {name: base64.b64encode(value).decode() for name, value in UNREADABLE.items()}
    yield _line({"format": 1, "score": SCORE, "score_without_log": WITHOUT_LOG, "values": values})
    yield from (_line(_validity_case(draw)) for _ in range(VALIDITY_CASES))
    yield from (_line(_arm_case(draw)) for _ in range(ARM_CASES))


def _line(case: dict[str, Any]) -> str:
    return json.dumps(case, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    FILE.write_bytes(gzip.compress("".join(lines()).encode(), mtime=0))

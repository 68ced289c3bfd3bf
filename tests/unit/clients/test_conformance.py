"""The cases for clients: the file is what its generator writes, ours passes, and each likely mistake fails."""

import base64
import gzip
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

import pytest

from fraudstream_client import Standing, ValidScores, arms_of, bucket, log_and_offset, place_of
from support.conformance import ARM_CASES, FILE, VALIDITY_CASES, lines, value_of
from support.stream_records import Told

Case = dict[str, Any]


class Cases(NamedTuple):
    """The content of the file."""

    header: Case
    validity: list[Case]
    arms: list[Case]


@cache
def cases() -> Cases:
    header, *rest = (json.loads(line) for line in gzip.decompress(FILE.read_bytes()).splitlines())
    return Cases(header, rest[:VALIDITY_CASES], rest[VALIDITY_CASES:])


def test_the_file_is_what_the_generator_writes() -> None:
    assert gzip.decompress(FILE.read_bytes()).decode() == "".join(lines())
    assert FILE.stat().st_size < 1_000_000


def test_valid_scores_passes_every_case() -> None:
    header, validity, _ = cases()
    values = {name: base64.b64decode(text) for name, text in header["values"].items()}
    assert len(validity) == VALIDITY_CASES
    for case in validity:
        valid = ValidScores[Told](
            {int(one): Standing(epoch, place_of(log, at)) for one, (epoch, log, at) in case["standings"].items()}
        )
        records = [
            Told(value_of(record, header["score"], header["score_without_log"], values), partition=record[0], offset=at)
            for at, record in enumerate(case["records"])
        ]
        passed = [record.offset for record, _ in valid.of(records)]
        after = {
            str(one): [found.highest_epoch, *log_and_offset(found.last_place)] for one, found in valid.standings.items()
        }
        found = {"valid": passed, "void": valid.void, "unreadable": valid.unreadable, "after": after}
        assert found == {name: case[name] for name in found}, case


def test_arms_and_buckets_pass_every_case() -> None:
    assert len(cases().arms) == ARM_CASES
    for case in cases().arms:
        assert bucket(case["salt"], case["card_id"]) == case["bucket"], case
        assert arms_of([case["card_id"]], case["shares"], case["salt"]) == [case["arm"]], case


def test_the_cases_have_all_that_happens_to_a_partition() -> None:
    header, validity, arms = cases()
    named = {record[1] for case in validity for record in case["records"] if len(record) == 2}
    assert named == {None, *header["values"]}
    assert sum(bool(case["standings"]) for case in validity) > 500
    assert sum(len(case["after"]) > 1 for case in validity) > 2_000
    assert sum(case["void"] for case in validity) > 5_000
    assert {case["arm"] for case in arms} >= {"live", "canary", "a", "b", "Old"}


# --- mistakes that a client might make


@dataclass(slots=True)
class Reader:
    """The rule once more, over the file's own form, with at most one mistake in it."""

    mistake: str = ""
    standings: dict[int, tuple[float, int, int]] = field(default_factory=dict)

    def is_valid(self, partition: int, epoch: float, log: int, offset: int) -> bool:
        partition, epoch, log, offset = self._taken(partition, epoch, log, offset)
        highest, last_log, last_offset = self.standings.get(partition, (-1, 0, -1))
        place, last = (log, offset), (last_log, last_offset)
        valid = self._is_above(epoch, highest) and self._is_behind(place, last, is_new=epoch > highest)
        if valid:
            last_log, last_offset = log, offset
        if valid or self.mistake != "void scores raise no epoch":
            highest = epoch if self.mistake == "the last epoch, not the highest" else max(highest, epoch)
        self.standings[partition] = highest, last_log, last_offset
        return valid

    def _taken(self, partition: int, epoch: float, log: int, offset: int) -> tuple[int, float, int, int]:
        match self.mistake:
            case "no terms":
                epoch = int(epoch) % 2**32
            case "no attempts":
                epoch = int(epoch) // 2**10
            case "epochs as floats":
                epoch = float(epoch)
            case "no logs":
                log = 0
            case "one partition":
                partition = 0
        return partition, epoch, log, offset

    def _is_above(self, epoch: float, highest: float) -> bool:
        match self.mistake:
            case "a score needs a higher epoch":
                return epoch > highest
            case "no epochs":
                return True
        return epoch >= highest

    def _is_behind(self, place: tuple[int, int], last: tuple[int, int], *, is_new: bool) -> bool:
        match self.mistake:
            case "the same place twice":
                return place >= last
            case "a new owner may repeat":
                return place > last or is_new
            case "log or offset above":
                return place[0] > last[0] or place[1] > last[1]
        return place > last


def failed(mistake: str) -> Iterator[Case]:
    """Yield the cases that a reader with a mistake fails."""
    for case in cases().validity:
        stored = {} if mistake == "stored standings" else case["standings"]
        reader = Reader(mistake, {int(one): tuple(standing) for one, standing in stored.items()})
        passed = []
        for at, (partition, *score) in enumerate(case["records"]):
            if len(score) < 2:
                continue
            epoch, offset, log = score if len(score) == 3 else (*score, 0)
            if reader.is_valid(partition, epoch, log, offset):
                passed.append(at)
        if passed != case["valid"]:
            yield case


MISTAKES = (
    "a new owner may repeat",
    "a score needs a higher epoch",
    "epochs as floats",
    "log or offset above",
    "no attempts",
    "no epochs",
    "no logs",
    "no terms",
    "one partition",
    "stored standings",
    "the last epoch, not the highest",
    "the same place twice",
    "void scores raise no epoch",
)


def test_a_reader_without_a_mistake_fails_no_case() -> None:
    assert list(failed("")) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_reader_with_a_mistake_fails_many_cases(mistake: str) -> None:
    assert sum(1 for _ in failed(mistake)) >= 10


def test_arms_in_another_order_than_that_of_their_names_fail() -> None:
    wrong = 0
    for case in cases().arms:
        ends = list(accumulate(case["shares"].values()))
        names = [*case["shares"], "live"]
        wrong += names[bisect_right(ends, case["bucket"])] != case["arm"]
    assert wrong > 100

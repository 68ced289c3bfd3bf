"""The sample of a topic's keys: cards with their partitions, within a bounded time."""

import pytest

from fraudstream.ops.repair import key_sample
from fraudstream.ops.repair.key_sample import LONGEST_CARD, sample_keys
from stream.settings import Settings
from support.scans import GivenScan, give_scans
from support.stream_records import Told


@pytest.mark.parametrize("hangs", [False, True])
async def test_keys_are_sampled_until_the_ends_or_until_the_time_is_over(
    hangs: bool,  # noqa: FBT001 - a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_partition = [Told(b"", b"card-1", 0, 1), Told(b"", b"card-2", 0, 2), Told(b"", b"card-1", 0, 3)]
    another = [Told(b"", b"card-1", 2, 1), Told(b"", None, 2, 2), Told(b"", b"x" * (LONGEST_CARD + 1), 2, 3)]

    scan = GivenScan([one_partition, another], {0: 70, 1: 0, 2: 9}, hangs=hangs)
    asked = give_scans(monkeypatch, key_sample, {"transactions": scan})
    found = await sample_keys(Settings(), "transactions", 500, 0.05 if hangs else 60.0)
    ((topic, since_ms, before),) = asked
    assert (topic, since_ms > 2**49, before) == ("transactions", True, 500)
    assert (found.topic, found.partitions, found.records, found.without_card) == ("transactions", 3, 6, 2)
    assert found.placements == {(b"card-1", 0), (b"card-2", 0), (b"card-1", 2)}
    assert found.is_whole is not hangs

"""The benchmark `codecs` measures real scores; its codecs are those of the setting, with readers that read them."""

import json
from typing import get_args

from benchmarks.parts.codecs import CODECS, SIZES, measure_codecs
from stream.engine.decompression import decompress
from stream.engine.publisher import Outgoing
from stream.setting_types import Compression
from support import record_batches


def test_the_codecs_of_the_setting_are_measured_and_read_back() -> None:
    used = {codec.name: codec.number for codec in CODECS if codec.is_used}
    assert used == record_batches.CODECS
    assert set(used) == set(get_args(Compression))
    plain = b'{"score":0.25}' * 300
    for codec in CODECS:
        packed = codec.compress(plain)
        assert (decompress(codec.number, packed) if codec.number else packed) == plain
        assert len(packed) * 5 < len(plain) or codec.name == "none"


def test_scores_take_fewer_bytes_the_more_of_them_are_in_a_batch() -> None:
    values = [json.dumps({f"card_count_{at}d": at * number for at in range(40)}).encode() for number in range(512)]
    lines = measure_codecs([Outgoing(at, b"card-%d" % at, value, ()) for at, value in enumerate(values)], rounds=1)
    assert [(line.batch, line.codec) for line in lines] == [(size, codec.name) for size in SIZES for codec in CODECS]
    by_size = {line.batch: line for line in lines if line.codec == "zstd"}
    alone, eight, *many = (by_size[size].bytes_a_score for size in SIZES)
    assert alone > 1.5 * eight
    assert all(eight > each for each in many)
    assert by_size[512].ratio > 3
    assert all(line.ratio == 1 for line in lines if line.codec == "none")
    exact = sum(len(values[at]) for at in range(512)) / 512
    assert exact < lines[0].bytes_a_score < exact + 100, "a batch of one has a header, a key and lengths"

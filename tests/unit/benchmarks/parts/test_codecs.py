"""The benchmark `codecs` measures real scores; its codecs are those of the setting, with readers that read them."""

import json
from typing import get_args

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.parts import codecs as module
from benchmarks.parts.codecs import CODECS, SIZES, measure_codecs
from models.repository import Repository
from stream.engine.decompression import DECOMPRESSORS
from stream.engine.publisher import Outgoing
from stream.settings import Compression
from support import record_batches
from support.fleet.payments import put_model


def test_the_codecs_of_the_setting_are_measured_and_read_back() -> None:
    used = {codec.name: codec.number for codec in CODECS if codec.is_used}
    assert used == record_batches.CODECS
    assert set(used) == set(get_args(Compression))
    plain = b'{"score":0.25}' * 300
    for codec in CODECS:
        packed = codec.compress(plain)
        assert DECOMPRESSORS.get(codec.number, bytes)(packed) == plain
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


def test_the_command_measures_scores_of_a_model_of_the_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = str(tmp_path_factory.mktemp("models"))
    digest = put_model(folder)
    assert Repository(folder).resolve(digest) == digest
    monkeypatch.setattr(module, "SCORES", 64)
    monkeypatch.setattr(module, "HISTORY", 256)
    monkeypatch.setattr(module, "CODECS", CODECS[:2])
    monkeypatch.setenv("FRAUDSTREAM_MODELS", folder)
    done = CliRunner().invoke(main, ["codecs", "--model", digest[:12], "--rounds", "1", "--json"])
    assert done.exit_code == 0, done.output
    lines = json.loads(done.stdout)["lines"]
    alone = {line["codec"]: line for line in lines if line["batch"] == 1}
    assert alone.keys() == {"none", "gzip"}
    assert 1_500 < alone["none"]["bytes_a_score"] < 3_000, "a score with all features"
    assert alone["gzip"]["compress_us"] > alone["none"]["compress_us"] >= 0
    shown = CliRunner().invoke(main, ["codecs", "--model", digest[:12], "--rounds", "1"])
    assert "gzip" in shown.stdout
    assert "smaller" in shown.stdout

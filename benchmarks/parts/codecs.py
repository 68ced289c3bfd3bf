"""Bytes and CPU of real scores in record batches, by codec and by the number of scores in a batch; and as events.

The scores are those of simulated payments and a model of the repository, encoded as a worker does. Codecs are called as
aiokafka's producer and our own consumer call them; other levels are measured beside them.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from time import thread_time_ns
from typing import Any, NamedTuple

import numpy as np
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from benchmarks.parts.stages import consumed
from features.memory_store import MemoryStore
from features.vector.sets import FeatureSets, Vectors
from fraudstream.bench.payments import payments
from models.loading import Model
from stream.clock import now_ms
from stream.contract.cloud_events import ScoreEvents
from stream.control.model_cache import ServingModels
from stream.engine.decompression import decompress
from stream.engine.publisher import Outgoing
from stream.pipeline import CODE_VERSION
from stream.scoring.decode import decode
from stream.scoring.encode import Scored, ScoreFrame, encode
from stream.scoring.score import score
from stream.scoring.tracing import NoTracing
from stream.settings import Settings

SIZES = (1, 8, 64, 512)
SCORES = 4_096
HISTORY = 20_000
_AT_ONCE = 256
_SKEW_MS = 10**15
_HEADER_BYTES = 61
"""Of a record batch; it is never compressed."""
_LARGEST = 1 << 26


class Codec(NamedTuple):
    """A codec at a level: its number in a batch, and what compresses the records; `is_used` if a setting selects it."""

    name: str
    number: int
    compress: Callable[[bytes], bytes]
    is_used: bool = False


CODECS = (
    Codec("none", 0, bytes, is_used=True),
    Codec("gzip", 1, gzip_encode, is_used=True),
    Codec("gzip, level 1", 1, partial(gzip_encode, compresslevel=1)),
    Codec("gzip, level 6", 1, partial(gzip_encode, compresslevel=6)),
    Codec("lz4", 3, lz4_encode, is_used=True),
    Codec("lz4, level 1", 3, partial(lz4_encode, level=1)),
    Codec("snappy", 2, snappy_encode, is_used=True),
    Codec("zstd", 4, zstd_encode, is_used=True),
    Codec("zstd, level 1", 4, partial(zstd_encode, level=1)),
    Codec("zstd, level 9", 4, partial(zstd_encode, level=9)),
)
"""Those that a setting selects have aiokafka's levels: gzip 9, lz4 9, zstd 3."""


class CodecLine(NamedTuple):
    """A codec and a number of scores in a batch.

    Bytes of a score in the log, how many times fewer than without compression, and medians of CPU: microseconds of the
    worker to compress a score, and of a reader to decompress it.
    """

    codec: str
    batch: int
    bytes_a_score: float
    ratio: float
    compress_us: float
    decompress_us: float


def encoded_scores(settings: Settings, sets: FeatureSets, model: Model, sizes: tuple[int, int]) -> list[Outgoing]:
    """Return scores of simulated payments; `sizes` says how many, and how many payments are in the histories before."""
    batches = scored_batches(settings, sets, model, (*sizes, _AT_ONCE))
    return [one for batch in batches for one in batch.outgoing][-sizes[0] :]


def scored_batches(
    settings: Settings, sets: FeatureSets, model: Model, sizes: tuple[int, int, int]
) -> Iterator[Scored]:
    """Yield batches of decisions; `sizes`: of how many payments, after how many others, how many at once."""
    count, before, at_once = sizes
    records: Any = [consumed(sent, offset) for offset, sent in enumerate(payments(before + count, seed=1))]
    store, serving = MemoryStore(sets), ServingModels(1, model, None)
    live = model.fingerprint
    shared = (sets.by_fingerprint[live].names, live, CODE_VERSION, 1, {0: 1}, now_ms(), NoTracing().headers)
    frame = ScoreFrame(settings, *shared)
    for at in range(0, before, _AT_ONCE):
        store.observe_now(decode(records[at : min(at + _AT_ONCE, before)], _SKEW_MS).columns)
    for at in range(before, len(records), at_once):
        decoded = decode(records[at : at + at_once], _SKEW_MS)
        observed = store.observe_now(decoded.columns)
        vectors = Vectors(sets, decoded.columns, observed, np.ones(len(decoded.records), np.bool_))
        judged = (np.arange(len(decoded.records)), {live: vectors.of(live)}, score(serving, vectors))
        yield encode(frame, decoded, observed, judged)


class EventLine(NamedTuple):
    """What it costs to write a score as a CloudEvent, by the number of scores in a batch.

    Bytes of a score in the log as zstd compresses it, and medians of the worker's CPU in microseconds: to add the
    headers, and to put the records into a batch and compress it, without the headers and with them.
    """

    batch: int
    bytes_without: float
    bytes_with: float
    headers_us: float
    batch_us_without: float
    batch_us_with: float


def measure_events(settings: Settings, sets: FeatureSets, model: Model, rounds: int) -> list[EventLine]:
    """Measure batches of each size without and with the headers of CloudEvents, in turns."""
    (zstd,) = (codec for codec in CODECS if codec.name == "zstd")
    events, lines = ScoreEvents(settings.deployment), list[EventLine]()
    for size in SIZES:
        batches = list(scored_batches(settings, sets, model, (SCORES, HISTORY, size)))
        found = [_run_events(events, batches, zstd) for _ in range(rounds)]
        bytes_without, bytes_with, *times = (median(each) / SCORES for each in zip(*found, strict=True))
        lines.append(EventLine(size, bytes_without, bytes_with, *(ns / 1e3 for ns in times)))
    return lines


def _run_events(events: ScoreEvents, batches: Sequence[Scored], codec: Codec) -> tuple[int, int, int, int, int]:
    """Write all batches without and with headers: bytes of both, and nanoseconds of this thread for each step."""
    began = thread_time_ns()
    with_headers = [one.as_events(events, {0: 1}, 0) for one in batches]
    added_ns = thread_time_ns() - began
    found = []
    for some in (batches, with_headers):
        began = thread_time_ns()
        size = sum(len(codec.compress(_records_of(one.outgoing))) + _HEADER_BYTES for one in some)
        found.append((size, thread_time_ns() - began))
    (bytes_without, without_ns), (bytes_with, with_ns) = found
    return bytes_without, bytes_with, added_ns, without_ns, with_ns


def measure_codecs(scores: Sequence[Outgoing], rounds: int) -> list[CodecLine]:
    """Measure every codec with every size of batches, in turns."""
    lines = list[CodecLine]()
    for size in SIZES:
        plain = [_records_of(scores[at : at + size]) for at in range(0, len(scores), size)]
        spent: dict[str, list[tuple[int, int, int]]] = {codec.name: [] for codec in CODECS}
        for _ in range(rounds):
            for codec in CODECS:
                spent[codec.name].append(_run(codec, plain))
        uncompressed = sum(map(len, plain)) + len(plain) * _HEADER_BYTES
        for name, found in spent.items():
            packed, compressing_ns, decompressing_ns = (median(each) for each in zip(*found, strict=True))
            total = packed + len(plain) * _HEADER_BYTES
            times_us = (compressing_ns / len(scores) / 1e3, decompressing_ns / len(scores) / 1e3)
            lines.append(CodecLine(name, size, total / len(scores), uncompressed / total, *times_us))
    return lines


def _records_of(scores: Sequence[Outgoing]) -> bytes:
    """Return the records of a batch, the part that is compressed."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, _LARGEST)
    for number, one in enumerate(scores):
        builder.append(number, number, one.key, one.value, list(one.headers))
    return bytes(builder.build())[_HEADER_BYTES:]


def _run(codec: Codec, plain: Sequence[bytes]) -> tuple[int, int, int]:
    """Compress all batches, then decompress them: bytes, and nanoseconds of this thread for each."""
    began = thread_time_ns()
    packed = [codec.compress(one) for one in plain]
    compressed = thread_time_ns()
    for one in packed if codec.number else ():
        decompress(codec.number, one)
    return sum(map(len, packed)), compressed - began, thread_time_ns() - compressed

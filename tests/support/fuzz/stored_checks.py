"""Checks of what reads model artifacts and files, values in Redis, and the challenger's pipe: each takes any bytes."""

import asyncio
import json
import warnings
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import numpy as np

from features.declaration import FeatureSet, load
from features.errors import StoreRefusedError
from features.redis.append import read_epoch
from features.redis.cache import HEADER
from features.redis.connection import Connection
from features.redis.damage import DamagedHistories
from features.redis.keys import KeyLayout
from features.redis.progress import RepairProgress
from features.redis.retention import Coverage, EpochCoverage, read_coverage, read_retention
from features.redis.topology import read_servers
from fraudstream.lab.training.model_file import parse_model_file
from fraudstream.lab.training.request import ModelFileError
from models.artifact import FILES, read_artifact, write_artifact
from models.booster import Booster
from models.errors import DamagedArtifactError, ProbeError
from models.loading import load as load_model
from models.repository import Repository
from shadow.errors import ChallengerProcessError
from shadow.process import ChallengerProcess
from shadow.protocol import Compare, Setup, encode
from stream.control.probes import vectorise_probe
from support.features.stored_histories import NAMES as ENTITIES
from support.features.stored_histories import NOW_MS, history, use
from support.model_artifacts import FINGERPRINT, NAMES, history_vectors, rows

KINDS = tuple(ENTITIES)
LAYOUT = KeyLayout("", "default", 1)
MATRIX = rows(3)
_T = TypeVar("_T")


def check_artifacts(data: bytes) -> None:
    """Load an artifact, the contents of its files separated by NUL, in the order of their names."""
    contents = dict(zip(sorted(FILES), data.split(b"\0"), strict=False))
    with suppress(DamagedArtifactError):
        artifact = read_artifact(contents)
        assert read_artifact(write_artifact(artifact)) == artifact
    repository = cast("Repository", SimpleNamespace(fetch=lambda _: contents))
    load_model(repository, "0" * 64, {FINGERPRINT: _probe_vectors})


def _probe_vectors(histories: Sequence[bytes]) -> Any:
    """Compute stand-in features, with the error of a genuine set for what cannot be read."""
    try:
        return history_vectors(list(histories))
    except Exception as error:  # the stand-in itself is not tested
        raise ProbeError(str(error)) from error


def check_model_texts(data: bytes) -> None:
    """Load a model from LightGBM's text, and score rows with it."""
    with suppress(DamagedArtifactError):
        booster = Booster(data.decode("ascii", "replace"), NAMES)
        assert booster.margins(MATRIX).shape == (len(MATRIX),)


def check_model_files(data: bytes) -> None:
    """Import a model from what LightGBM saves, and serve what is imported."""
    with suppress(ModelFileError):
        model = parse_model_file(data, Path("model.txt"), NAMES, by_position=True)
        assert Booster(model.text, NAMES).margins(MATRIX).shape == (len(MATRIX),)
        assert json.loads(json.dumps(model.parameters, allow_nan=False)) == model.parameters


def check_probes(data: bytes) -> None:
    """Compute the vector of a probe history of an artifact."""
    with suppress(ProbeError), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a value that is no payment's may overflow
        vectors = vectorise_probe(default_set())([data])
        assert vectors.shape[0] == 1


@cache
def default_set() -> FeatureSet:
    return load(None)


@cache
def wide_sets() -> tuple[FeatureSet, ...]:
    return (default_set(), load("features.extended_set"), load("features.hot_merchants_set"))


def check_histories(data: bytes) -> None:
    """Load a history, an entity's letter before it, append to it, compute all features with it, and compact it."""
    kind, value = KINDS[data[0] % len(KINDS) if data else 0], data[1:]
    which = wide_sets()[len(value) // 8 % 3]
    entries = {one: history(one) for one in which.retentions}
    if kind not in entries:
        return
    with suppress(StoreRefusedError), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a value that is no payment's may overflow
        if entries[kind].load(value):
            assert entries[kind].rows.nbytes == len(value) - HEADER.size
            use(which, entries)
        history(kind).splice_bytes(value)


class OneReply:
    """A connection whose scripts all return the same reply."""

    def __init__(self, reply: list[bytes]) -> None:
        self._reply = reply

    async def run(self, _script: str, calls: Sequence[object]) -> list[list[bytes]]:
        return [self._reply for _ in calls]

    async def values(self, keys: Sequence[object]) -> list[bytes | None]:
        return [b"7 card=1"] * len(keys)


def check_redis_states(data: bytes) -> None:
    """Read the values beside the histories: as a text, and as the fields and values of a hash, separated by NUL."""
    coverage = read_coverage(data)
    assert read_coverage(coverage.text.encode()) == coverage
    retention = read_retention(data)
    assert read_retention(retention.text) == retention
    assert retention.lacking((), coverage.cover) is not None
    for keep in retention.retentions.values():
        keep.bounds_ms(NOW_MS)
        keep.oldest_ms(NOW_MS)
    servers = read_servers(data)
    assert servers is None or read_servers(servers.text.encode()) == servers
    assert read_epoch(data) >= 0
    LAYOUT.parse(data)
    fields = data.split(b"\0")
    reply = fields[: len(fields) // 2 * 2]
    connection = cast("Connection", OneReply(reply))
    progress = RepairProgress(connection, LAYOUT)
    _result(progress.parts(EpochCoverage(7, Coverage({"card": 1}))))
    _result(progress.displaced(7)).among(np.zeros((1, 6), np.int64))
    _result(progress.checkpoints(Coverage({"card": 1})))
    _result(DamagedHistories(connection, LAYOUT, cast("Any", None), lambda: NOW_MS).read())


def _result(work: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast("_T", done.value)
    raise AssertionError("it waits")


class Pipes:
    """The process of a challenger that has already written `output`, and reads whatever it is sent."""

    returncode, pid = None, 0

    def __init__(self, output: bytes) -> None:
        self.stdin = SimpleNamespace(write=lambda _: None, drain=self.wait, close=lambda: None)
        self.stdout = asyncio.StreamReader()
        self.stdout.feed_data(output)
        self.stdout.feed_eof()

    async def wait(self) -> None:
        self.returncode = 0

    def kill(self) -> None:
        pass


def check_challenger_replies(data: bytes) -> None:
    """Read the replies of the challenger's process: one to a request to load a model, then to comparisons."""

    async def talk() -> None:
        process = ChallengerProcess(["never-started"], Setup("", "", 1), {})
        process._process = cast("Any", Pipes(data))
        with suppress(ChallengerProcessError):
            encode(await process.load("a" * 64))
            while True:
                encode(await process.compare(Compare("a" * 64, 1, bytes(8), (b"{}",)), 5))

    with asyncio.Runner() as runner:
        runner.run(talk())

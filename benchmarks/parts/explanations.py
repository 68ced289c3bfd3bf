"""Measure explanations: TreeSHAP by the depth of trees, and the time from a score to its explanation in an open loop.

Trees are trained on rows made up here, whose label needs interactions, so that they grow as deep as they may. The
stream's part writes alerts of a model of the repository to topics of its own; their features are its probe rows.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import RecordMetadata
from numpy.typing import NDArray

from fraudstream.bench.worker import cpu_seconds, own_names
from fraudstream.demo.services.processes import Child, free_port
from fraudstream.lab.dataset.injector import Injector, ScheduledRecord
from fraudstream_client.outputs import AlertExplanation, DecidedBy, Decision, ModelName, Positions, Score, Source
from metrics.ranking import average_precision
from models.artifact import matrix_of, read_artifact
from models.booster import Booster, FitRows, fit
from models.loading import Model
from models.policy import Floats
from models.repository import Repository
from models.times import format_time
from stream.clock import now_ms
from stream.errors import MeasurementError
from stream.kafka.client import connection_options, open_admin, producer_options
from stream.kafka.topics import EXPLANATIONS, SCORES, TRANSACTIONS, apply, layouts_of
from stream.settings import PREFIX, Settings
from stream.tasks import end_tasks

DEPTHS: tuple[int | None, ...] = (3, 4, 6, 8, None)
PARTITIONS = 4
_WIDTH, _ROWS, _TREES, _LEAVES = 45, 20_000, 150, 31
_REPEATS = 5
_START_SECONDS = 60.0
_DONE_SECONDS = 60.0
_COMMAND = (sys.executable, "-P", "-m", "fraudstream.cli", "explain")
_FIRST_ALERTS = 20
"""They load the model, and are not counted."""


class DepthLine(NamedTuple):
    """What rows cost at a limit of depth, at a batch size, and how well the trees rank rows that they were not shown.

    Attributes:
        max_depth: the limit; None: none.
        batch: the rows of a call.
        score_us: CPU microseconds of a row's score.
        contributions_us: CPU microseconds of a row's contributions.
        average_precision: on as many further rows.
    """

    max_depth: int | None
    batch: int
    score_us: float
    contributions_us: float
    average_precision: float | None

    @property
    def rows_a_second(self) -> float:
        """How many rows one process explains in a second, TreeSHAP alone."""
        return 1e6 / self.contributions_us


class StreamLine(NamedTuple):
    """Milliseconds from the time at which a score was due to its explanation at a consumer, and CPU of each alert."""

    rate: float
    alerts: int
    p50: float
    p99: float
    worst: float
    cpu_ms: float


def measure_depths(seed: int, batches: tuple[int, ...] = (1, 64)) -> list[DepthLine]:
    """Measure trees of each limit of depth, in turns; 150 trees of at most 31 leaves, 45 features."""
    matrix, frauds = _rows(seed)
    boosters = {depth: _trained(matrix[:_ROWS], frauds[:_ROWS], depth) for depth in DEPTHS}
    ranking = {
        depth: average_precision(frauds[_ROWS:] == 1, one.margins(matrix[_ROWS:])) for depth, one in boosters.items()
    }
    spent: dict[tuple[int | None, int], list[tuple[float, float]]] = {}
    for _ in range(_REPEATS):
        for depth, booster in boosters.items():
            for batch in batches:
                spent.setdefault((depth, batch), []).append(_times(booster, matrix[: max(batch, 64)], batch))
    return [
        DepthLine(*case, median(score for score, _ in times), median(shap for _, shap in times), ranking[case[0]])
        for case, times in spent.items()
    ]


def _rows(seed: int) -> tuple[Floats, NDArray[np.int8]]:
    """Return rows to train on and as many to rank, 2 % of them frauds, by interactions of some features."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(2 * _ROWS, _WIDTH))
    a, b, c, d, e, *others = matrix.T[:9]
    odds = a * b + c * d * (e > 0) + np.abs(np.array(others)).sum(axis=0) + random.normal(size=len(matrix))
    return matrix, (odds > np.quantile(odds, 0.98)).astype(np.int8)


def _trained(matrix: Floats, frauds: NDArray[np.int8], depth: int | None) -> Booster:
    names = tuple(f"f{column}" for column in range(_WIDTH))
    parameters = {
        "objective": "binary",
        "verbosity": -1,
        "num_threads": 1,
        "num_iterations": _TREES,
        "num_leaves": _LEAVES,
        "min_data_in_leaf": 20,
        "max_depth": -1 if depth is None else depth,
    }
    return Booster(fit(FitRows(matrix, np.arange(_ROWS), frauds), names, parameters, lambda _: None).text, names)


def _times(booster: Booster, rows: Floats, batch: int) -> tuple[float, float]:
    """Return the CPU microseconds of a row's score and contributions, over all rows in batches."""
    found = []
    for work in (booster.margins, booster.contributions):
        began = time.process_time()
        for at in range(0, len(rows), batch):
            work(rows[at : at + batch])
        found.append((time.process_time() - began) / len(rows) * 1e6)
    return found[0], found[1]


async def measure_stream(settings: Settings, model: Model, rate: float, seconds: float) -> StreamLine:
    """Start one process, write alerts at a rate, and measure how long after each its explanation arrives.

    Raises:
        MeasurementError: the process does not run, or alerts are not explained.
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    own = own_names(settings)
    vectors = matrix_of(
        read_artifact(Repository(settings.models).fetch(model.digest)).probe_rows.vectors,
        len(model.manifest.feature_names),
    )
    async with AsyncExitStack() as stack:
        await apply(own, PARTITIONS, 1)
        stack.push_async_callback(_delete_topics, own)
        producer = AIOKafkaProducer(**producer_options(own), linger_ms=1)
        await producer.start()
        stack.push_async_callback(producer.stop)
        child = _start(own)
        stack.callback(child.stop)
        run = _StreamRun(own, producer, child)
        reading = asyncio.create_task(run.consume())
        stack.push_async_callback(end_tasks, reading)
        alerts = _alerts(own, model, vectors)
        await run.explain([next(alerts) for _ in range(_FIRST_ALERTS)], rate, _START_SECONDS)
        return await run.explain([next(alerts) for _ in range(int(rate * seconds))], rate, _DONE_SECONDS)


class _StreamRun:
    """One run of the stream's part: what was due when, and when its explanation came."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, child: Child) -> None:
        self._settings = settings
        self._producer = producer
        self._child = child
        self._due: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    async def explain(self, alerts: list[ScheduledRecord], rate: float, patience_s: float) -> StreamLine:
        """Write alerts at a rate, and wait until all are explained."""
        before = cpu_seconds(self._child)
        injector = Injector(self._producer, rate, lambda item, due_ms: self._due.update({item.name: due_ms}), _ignore)
        await injector.run(alerts)
        names, until = {one.name for one in alerts}, time.monotonic() + patience_s
        while not names <= self._seen.keys():
            if time.monotonic() > until:
                missing = len(names - self._seen.keys())
                raise MeasurementError(f"{missing} of {len(names)} alerts are not explained; log: {self._child.log}")
            await asyncio.sleep(0.05)
        late = [self._seen[name] - self._due[name] for name in names]
        p50, p99, worst = np.percentile(late, [50, 99, 100]).round(1).tolist()
        spent_ms = (cpu_seconds(self._child) - before) / len(names) * 1000
        return StreamLine(rate, len(names), p50, p99, worst, round(spent_ms, 2))

    async def consume(self) -> None:
        """Note when each explanation arrives, until it is cancelled."""
        options = connection_options(self._settings)
        consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, fetch_max_wait_ms=5)
        try:
            await consumer.start()
            topic = self._settings.topic(EXPLANATIONS.name)
            consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
            await consumer.seek_to_beginning()
            while True:
                fetched, now = await consumer.getmany(timeout_ms=500), now_ms()
                for record in (record for records in fetched.values() for record in records):
                    found = msgspec.json.decode(record.value or b"", type=AlertExplanation)
                    if not found.reasons:
                        raise MeasurementError(f"an alert has no reasons; log: {self._child.log}")
                    self._seen.setdefault(found.transaction_id, now)
        finally:
            await consumer.stop()


def _start(settings: Settings) -> Child:
    folder = Path(tempfile.mkdtemp(prefix="fraudstream-bench-"))
    fields = msgspec.structs.asdict(settings).items()
    environment = {f"{PREFIX}{name.upper()}": _text(value) for name, value in fields} | {
        f"{PREFIX}HTTP": f"127.0.0.1:{free_port()}",
        f"{PREFIX}SCORE_FEATURES": "alerts",
    }
    child = Child(_COMMAND, folder / "explain.log", environment)
    child.start()
    return child


async def _delete_topics(settings: Settings) -> None:
    async with open_admin(settings) as admin:
        await admin.delete_topics([settings.topic(one.name) for one in layouts_of(settings)])


def _alerts(settings: Settings, model: Model, vectors: Floats) -> Iterator[ScheduledRecord]:
    """Yield alerts for ever: the model's scores of its invented probe rows, each declined."""
    topic, source_topic = settings.topic(SCORES.name), settings.topic(TRANSACTIONS.name)
    names, scores = model.manifest.feature_names, model.score(vectors).tolist()
    rows = [[None if value != value else value for value in row] for row in vectors.tolist()]  # noqa: PLR0124 - NaN
    at = 0
    while True:
        card, row = f"card-{at % 997}", at % len(rows)
        now = format_time(now_ms())
        score = Score(
            transaction_id=f"payment-{at}",
            card_id=card,
            merchant_id="merchant",
            occurred_at=now,
            amount_minor=10_000,
            currency="EUR",
            score=scores[row],
            band=None,
            decision=Decision.DECLINE,
            decided_by=DecidedBy.MODEL,
            model=ModelName(model.name, model.version, model.digest),
            arm="live",
            deployment=settings.deployment,
            revision=1,
            fingerprint=model.fingerprint,
            code_version="",
            features=dict(zip(names, rows[row], strict=True)),
            positions=Positions(1, 1, 1),
            degraded=(),
            dropped=(),
            epoch=1,
            source=Source(source_topic, 0, at),
            scored_at=now,
            latency_ms=1,
        )
        yield ScheduledRecord(topic, card.encode(), msgspec.json.encode(score), score.transaction_id)
        at += 1


def _ignore(_item: ScheduledRecord, _where: RecordMetadata) -> None:
    """Ignore an acknowledgement; the injector raises if one is missing."""


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

"""Every error has its fate in one table, and `retry_until_done` follows the table."""

import asyncio
import importlib
import pkgutil
from collections.abc import Callable, Iterator

import aiokafka.errors
import pytest
from aiokafka import TopicPartition

import features
import fraudstream
import guards
import metrics
import models
import shadow
import stream
from features.errors import FormulaError, StoreRefusedError, StoreUnavailableError
from models.errors import MissingArtifactError
from stream.engine.batches import Batch, CommitLedger
from stream.errors import NotReadyError, PublishError, SettingsError, StaleBatchError, StreamError
from stream.fates import TABLE, Phase, fate_of, name_of
from stream.scoring.facts import Retried
from stream.worker.isolation import retry_until_done
from support.stream_records import Told

PACKAGES = (fraudstream, stream, features, models, shadow, guards, metrics)


def below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


@pytest.fixture(scope="module")
def ours() -> set[type]:
    """Return every exception that a module of the product defines."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    names = {package.__name__ for package in PACKAGES}
    return {kind for kind in below(BaseException) if kind.__module__.partition(".")[0] in names}


def listed() -> list[str]:
    return [name_of(kind) for kinds in TABLE for kind in kinds]


def unlisted(kinds: set[type]) -> set[str]:
    return {name_of(kind) for kind in kinds} - set(listed())


def test_every_error_of_the_product_has_a_row(ours: set[type]) -> None:
    assert len(ours) > 30
    assert unlisted(ours) == set()


def test_the_table_names_each_error_once_and_no_class_that_does_not_exist(ours: set[type]) -> None:
    foreign = {"aiokafka.errors.KafkaError", "builtins.OSError", "builtins.Exception"}
    assert sorted(listed()) == sorted({name_of(kind) for kind in ours} | foreign)


@pytest.mark.parametrize(
    ("error", "startup", "record", "batch", "repair"),
    [
        (StoreUnavailableError("away"), "retried", "retried", "retried", "retried"),
        (StoreRefusedError("evicts"), "retried", "retried", "retried", "retried"),
        (aiokafka.errors.KafkaConnectionError("away"), "retried", "retried", "retried", "retried"),
        (aiokafka.errors.RebalanceInProgressError(), "retried", "retried", "retried", "retried"),
        (PublishError("not acknowledged"), "retried", "retried", "retried", "retried"),
        (ConnectionResetError("reset"), "retried", "decided by rules", "exit 70", "retried"),
        (TimeoutError("late"), "retried", "decided by rules", "exit 70", "retried"),
        (ZeroDivisionError("a bug"), "exit 70", "decided by rules", "exit 70", "exit 70"),
        (StaleBatchError("revoked"), "dropped", "dropped", "dropped", "dropped"),
        (FormulaError("no number"), "decided by rules", "decided by rules", "decided by rules", "decided by rules"),
        (NotReadyError("no topics"), "retried", "retried", "retried", "retried"),
        (MissingArtifactError("none"), "caught", "caught", "caught", "caught"),
        (SettingsError("wrong"), "exit 2", "exit 2", "exit 2", "exit 2"),
        (StreamError("root"), "exit 70", "decided by rules", "exit 70", "exit 70"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_the_row_of_the_most_specific_class_applies(
    error: Exception, startup: str, record: str, batch: str, repair: str
) -> None:
    assert [fate_of(error).during(phase) for phase in Phase] == [startup, record, batch, repair]


def a_batch() -> Batch:
    ledger = CommitLedger()
    ledger.track(TopicPartition("t", 0), 1, 3)
    return Batch("t", 1, {0: [Told(offset=3)]}, ledger, asyncio.Event())


def failing_once(error: Exception) -> Callable[[], object]:
    errors = [error]

    async def work() -> None:
        if errors:
            raise errors.pop()

    return work


RETRIED = (StoreUnavailableError("a"), StoreRefusedError("b"), PublishError("c"), aiokafka.errors.KafkaError("d"))


@pytest.mark.parametrize("error", RETRIED, ids=lambda error: type(error).__name__)
async def test_a_batch_is_retried_and_reports_its_error_until_it_succeeds(error: Exception) -> None:
    troubles: list[str | None] = []
    facts: list[object] = []
    await retry_until_done(a_batch(), failing_once(error), troubles.append, facts.append)
    assert troubles == [str(error), None]
    assert facts == [Retried("t", type(error).__name__)]


async def test_a_stale_batch_is_dropped_without_reporting_an_error() -> None:
    troubles: list[str | None] = []
    await retry_until_done(a_batch(), failing_once(StaleBatchError("revoked")), troubles.append, troubles.append)
    assert troubles == []


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(), FormulaError(), SettingsError(), StreamError()])
async def test_an_error_that_is_neither_retried_nor_dropped_propagates(error: Exception) -> None:
    troubles: list[str | None] = []
    with pytest.raises(type(error)):
        await retry_until_done(a_batch(), failing_once(error), troubles.append, troubles.append)
    assert troubles == []

"""The example programs in Java, Go and Python: what they send is decided once, and what they read is what counts."""

import json
import re
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from fraudstream_client.validity import ValidScores, trace_of
from support.example_clients import Decision, NoToolchain, RunningConsumer, built, run_program, send
from support.example_commands import CLIENTS, ExampleClient
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, payment
from support.fleet.workers import Worker
from support.handmade_scores import handmade_scores
from support.kafka.jars import RECIPE, JarsCluster, Layout, NoJars
from support.kafka.operations import delete_records

pytestmark = [pytest.mark.acceptance, pytest.mark.usefixtures("apache_kafka")]
SENT_BY_EACH = 6_000
"""Payments that each client sends, half of them before the void scores and half behind them."""
CARDS = 400
BEYOND = 100_000
"""How far behind the last valid score's source the void scores claim to be."""
LOGGED_BY_LIBRDKAFKA = re.compile(r"%[0-7]\|[0-9]+.*")
UNREADABLE_SO_FAR = " unreadable so far, "
TOO_LARGE = 2_000_000
BY_HAND = b"by hand"
"""The key of the scores that no worker wrote."""
Start = Callable[[ExampleClient], RunningConsumer]


@pytest.fixture
def start_consumer(fleet: Fleet) -> Iterator[Start]:
    """A function that starts a consumer of the fleet's scores; the test's consumers are killed at its end."""
    started: list[RunningConsumer] = []

    def start(client: ExampleClient) -> RunningConsumer:
        file = fleet.folder / f"{client.name}.jsonl"
        started.append(RunningConsumer(client, fleet.brokers, f"{fleet.prefix}scores", file))
        return started[-1]

    try:
        yield start
    finally:
        for consumer in started:
            consumer.kill()


def toolchain(name: str) -> ExampleClient:
    """Return a client whose programs are built, or skip the test."""
    try:
        return built(name)
    except NoToolchain as reason:
        pytest.skip(f"{name}: {reason}")


def toolchains() -> list[ExampleClient]:
    """Return the clients that can be built here."""
    found = []
    for name in CLIENTS:
        try:
            found.append(built(name))
        except NoToolchain:
            continue  # the case of this client says why
    return found


def send_scores(fleet: Fleet, records: Iterable[tuple[int, bytes | None]]) -> None:
    """Write records to partitions of the scores topic, in order."""
    producer = Producer({"bootstrap.servers": fleet.brokers, "enable.idempotence": True, "linger.ms": 5})
    for partition, value in records:
        producer.produce(f"{fleet.prefix}scores", value, BY_HAND, partition=partition)
    assert producer.flush(30) == 0


def valid_decisions(fleet: Fleet) -> tuple[list[Decision], ValidScores[Any]]:
    """Return the decisions that `ValidScores` finds, as lines of a consumer's file, and what counted the others."""
    reader: ValidScores[Any] = ValidScores()
    found = [
        {
            "partition": record.partition,
            "offset": record.offset,
            "epoch": score.epoch,
            "log": score.source.log,
            "source_offset": score.source.offset,
            "transaction_id": score.transaction_id,
            "decision": score.decision,
            "decided_by": score.decided_by,
            "attributes": score.attributes or {},
        }
        for record, score in reader.of(fleet.read("scores"))
    ]
    return found, reader


def by_partition(decisions: Iterable[Decision]) -> Mapping[int, list[Decision]]:
    """Return the decisions of each partition in their order; consumers may mix partitions as they like."""
    found: dict[int, list[Decision]] = defaultdict(list)
    for decision in decisions:
        found[decision["partition"]].append(decision)
    return found


@pytest.mark.parametrize("name", CLIENTS)
def test_a_consumer_that_is_killed_writes_each_valid_decision_once_and_no_void_one(
    name: str, fleet: Fleet, start_consumer: Start
) -> None:
    client, records = toolchain(name), handmade_scores(seed=1)
    send_scores(fleet, records[: len(records) // 2])
    expected, _ = valid_decisions(fleet)
    consumer = start_consumer(client)
    consumer.await_decisions(len(expected))
    consumer.kill()
    consumer.file.write_bytes(consumer.file.read_bytes()[:-20])  # as if it had been killed while it wrote a line
    send_scores(fleet, records[len(records) // 2 :])
    expected, reader = valid_decisions(fleet)
    consumer.start()
    assert by_partition(consumer.await_decisions(len(expected))) == by_partition(expected)
    consumer.interrupt()
    consumer.file.unlink()
    consumer.start()
    assert by_partition(consumer.await_decisions(len(expected))) == by_partition(expected)
    consumer.terminate()
    lines = [line for line in consumer.printed() if UNREADABLE_SO_FAR not in line]
    assert len(lines) < len(consumer.printed())
    *printed, summary = lines[-len(expected) - 1 :]
    assert sorted(printed) == sorted(f"{one['transaction_id']} {one['decision']} by model" for one in expected)
    assert summary == f"{reader.void} void, {reader.unreadable} unreadable"
    assert min(reader.void, reader.unreadable) > 100
    assert {decision["log"] for decision in expected} == {0, 1}
    assert {json.dumps(decision["attributes"]) for decision in expected} == {
        "{}",
        '{"browser": "\\u00fc", "ip_country": "NG"}',
    }


@pytest.mark.parametrize("name", CLIENTS)
def test_a_consumer_ends_where_the_next_scores_were_deleted_instead_of_passing_over_them(
    name: str, fleet: Fleet, start_consumer: Start
) -> None:
    client, records = toolchain(name), handmade_scores(seed=2)
    send_scores(fleet, records)
    consumer = start_consumer(client)
    consumer.await_decisions(len(valid_decisions(fleet)[0]))
    consumer.interrupt()
    first = next(one for one in consumer.decisions() if one["partition"] == 0)
    consumer.file.write_text(json.dumps(first) + "\n")
    delete_records(fleet.brokers, f"{fleet.prefix}scores")  # of partition 0
    consumer.start()
    assert consumer.wait() == 1
    assert by_partition(consumer.decisions())[0] == [first]


@pytest.mark.parametrize("name", CLIENTS)
def test_no_other_consumer_can_write_the_file_of_a_running_one(name: str, fleet: Fleet, start_consumer: Start) -> None:
    client, topic = toolchain(name), f"{fleet.prefix}scores"
    send_scores(fleet, handmade_scores(seed=3))
    expected, _ = valid_decisions(fleet)
    consumer = start_consumer(client)
    consumer.await_decisions(len(expected))
    for other in toolchains():
        refused = run_program(other.consumer, fleet.brokers, topic, consumer.file)
        assert (refused.returncode, refused.stdout) == (1, ""), other.name
        assert one_line(refused.stderr).endswith("another process writes this file; end that one, or name another file")
    consumer.interrupt()
    assert by_partition(consumer.decisions()) == by_partition(expected)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_payment_that_is_too_large_is_reported_and_the_others_are_stored(
    name: str, fleet: Fleet, tmp_path: Path
) -> None:
    client, file = toolchain(name), tmp_path / "payments.jsonl"
    payments = [payment(0), payment(1) | {"padding": "x" * TOO_LARGE}, payment(2)]
    file.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in payments))
    done = run_program(client.producer, fleet.brokers, f"{fleet.prefix}transactions", file)
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == ["t-0", "t-2"]
    reason, advice = own_lines(done.stderr)
    assert reason.startswith("t-1 was not stored: ")
    assert advice.endswith("1 payments were not stored: mend the causes above, then send the file again")
    assert done.returncode == 1


@pytest.mark.parametrize("name", CLIENTS)
def test_no_payment_is_sent_of_a_file_with_a_line_that_is_none(name: str, fleet: Fleet, tmp_path: Path) -> None:
    client, file = toolchain(name), tmp_path / "payments.jsonl"
    file.write_bytes(msgspec.json.encode(payment(0)) + b'\n{"transaction_id":"t-1"}\n')
    done = run_program(client.producer, fleet.brokers, f"{fleet.prefix}transactions", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{file}, line 2" in one_line(done.stderr)
    assert not fleet.read("transactions")


def test_no_client_has_a_topic_created_that_was_mistyped(tmp_path: Path) -> None:
    properties, file = tmp_path / "server.properties", tmp_path / "payments.jsonl"
    forbidden = "auto.create.topics.enable=false"
    properties.write_text((RECIPE / "server.properties").read_text().replace(forbidden, forbidden[:-5] + "true"))
    file.write_bytes(msgspec.json.encode(payment(0)) + b"\n")
    try:
        cluster = JarsCluster(Layout(properties=str(properties)))
    except NoJars as reason:
        pytest.skip(str(reason))
    try:
        cluster.start()
        admin = AdminClient({"bootstrap.servers": cluster.brokers})
        for client in toolchains():
            for program, path in ((client.producer, file), (client.consumer, tmp_path / f"{client.name}.jsonl")):
                done = run_program(program, cluster.brokers, "mistyped", path)
                assert (done.returncode, done.stdout) == (1, ""), program
                assert "mistyped" in one_line(done.stderr)
                assert "mistyped" not in admin.list_topics(timeout=10).topics, program
    finally:
        cluster.close()


def own_lines(text: str) -> list[str]:
    """Return the lines of a text without what librdkafka logs, from another thread and so within lines too.

    It warns where a broker has not loaded a coordinator yet, as one that has just started, and asks it again.
    """
    return [line for line in LOGGED_BY_LIBRDKAFKA.sub("", text).splitlines() if line]


def one_line(text: str) -> str:
    """Return the only line of a program's own."""
    (line,) = own_lines(text)
    return line


def test_what_all_clients_send_is_decided_once_and_their_consumers_agree_while_workers_and_consumers_are_killed(
    fleet: Fleet, start_consumer: Start, tmp_path: Path, report: Callable[[str], None]
) -> None:
    clients = toolchains()
    first, second = fleet.go_live(workers=2)
    consumers = [start_consumer(client) for client in clients]
    files = {client: payment_files(tmp_path, at, len(clients)) for at, client in enumerate(clients)}
    total = SENT_BY_EACH * len(clients)
    with sending(fleet, {client: halves[:1] for client, halves in files.items()}) as printed:
        await_some_scores(fleet, 0)
        first.kill()
        third = fleet.worker()
        pause(second)
    fleet.await_scores(total // 2, seconds=90)
    send_scores(fleet, void_scores(fleet))
    with sending(fleet, files) as printed_later:  # the first half once more
        await_some_scores(fleet, total // 2)
        third.kill()
        for consumer in consumers:
            consumer.kill()
            consumer.start()
    fleet.await_scores(total, seconds=90)
    expected, reader = valid_decisions(fleet)
    assert sorted(one["transaction_id"] for one in expected) == sorted(f"t-{number}" for number in range(total))
    for consumer in consumers:
        assert by_partition(consumer.await_decisions(total)) == by_partition(expected), consumer.name
    assert reader.void >= 2 * PARTITIONS
    assert_stored_as_printed_and_traced(fleet, [*printed, *printed_later])
    report(f"{', '.join(client.name for client in clients)}: {total} payments, {reader.void} void scores")


@contextmanager
def sending(fleet: Fleet, files: Mapping[ExampleClient, Sequence[Path]]) -> Iterator[list[str]]:
    """Have all clients send their files, at the same time as the block runs; the list gets what they print."""
    printed: list[str] = []
    with ThreadPoolExecutor(len(files)) as pool:
        jobs = [pool.submit(send_files, fleet, client, paths) for client, paths in files.items()]
        yield printed
        printed += [line for job in jobs for line in job.result()]


def pause(worker: Worker) -> None:
    """Stop a worker until its partitions have moved, and let it continue as a zombie."""
    worker.signal(signal.SIGSTOP)
    time.sleep(5.0)  # past the session timeout of 3 s
    worker.signal(signal.SIGCONT)


def payment_files(folder: Path, client: int, clients: int) -> list[Path]:
    """Write the two halves of a client's payments, a line for each; all clients share the cards."""
    numbers = range(client, SENT_BY_EACH * clients, clients)
    files = []
    for half in range(2):
        lines = [
            msgspec.json.encode(payment(number, cards=CARDS))
            for number in numbers[half * len(numbers) // 2 : (half + 1) * len(numbers) // 2]
        ]
        files.append(folder / f"payments-{client}-{half}.jsonl")
        files[-1].write_bytes(b"\n".join([*lines, b""]))
    return files


def send_files(fleet: Fleet, client: ExampleClient, files: Sequence[Path]) -> list[str]:
    """Send files one after the other, and return what the producer prints."""
    return [line for file in files for line in send(client, fleet.brokers, f"{fleet.prefix}transactions", file)]


def await_some_scores(fleet: Fleet, before: int) -> None:
    """Wait until some hundred scores more are written; more are to come."""
    until(lambda: sum(fleet.ends("scores").values()) > before + 500, "500 scores more")


def void_scores(fleet: Fleet) -> list[tuple[int, bytes]]:
    """Return for each partition its last score once more, and one of an earlier epoch from far behind."""
    last = {record.partition: msgspec.json.decode(record.value) for record in fleet.read("scores")}
    assert len(last) == PARTITIONS
    found = []
    for partition, score in last.items():
        source = score["source"] | {"offset": score["source"]["offset"] + BEYOND}
        zombie = score | {"epoch": score["epoch"] - 1, "transaction_id": "void", "source": source}
        found += [(partition, msgspec.json.encode(one)) for one in (score, zombie)]
    return found


def assert_stored_as_printed_and_traced(fleet: Fleet, printed: Iterable[str]) -> None:
    """Check the producers' output, that a card's payments share a partition, and that scores continue their traces."""
    records = fleet.read("transactions")
    lines = [f"{json.loads(one.value)['transaction_id']} {one.partition} {one.offset}" for one in records]
    assert sorted(printed) == sorted(lines)
    cards = {(one.key, one.partition) for one in records}
    assert len(cards) == len({key for key, _ in cards}) == CARDS
    traces = {(one.partition, one.offset): trace_id(one) for one in records}
    assert len(set(traces.values())) == len(records)
    for record in fleet.read("scores"):
        source = json.loads(record.value)["source"]
        if record.key != BY_HAND:
            assert trace_id(record) == traces[source["partition"], source["offset"]]


def trace_id(record: ConsumerRecord[bytes, bytes]) -> str:
    return trace_of(record)["traceparent"].split("-")[1]

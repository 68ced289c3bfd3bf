"""`fraudstream score --topic`: the range of decisions, the records that they depend on, and their order."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from features.history.store import Fate
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from fraudstream.cli.main import main
from fraudstream.lab.dataset.columns import UNPACKED
from fraudstream.lab.rescoring.request import NothingToScoreError, Range
from fraudstream.lab.rescoring.topic_tables import TopicTables
from fraudstream_client.outputs import Decision, Overruled, Score
from stream.contract.label import read_label
from stream.scoring.decode import decode
from support.fleet.payments import partition_of
from support.rescoring.faults import DAY_MS
from support.rescoring.model import FEATURES, SETS, Trained, alter, compared, lines, scored
from support.rescoring.world import PARTITIONS, Record, World

STEP_MS = DAY_MS // 2


def weeks(live: Trained, count: int = 120) -> World:
    """Publish two payments a day for two months, by ten cards at two shops, each decided at once, and some labels."""
    world = live.world()
    for number in range(count):
        world.now_ms += STEP_MS
        world.publish(world.pay_in_turn(number))
        world.decide()
        if number % 7 == 0:
            world.tell(world.label_in_turn(number))
    return world


def moment(world: World, number: int) -> int:
    """Return the timestamp of a payment's record."""
    logs = world.topics["transactions"].values()
    (found,) = [one.timestamp for log in logs for one in log if f'"t-{number}"'.encode() in (one.value or b"")]
    return found


# --- the range


def test_decisions_in_a_time_range_are_compared_and_equal(live: Trained, tmp_path: Path) -> None:
    world, out = weeks(live), tmp_path / "out.parquet"
    found = compared(world, Range(moment(world, 100) + 1000, moment(world, 110) + 1000), out)
    assert (found.compared, found.equal) == (10, 10)
    assert set(lines(out)) == {f"t-{number}" for number in range(100, 110)}


def test_decisions_in_an_offset_range_are_compared_and_equal(live: Trained) -> None:
    world = weeks(live)
    found = compared(world, Range(offsets={1: (8, 20), 2: (0, 3)}))
    assert (found.compared, found.equal) == (15, 15)


def test_a_range_with_a_late_transaction_reads_enough_history_to_be_equal(live: Trained) -> None:
    world = weeks(live)
    start = world.now_ms + 1
    world.publish(world.pay(500, card_id="card-0", occurred_at=world.now_ms - 36 * DAY_MS))
    world.decide()
    found = compared(world, Range(from_ms=start))
    assert (found.compared, found.equal) == (1, 1)


def test_records_that_the_range_does_not_depend_on_are_not_read(live: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    world = weeks(live)
    taken: list[int] = []
    before = TopicTables.transactions

    def counted(self: TopicTables, records: Sequence[Record]) -> None:
        taken.extend(one.timestamp for one in records)
        before(self, records)

    monkeypatch.setattr(TopicTables, "transactions", counted)
    assert compared(world, Range(moment(world, 110), moment(world, 111))).equal
    assert 0 < len(taken) < 100
    assert min(taken) > moment(world, 110) - 46 * DAY_MS
    assert max(taken) <= moment(world, 111) + DAY_MS


def test_a_range_without_decisions_raises_and_names_what_the_topics_hold(live: Trained) -> None:
    world = weeks(live, 12)
    with pytest.raises(NothingToScoreError, match=r"nothing of topic scores is in the range: it holds .*0:0-\d"):
        compared(world, Range(from_ms=world.now_ms + DAY_MS))
    with pytest.raises(NothingToScoreError, match=r"topic transactions has no partitions \[7\], but 0 to 2"):
        compared(world, Range(offsets={7: (0, 1)}))
    with pytest.raises(NothingToScoreError, match="it is empty"):
        compared(live.world())
    world.topics["scores"] = {number: [] for number in range(PARTITIONS)}
    world.append("scores", 0, b"no decision")
    with pytest.raises(NothingToScoreError, match="none of them is"):
        compared(world)


# --- valid and missing decisions


def test_void_and_undecodable_scores_are_left_out(live: Trained) -> None:
    world = weeks(live, 30)
    partition, log = next((number, log) for number, log in world.topics["scores"].items() if log)
    last = msgspec.json.decode(log[-1].value or b"", type=Score)
    zombie = msgspec.structs.replace(last, epoch=0, decision="decline")
    world.append("scores", partition, msgspec.json.encode(zombie))
    world.append("scores", partition, b"\xff")
    found = compared(world)
    assert (found.compared, found.equal, found.void) == (30, 30, 1)


def test_only_decisions_of_the_log_that_is_there_are_compared_and_its_beginning_explains_what_is_missing(
    live: Trained,
) -> None:
    world = weeks(live, 30)
    world.make_anew()
    for number in range(30, 60):
        world.now_ms += STEP_MS
        world.publish(world.pay_in_turn(number))
        world.decide()
    found = compared(world)
    assert (found.compared, found.unexplained, found.other_logs, found.undecided) == (30, 0, 30, 0)
    assert set(found.reasons) == {"beyond_retention"}


def test_what_the_models_said_is_compared_and_what_overruled_it_is_counted(live: Trained, tmp_path: Path) -> None:
    world, out = weeks(live, 24), tmp_path / "out.parquet"
    compared(world, out=out)
    said = {name: Decision(one["recorded_decision"]) for name, one in lines(out).items()}
    changed = {"t-5": "decline_cap", "t-7": "let_through", "t-9": "decline_cap"}
    for name, by in changed.items():
        (other, another) = [one for one in Decision if one is not said[name]]
        alter(world, name, decision=other, overruled=Overruled(by, said[name]))
    found = compared(world, out=out)
    assert (found.compared, found.equal, found.overruled) == (24, 24, {"decline_cap": 2, "let_through": 1})
    assert {name: one["overruled_by"] for name, one in lines(out).items() if one["overruled_by"]} == changed
    assert {name: one["recorded_decision"] for name, one in lines(out).items()} == said
    alter(world, "t-9", overruled=Overruled("decline_cap", another))
    assert compared(world).unexplained == 1


def test_an_undecided_transaction_is_counted_and_explains_later_differences(live: Trained) -> None:
    world = weeks(live, 30)
    world.publish(world.pay(3, card_id="card-3", merchant_id="shop-1"))  # the same transaction with another time
    skipped = world.publish(world.pay(900, card_id="card-3"))
    world.undecided[skipped[0].partition] += 2
    for number in range(901, 905):
        world.publish(world.pay(number, card_id="card-3"))
        world.decide()
    found = compared(world)
    assert (found.compared, found.unexplained) == (34, 0)
    assert found.undecided == 1
    assert found.reasons == {"order_unknown": 4}  # the skipped one may or may not be in its card's history


def test_a_record_that_was_ahead_of_the_workers_clock_is_left_out_as_its_dead_letter_says(live: Trained) -> None:
    world, ahead_ms = weeks(live, 20), 365 * DAY_MS
    payment = world.pay(900, card_id="card-3", merchant_id="shop-1") | {"occurred_at": world.now_ms + ahead_ms}
    partition = partition_of("card-3", PARTITIONS)
    refused = world.append("transactions", partition, payment, world.now_ms + ahead_ms)
    world.decide()
    for number in range(901, 905):
        world.publish(world.pay(number, card_id="card-3", merchant_id="shop-1"))
        world.decide()
    assert compared(world).equal < 24, "with it, later payments of the card are too late"
    world.refused.add((refused.topic, refused.partition, refused.offset))
    found = compared(world)
    assert (found.compared, found.equal) == (24, 24)


def test_undecodable_records_on_the_topics_change_no_comparison(live: Trained) -> None:
    world = weeks(live, 20)
    for value in (b"{", b"", None, b'{"card_id": "card-1"}'):
        world.append("transactions", 0, value)
        world.append("labels", 0, value)
        world.append("outcomes", 0, value)
    world.decide()
    found = compared(world)
    assert (found.compared, found.equal) == (20, 20)


# --- scoring without comparing


def test_scoring_a_range_gives_its_recorded_scores(live: Trained, tmp_path: Path) -> None:
    world = weeks(live)
    wanted = Range(moment(world, 90), moment(world, 100))
    report = scored(world, tmp_path / "scored.parquet", wanted)
    assert (report.rows, report.fates) == (10, {"decide": 10})
    compared(world, out=tmp_path / "compared.parquet")
    ours, theirs = lines(tmp_path / "scored.parquet"), lines(tmp_path / "compared.parquet")
    for name, row in ours.items():
        shared = {column: value for column, value in row.items() if column in theirs[name]}
        assert set(row) - set(shared) == set(UNPACKED)
        assert {column: theirs[name][column] for column in shared} == shared
        assert row["score"] == theirs[name]["recorded_score"]


def test_undecided_records_are_applied_in_timestamp_order(live: Trained, tmp_path: Path) -> None:
    world = live.world()
    expected = waiting(world)
    report = scored(world, tmp_path / "out.parquet")
    assert report.fates == {"decide": 40, "repeated": 1, "transaction_conflict": 1}
    found = lines(tmp_path / "out.parquet")
    for name, vector in expected.items():
        assert [found[name][column] for column in FEATURES.names] == vector, name


def waiting(world: World) -> dict[str, list[float | None]]:
    """Publish undecided payments and labels, and return the vectors of a store that gets them one by one."""
    store, expected = MemoryStore(SETS), {}
    for number in range(40):
        world.now_ms += DAY_MS // 3
        one = world.pay_in_turn(number, cards=5)
        (record,) = world.publish(one)
        columns = decode([record], 0).columns
        observed = store.observe_now(columns)
        assert list(observed.fates) == [Fate.DECIDE]
        (vector,) = vectorise(FEATURES, columns, observed).tolist()
        expected[f"t-{number}"] = [None if value != value else value for value in vector]  # noqa: PLR0124 - NaN
        if number % 4 == 0:
            (record,) = world.publish(world.label(number, f"card-{number % 5}"), topic="labels")
            told = read_label(record.value, record.key, (record.partition, record.offset))
            store.label_now([told.label])  # type: ignore[union-attr]
    world.publish(one, one | {"amount_minor": 1})
    return expected


def test_scoring_gives_the_same_rows_before_and_after_the_last_are_decided(live: Trained, tmp_path: Path) -> None:
    world = weeks(live, 40)
    for number in range(40, 45):
        world.now_ms += STEP_MS
        world.publish(world.pay(number))
    before = scored(world, tmp_path / "before.parquet")
    world.decide()
    after = scored(world, tmp_path / "after.parquet")
    assert before.rows == after.rows == 45
    assert lines(tmp_path / "before.parquet") == lines(tmp_path / "after.parquet")


# --- the command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topic", "--diff", "--model", "00000000"], "leave --model out"),
        (["--topic"], "name a --model"),
        (["--topic", "--model", "00000000"], "--out"),
        ([], "name a FILE, or --topic"),
        ([__file__, "--topic"], "name a FILE, or --topic"),
        ([__file__, "--diff"], "--diff is for --topic"),
        ([__file__, "--from-time", "2026-01-01T00:00:00Z"], "--from-time is for --topic"),
        (["--topic", "--diff", "--from-time", "yesterday"], "is not RFC 3339"),
        (["--topic", "--diff", "--offsets", "0:1"], "is not PARTITION:FROM-TO"),
        (["--topic", "--diff", "--offsets", "0:1-2", "--to-time", "0"], "leave --from-time and --to-time out"),
    ],
)
def test_invalid_options_are_rejected(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["score", *arguments])
    assert done.exit_code == 2
    assert said in done.stderr

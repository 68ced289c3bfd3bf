"""When an incident of each rule opens and closes, second by second, and what it is about."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from fraudstream.ops.watch.incidents import rules
from fraudstream.ops.watch.incidents.episode import incident_id
from fraudstream.ops.watch.incidents.facts import StandstillFact
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule, Opening, Severity
from guards.ladder import Rung
from models.commands import AcceptedArm, CommandKind
from models.times import stated_ms
from stream.contract.codes import DeadLetterCode
from stream.engine.unpacking import FetchedRecord
from support.incident_world import (
    BREACHED,
    LETTERS,
    LIVE,
    NEW,
    OTHER,
    PARTITIONS,
    SCORES,
    START_MS,
    Past,
    PastReader,
    accepted,
    begin_at,
    letter,
    on_letters,
    score,
    scored,
)

PROMOTED = accepted(1, CommandKind.PROMOTE, START_MS - 60_000, model=LIVE)
END_MS = START_MS + 7_200_000
Told = list[tuple[str, int]]
"""Kinds, with the seconds since the start at which they were told."""


def past(
    scores: Iterable[dict[str, Any]] = (), letters: Iterable[FetchedRecord] = (), events: Sequence[Any] = ()
) -> Past:
    """Return a past of scores, each of the time and partition that it states; partitions without any are read, too."""
    by_partition: dict[int, list[dict[str, Any]]] = {number: [] for number in range(PARTITIONS)}
    for one in scores:
        by_partition[one["source"]["partition"]].append(one)
    records = {
        TopicPartition(SCORES, number): scored(found, [stated_ms(one["scored_at"]) for one in found], number)
        for number, found in by_partition.items()
    }
    return Past({**records, TopicPartition(LETTERS, 0): on_letters(letters)}, [PROMOTED, *events], END_MS)


def told(found: Past, rule: IncidentRule) -> list[Incident]:
    return [one for one in PastReader(found, begin_at(START_MS - 600_000)).read_all() if one.rule is rule]


def times(found: Sequence[Incident]) -> Told:
    return [(str(one.kind), (stated_ms(one.at) - START_MS) // 1000) for one in found]


def each(seconds: Iterable[float], **changes: Any) -> list[dict[str, Any]]:
    """Return scores at these seconds since the start, numbered by them."""
    return [score(int(one * 10), START_MS + int(one * 1000), **changes) for one in seconds]


def merged(*parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the scores of a partition in the order of their offsets, one for each."""
    found = {one["source"]["offset"]: one for part in parts for one in part}
    return [found[offset] for offset in sorted(found)]


RULES_ONLY = {"decided_by": "rules", "model": None, "degraded": ["live_model_failed", "no_model"]}
FALLBACK = {"decided_by": "fallback", "degraded": ["live_model_failed"]}
CANARY_FAILED = {"decided_by": "fallback", "degraded": ["canary_model_failed"]}
CAPPED = {"overruled": {"by": "decline_cap", "from": "decline"}, "decision": "review"}


def test_stand_ins_are_told_of_from_the_first_payment_until_there_was_none_for_two_minutes() -> None:
    scores = merged(each(range(600)), each([100], **FALLBACK), each([101, 219], **RULES_ONLY))
    found = told(past(scores), IncidentRule.STAND_INS)
    assert times(found) == [("opened", 100), ("closed", 339)]
    assert found[-1].decided == {"fallback": {"approve": 1}, "rules": {"approve": 2}}
    assert found[-1].reasons == {"live_model_failed": 3}
    assert found[-1].text.startswith("3 payments, EUR 9.00, were decided by the model before or by rules between")
    assert found[0].opening == Opening("transactions", 0, 1_000)


@pytest.mark.parametrize(
    ("changes", "opens"),
    [
        (CANARY_FAILED, False),
        ({"degraded": ["undecidable"], "decided_by": "rules", "model": None}, True),
        ({"degraded": ["history_young"]}, False),
        ({"degraded": ["card_on_two_partitions"]}, False),
        (RULES_ONLY | {"deployment": "another"}, False),
    ],
)
def test_what_stands_in_for_the_live_model(changes: dict[str, Any], opens: bool) -> None:  # noqa: FBT001
    assert bool(told(past(merged(each(range(90)), each([50], **changes))), IncidentRule.STAND_INS)) is opens


def test_an_open_incident_is_told_of_again_every_five_minutes_if_it_is_about_more() -> None:
    scores = merged(each(range(1_300)), each([*range(100, 420, 20), *range(800, 1_200, 20)], **RULES_ONLY))
    found = told(past(scores), IncidentRule.STAND_INS)
    assert times(found) == [
        ("opened", 100),
        ("changed", 400),
        ("closed", 520),
        ("opened", 800),
        ("changed", 1_100),
        ("closed", 1_300),
    ]
    assert [one.events for one in found] == [1, 16, 16, 1, 16, 20]


def test_a_cap_that_overruled_for_a_minute_is_told_of() -> None:
    scores = merged(each(range(900)), each([100, 130, 200], **CAPPED))
    found = told(past(scores), IncidentRule.CAP_REACHED)
    assert times(found) == [("opened", 160), ("changed", 460), ("closed", 500)]
    assert [one.events for one in found] == [2, 3, 3]
    assert "sent to review instead of declined" in found[-1].text


# --- deadlines


def late_share(share_of: int, begin: int, end: int) -> list[dict[str, Any]]:
    """Return ten payments a second for twenty minutes, of which one of so many is late in a span of seconds."""
    found = []
    for number in range(12_000):
        is_late = begin * 10 <= number < end * 10 and number % share_of == 0
        found.append(score(number, START_MS + number * 100, latency_ms=101 if is_late else 100))
    return found


@pytest.mark.parametrize(
    ("share_of", "end", "severity"),
    [
        (101, 1_200, None),
        (90, 295, None),
        (90, 1_200, Severity.TICKET),
        (4, 200, Severity.PAGE),
    ],
)
def test_deadlines_are_missed_by_a_share_for_a_time(share_of: int, end: int, severity: Severity | None) -> None:
    found = told(past(late_share(share_of, 0, end)), IncidentRule.DEADLINES_MISSED)
    assert {one.severity for one in found} == ({severity} if severity else set())
    if found:
        limit = rules.MANY_FOR_SECONDS if severity is Severity.PAGE else rules.MISSED_FOR_SECONDS
        assert 0 <= times(found)[0][1] - limit < 10
        assert found[-1].kind is IncidentKind.CLOSED
        assert found[-1].events == sum(1 for number in range(end * 10) if number % share_of == 0)


def test_a_share_of_late_decisions_that_grows_is_told_of_at_once_as_more_severe() -> None:
    mild, many = late_share(50, 0, 1_200), late_share(2, 900, 1_200)
    found = told(past(merged(mild[:9_000], many[9_000:])), IncidentRule.DEADLINES_MISSED)
    rises = [(one.kind, one.severity) for one in found]
    assert rises[0] == (IncidentKind.OPENED, Severity.TICKET)
    assert (IncidentKind.CHANGED, Severity.PAGE) in rises
    page = next(one for one in found if one.severity is Severity.PAGE)
    assert 1_020 <= times([page])[0][1] <= 1_045
    assert found[0].incident_id == incident_id("bank", IncidentRule.DEADLINES_MISSED, "2025-10-09T09:00:00.000Z")


# --- dead letters


def refused(numbers: Iterable[int], every_s: float = 10, **options: Any) -> list[FetchedRecord]:
    return [letter(one, START_MS + int(one * every_s * 1000), **options) for one in numbers]


def test_more_than_ten_dead_letters_of_one_topic_and_code_within_ten_minutes_are_a_burst() -> None:
    assert told(past(letters=refused(range(10))), IncidentRule.DEAD_LETTERS) == []
    two_codes = [*refused(range(6)), *refused(range(6, 12), code=DeadLetterCode.WRONG_KEY)]
    assert told(past(letters=two_codes), IncidentRule.DEAD_LETTERS) == []
    assert told(past(letters=refused(range(40), every_s=61)), IncidentRule.DEAD_LETTERS) == []
    found = told(past(letters=refused(range(11))), IncidentRule.DEAD_LETTERS)
    assert times(found) == [("opened", 100), ("closed", 659)]
    assert (found[-1].events, found[-1].amounts) == (11, {"EUR": sum(100 + one for one in range(11))})
    assert stated_ms(found[-1].until) == START_MS + 100_000


def test_a_dead_letter_counts_once_and_only_those_of_the_deployment_and_of_no_backfill() -> None:
    twice = [one for number in range(6) for one in (*refused([number]), *refused([number]))]
    foreign = [
        msgspec.structs.replace(one, headers=[*one.headers, ("deployment", b"other")]) for one in refused(range(6, 20))
    ]
    mark = ("fraudstream-backfill", b"0123456789abcdef:7")
    filled = [msgspec.structs.replace(one, headers=[mark, *one.headers]) for one in refused(range(20, 40))]
    assert told(past(letters=[*twice, *foreign, *filled]), IncidentRule.DEAD_LETTERS) == []


def test_amounts_of_dead_letters_are_known_as_far_as_they_can_be_read() -> None:
    unreadable = refused(range(6), amount_minor=-1)
    found = told(past(letters=[*unreadable, *refused(range(6, 11))]), IncidentRule.DEAD_LETTERS)
    assert (found[-1].events, found[-1].amounts) == (11, {"EUR": sum(100 + one for one in range(6, 11))})


# --- partitions


@pytest.fixture
def _short_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "HALTING_RUN", 20)


@pytest.mark.usefixtures("_short_run")
def test_a_partition_that_is_halted_is_told_of_until_it_goes_on() -> None:
    letters = refused(range(20), every_s=1)
    behind = [score(21, START_MS + 20_000), *(score(number, START_MS + number * 10_000) for number in range(50, 60))]
    late = [one | {"latency_ms": 61_000} for one in behind[1:4]]
    found = told(past([behind[0], *late, *behind[4:]], letters), IncidentRule.PARTITION_HALTED)
    assert times(found) == [("opened", 24), ("closed", 580)]
    assert (found[-1].events, found[-1].partition) == (3, 0)
    assert found[0].opening == Opening("transactions", 0, 19)
    assert stated_ms(found[0].since) == START_MS + 19_000


@pytest.mark.usefixtures("_short_run")
def test_a_run_of_dead_letters_that_a_score_interrupts_halts_nothing_even_if_it_is_written_later() -> None:
    letters = refused([*range(15), *range(16, 31)], every_s=1)
    assert told(past([score(15, START_MS + 22_000)], letters), IncidentRule.PARTITION_HALTED) == []
    assert told(past([score(15, START_MS + 15_000)], letters), IncidentRule.PARTITION_HALTED) == []
    whole = told(past([], letters), IncidentRule.PARTITION_HALTED)
    assert [one.kind for one in whole] == ["opened"]


def silent_from(second: int, until: int, **changes: Any) -> list[dict[str, Any]]:
    """Return payments of every second that wait from a second on, and are decided at a later one."""
    found = []
    for one in range(600):
        late_s = until - one if second <= one < until else 0
        found += each(
            [one], latency_ms=late_s * 1000 + 5, scored_at=msgspec.to_builtins(_time(one + late_s)), **changes
        )
    return found


def _time(second: int) -> str:
    return str(score(0, START_MS + second * 1000)["scored_at"])


def test_a_partition_that_decides_nothing_for_a_minute_while_payments_wait_is_told_of() -> None:
    assert told(past(silent_from(100, 158)), IncidentRule.NO_WORKER) == []
    found = told(past(silent_from(100, 300)), IncidentRule.NO_WORKER)
    assert times(found)[0] == ("opened", 159)
    assert found[0].opening == Opening("transactions", 0, 1_000)
    waited = [one for one in range(100, 300) if (300 - one) * 1000 + 5 > 60_000]
    assert (found[-1].events, found[-1].kind) == (len(waited), "closed")
    assert times(found)[-1] == ("closed", 360)
    assert "waited longer than 60 s for a decision between" in found[-1].text


def test_an_idle_partition_and_payments_that_were_sent_again_are_no_standstill() -> None:
    idle = [*each(range(10)), *each(range(500, 510))]
    assert told(past(idle), IncidentRule.NO_WORKER) == []
    old = past([*each(range(10)), *each([500], latency_ms=400_000)])
    assert [one.kind for one in told(old, IncidentRule.NO_WORKER)] == ["opened", "closed"]
    (partition, *_) = (tp for tp in old.records if tp.topic == SCORES)
    again = [msgspec.structs.replace(one, headers=[("redriven-from", b"t:0:7")]) for one in old.records[partition]]
    assert told(old._replace(records={**old.records, partition: again}), IncidentRule.NO_WORKER) == []
    assert told(old._replace(records={**old.records, partition: again}), IncidentRule.DEADLINES_MISSED) == []


def test_a_guard_that_watches_tells_of_a_standstill_as_one_that_reads_of_it_later() -> None:
    whole = past(silent_from(100, 300))
    tp = TopicPartition(SCORES, 0)
    reader = PastReader(whole, begin_at())
    decided = sum(one.timestamp < START_MS + 100_000 for one in whole.records[tp])
    for now_s in range(155, 300, 5):
        reader.read({tp: decided - reader.at[tp]}, START_MS + now_s * 1000, is_all=True)
        waits_since = START_MS + 99_990
        if now_s * 1000 + START_MS - waits_since >= 60_000:
            reader.reader.fold.add_standstill(
                StandstillFact(Opening("transactions", 0, 1_000), waits_since, START_MS + now_s * 1000)
            )
        reader.tell()
    assert times(reader.told)[0] == ("opened", 159)
    found = [one for one in reader.read_all() if one.rule is IncidentRule.NO_WORKER]
    later = told(whole, IncidentRule.NO_WORKER)
    assert {one.incident_id for one in found} == {one.incident_id for one in later}
    assert (found[-1].events, found[-1].amounts, found[-1].at) == (later[-1].events, later[-1].amounts, later[-1].at)


# --- commands

CANARY = accepted(2, CommandKind.CANARY, START_MS + 10_000, model=NEW, share_bp=1_000, salt="s")
BY_NEW = {"model": {"name": "card", "version": "2", "digest": NEW}, "arm": "canary", "revision": 2}


def test_a_guards_answer_to_a_breach_is_told_of_with_what_the_new_model_decided() -> None:
    ended = accepted(3, CommandKind.END_CANARY, START_MS + 100_000, evidence=BREACHED)
    scores = merged(each(range(300)), each([*range(20, 100, 10), 101], **BY_NEW))
    found = told(past(scores, events=[CANARY, ended]), IncidentRule.GUARD_BREACH)
    assert times(found) == [("opened", 100), ("closed", 161)]
    assert [one.events for one in found] == [8, 9]
    assert found[-1].amounts == {"EUR": sum(100 + one * 10 % 900 for one in [*range(20, 100, 10), 101])}
    assert [one.command for one in found[-1].actions] == ["end_canary"]
    assert stated_ms(found[-1].since) == START_MS + 20_000


def test_a_split_whose_arms_all_have_the_live_model_is_followed_and_has_no_new_model() -> None:
    begun = accepted(2, CommandKind.SPLIT, START_MS + 10_000, arms={"a": AcceptedArm(LIVE, 1_000)}, salt="s")
    ended = accepted(3, CommandKind.END_SPLIT, START_MS + 100_000, winner="live")
    assert told(past(each(range(300)), events=[begun, ended]), IncidentRule.GUARD_BREACH) == []


def test_a_pause_for_a_breach_is_told_of_until_somebody_lets_the_rollout_go_on() -> None:
    rollout = accepted(
        2,
        CommandKind.ROLLOUT,
        START_MS + 10_000,
        model=NEW,
        share_bp=1_000,
        salt="s",
        ladder=(Rung(1_000, 600), Rung(10_000, 600)),
        guards={"reviewed": {"alpha": 0.01, "action": "hold"}},
    )
    paused = accepted(3, CommandKind.PAUSE, START_MS + 100_000, evidence=BREACHED, paused=True)
    resumed = accepted(4, CommandKind.RESUME, START_MS + 700_000, paused=False)
    found = told(past(each(range(900)), events=[rollout, paused, resumed]), IncidentRule.GUARD_BREACH)
    assert times(found) == [("opened", 100), ("closed", 759)]


def test_a_command_of_a_person_is_no_breach() -> None:
    ended = accepted(3, CommandKind.END_CANARY, START_MS + 100_000)
    assert told(past(each(range(300)), events=[CANARY, ended]), IncidentRule.GUARD_BREACH) == []


def test_an_accepted_loss_is_told_of_with_how_many_payments_at_most() -> None:
    where = {"topic": "transactions", "partition": 0, "log": 0}
    accepted_loss = accepted(1, CommandKind.ACCEPT_LOSS, START_MS + 50_000, up_to=500, **where)
    found = told(past(each(range(10)), events=[accepted_loss]), IncidentRule.LOSS_ACCEPTED)
    assert times(found) == [("opened", 50), ("closed", 51)]
    assert (found[0].events, found[0].amounts, found[0].partition) == (500 - 91, {}, 0)
    assert found[0].actions[0].reason == "a reason"
    assert "At most 409 payments of partition 0 of transactions were given up" in found[0].text


@pytest.mark.parametrize(
    "fields",
    [
        {"command": CommandKind.ACCEPT_LOSS, "topic": "labels", "partition": 0, "log": 0, "up_to": 500},
        {"command": CommandKind.ACCEPT_LOSS, "topic": "transactions", "partition": 0, "log": 1, "up_to": 500},
        {"command": CommandKind.SKIP, "topic": "transactions", "partition": 0, "offset": 500},
    ],
)
def test_a_loss_that_nobody_can_count_is_told_of_without_a_number(fields: dict[str, Any]) -> None:
    event = accepted(1, fields.pop("command"), START_MS + 50_000, **fields)
    found = told(past(each(range(10)), events=[event]), IncidentRule.LOSS_ACCEPTED)
    assert [one.events for one in found] == [0, 0]
    assert found[0].text.startswith("An unknown number of records of partition 0")


# --- a split, and lost histories

ARMS = {"new": AcceptedArm(NEW, 1_000), "other": AcceptedArm(OTHER, 1_000)}
SPLIT = accepted(2, CommandKind.SPLIT, START_MS + 10_000, arms=ARMS, salt="s")
BY_OTHER = {"model": {"name": "card", "version": "3", "digest": OTHER}, "arm": "other", "revision": 2}


def split_breach(**e_of_arms: float) -> dict[str, Any]:
    """Return the evidence of a guard of a split, breached at a bound of 40."""
    arms = [{"arm": name, "share_bp": 1_000, "count": 9, "e": e} for name, e in e_of_arms.items()]
    live = {"arm": "live", "share_bp": 8_000, "count": 1}
    guard = {"breached": True, "action": "roll_back", "bound": 40, "e": 50.0, "arms": [*arms, live]}
    return {"guards": {"declined": guard, "reviewed": {"breached": False, "bound": 40, "e": 0.5, "arms": [*arms]}}}


@pytest.mark.parametrize(
    ("evidence", "models"),
    [
        (split_breach(new=1.0, other=50.0), [BY_OTHER]),
        (split_breach(new=41, other=50.0), [BY_NEW, BY_OTHER]),
        ({"guards": {"sample_ratio": {"breached": True, "bound": 20, "arms": [{"arm": "new"}]}}}, [BY_NEW, BY_OTHER]),
        ({"guards": {"declined": {"breached": True, "arms": "none", "bound": []}}}, [BY_NEW, BY_OTHER]),
    ],
    ids=["one arm", "both arms", "the ratio of cards", "evidence of another form"],
)
def test_a_split_that_a_guard_ends_is_told_of_with_what_its_harmful_arms_decided(
    evidence: dict[str, Any], models: list[dict[str, Any]]
) -> None:
    ended = accepted(3, CommandKind.END_SPLIT, START_MS + 100_000, evidence=evidence, winner="live")
    by_arm = [(BY_NEW, range(20, 100, 10)), (BY_OTHER, (25, 55, 75))]
    scores = merged(each(range(300)), *(each(seconds, **fields) for fields, seconds in by_arm))
    found = told(past(scores, events=[SPLIT, ended]), IncidentRule.GUARD_BREACH)
    seconds = [second for fields, seconds in by_arm for second in seconds if fields in models]
    assert times(found) == [("opened", 100), ("closed", 160)]
    assert (found[-1].events, found[-1].amounts) == (len(seconds), amounts_of(seconds))
    assert [one.command for one in found[-1].actions][-1] == "end_split"


def amounts_of(seconds: Iterable[int]) -> dict[str, int]:
    """Return the amounts of the payments at these seconds, which `score` makes of their numbers."""
    found: dict[str, int] = {}
    for one in (score(second * 10, START_MS) for second in seconds):
        found[one["currency"]] = found.get(one["currency"], 0) + one["amount_minor"]
    return found


def under(epoch: int, **changes: Any) -> dict[str, Any]:
    return {"positions": {"history_epoch": epoch, "card": 1, "merchant": None}, **changes}


def test_histories_that_were_lost_while_payments_waited_are_told_of_by_the_first_decision_after_it() -> None:
    scores = merged(each(range(100), **under(7)), each(range(140, 400), **under(8)))
    found = told(past(scores), IncidentRule.HISTORY_INCOMPLETE)
    assert times(found) == [("opened", 140), ("closed", 260)]
    assert (found[-1].events, found[-1].amounts, found[-1].opening) == (0, {}, Opening("transactions", 0, 1_400))
    assert found[-1].text.startswith("No payment was decided without complete histories, although some were lost, at ")


def test_a_loss_and_the_payments_that_were_decided_meanwhile_are_one_incident() -> None:
    scores = merged(
        each(range(100), **under(7)),
        each([100, 110], **under(7, degraded=["history_incomplete"])),
        each([120, 130], **under(8, degraded=["history_incomplete"])),
        each(range(140, 400), **under(8)),
    )
    found = told(past(scores), IncidentRule.HISTORY_INCOMPLETE)
    assert times(found) == [("opened", 100), ("closed", 250)]
    assert found[-1].events == 4


def test_the_first_decisions_of_a_deployment_and_those_of_another_one_are_no_loss() -> None:
    begun = told(past(each(range(100, 200), **under(1_700_000_000))), IncidentRule.HISTORY_INCOMPLETE)
    assert begun == []
    foreign = each([100], **under(9, deployment="another"))
    behind = merged(each(range(90), **under(7)), foreign, each(range(110, 200), **under(7)), each([150], **under(6)))
    assert told(past(behind), IncidentRule.HISTORY_INCOMPLETE) == []

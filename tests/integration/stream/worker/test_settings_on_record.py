"""Under which settings a decision was made is on the record: two workers of a fleet that differ in one that decides."""

import json
from collections.abc import Callable
from typing import Any

from models.commands import Event, EventKind, read_event
from models.times import format_time, stated_ms
from stream.clock import now_ms
from stream.deciding_settings import hash_of
from support.fleet.fleet import Fleet, until
from support.fleet.payments import payment
from support.fleet.workers import Worker

SKEW, OTHER_SKEW = "FRAUDSTREAM_FUTURE_SKEW=300", "FRAUDSTREAM_FUTURE_SKEW=600"


def told(fleet: Fleet, *arguments: str, **settings: str) -> dict[str, Any]:
    done = fleet.cli(*arguments, "--json", **settings)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def records_of_workers(fleet: Fleet) -> list[Event]:
    """Return what workers have said of themselves."""
    events = (read_event(record.value or b"") for record in fleet.read("model-events"))
    return [one for one in events if isinstance(one, Event) and one.kind is EventKind.READY and one.settings]


def decided_by_both(fleet: Fleet) -> Callable[[], bool]:
    """Return a test that publishes a few payments more each time, until both hashes have decided some."""
    published = 0

    def look() -> bool:
        nonlocal published
        fleet.publish(payment(number) for number in range(published, published + 20))
        published += 20
        return len({one.settings for one in fleet.await_scores(published)}) > 1

    return look


def test_settings_that_decide_are_on_record_before_the_first_score_and_workers_that_differ_are_named(
    fleet: Fleet,
) -> None:
    name, (first,) = fleet.environment["DEPLOYMENT"], fleet.go_live(WORKER_ID="ann")
    second = fleet.worker(WORKER_ID="ben", FUTURE_SKEW="10 min")
    second.await_ready()
    until(decided_by_both(fleet), "both workers have decided")
    scores, said = fleet.scores()[0], records_of_workers(fleet)
    lines = {one.worker: one.settings_lines for one in said}
    assert (SKEW in lines["ann"], OTHER_SKEW in lines["ben"], len(said)) == (True, True, 2)
    assert all(one.settings == hash_of(one.settings_lines) and one.command_id is None for one in said)
    for one in said:
        made = [score for score in scores if score.settings == one.settings]
        assert min(stated_ms(score.scored_at) for score in made) >= stated_ms(one.at)
        assert {score.code_version for score in made} == {one.code_version}
    assert_status_says_it(fleet, name)
    for worker, line in ((first, SKEW), (second, OTHER_SKEW)):
        setting, _, value = line.partition("=")
        assert f'fraudstream_setting_info{{setting="{setting}",value="{value}"}} 1.0' in worker.get("/metrics")[1]
    shown = told(fleet, "config", "show", "--at", format_time(now_ms()))
    assert {one["workers"][0]["worker"]: one["settings"] for one in shown["settings"]} == {
        one.worker: one.settings for one in said
    }
    assert told(fleet, "config", "show")["settings"] == said[0].settings
    assert fleet.cli("config", "show", "--at", "2020-01-01T00:00:00Z").returncode == 1
    replayed = next(score for score in scores if score.settings == said[0].settings)
    found = told(fleet, "replay", replayed.transaction_id, "--card", replayed.card_id, FUTURE_SKEW="600")
    assert found["settings"]["differing"] == {"FRAUDSTREAM_FUTURE_SKEW": ["300", "600"]}
    restarted = restart(fleet, first)
    assert len(records_of_workers(fleet)) == 2, "it has said the same before"
    assert restarted.exit_code is None


def assert_status_says_it(fleet: Fleet, name: str) -> None:
    """The group has another name than by the deployment; nobody states it."""
    assert fleet.environment["GROUP"] != f"fraudstream-{name}"
    status = told(fleet, "deployment", "status", GROUP="")
    (state,) = status["deployments"]
    assert (state["group"], state["group_source"]) == (fleet.environment["GROUP"], "record")
    assert (state["workers"], state["lag"] < 100) == (["ann", "ben"], True)
    assert status["settings_differ"] == {"FRAUDSTREAM_FUTURE_SKEW": {"300": [f"{name}/ann"], "600": [f"{name}/ben"]}}
    assert status["settings_unknown"] == []


def restart(fleet: Fleet, worker: Worker) -> Worker:
    assert worker.terminate() == 0
    again = fleet.worker(WORKER_ID="ann")
    again.await_ready()
    return again

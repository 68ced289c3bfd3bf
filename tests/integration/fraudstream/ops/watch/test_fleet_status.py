"""`fraudstream status` of a fleet: without a model, with a canary, and when its worker is gone and payments wait."""

import asyncio
import json
from typing import Any

from fraudstream.cli.decisions import DecisionTail
from stream.scan import scan_topic
from stream.settings import read_settings
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, payment, publish, put_model


def look(fleet: Fleet) -> dict[str, Any]:
    done = fleet.cli("status", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shown_decisions(fleet: Fleet) -> None:
    """Look at the newest of 40 decisions, in both forms, and follow those of three more payments."""
    as_json, as_text = (fleet.cli("decisions", "--last", "5", *form).stdout.splitlines() for form in (("--json",), ()))
    found = [json.loads(line) for line in as_json]
    assert len(found) == len(as_text) == 5
    assert {one["transaction_id"] for one in found} <= {score.transaction_id for score in fleet.scores()[0]}
    assert all(
        one["transaction_id"] in line and one["decision"] in line for one, line in zip(found, as_text, strict=True)
    )
    settings = read_settings({f"FRAUDSTREAM_{name}": value for name, value in fleet.environment.items()})

    async def followed() -> list[str]:
        async with scan_topic(settings, settings.topic("scores"), 0) as scan:
            reader = DecisionTail(scan)
            assert len(await reader.read_last(100)) == 40
            await publish(fleet.brokers, settings.topic("transactions"), map(payment, range(100, 103)))
            new: list[str] = []
            async with asyncio.timeout(60):
                while len(new) < 3:
                    new += [one.view.transaction_id for one in await reader.read_new()]
            return new

    assert sorted(asyncio.run(followed())) == ["t-100", "t-101", "t-102"]


def test_a_look_says_who_decides_what_waits_and_what_to_look_at_first(fleet: Fleet) -> None:
    empty = look(fleet)
    assert empty["headline"].startswith("Nobody decides: no model is live")
    assert [one["command"] for one in empty["look_first"]] == ["fraudstream model promote MODEL", "fraudstream worker"]

    (worker,) = fleet.go_live()
    live, canary = fleet.events("accepted")[-1]["model"], put_model(fleet.models, seed=1)
    fleet.cli("model", "canary", canary, "--share", "10%", "--reason", "test")
    fleet.publish(payment(number) for number in range(40))
    fleet.await_scores(40)
    until(lambda: all(not one["lag"] for one in look(fleet)["partitions"]), "all of it is committed", 30)
    found = look(fleet)
    assert (found["roles"]["live"], found["roles"]["canary"]) == (live, {"model": canary, "share_bp": 1_000})
    assert found["publisher"] == found["state"]["deployment"]
    assert (found["incidents"], found["guard"]["watched"], found["guard"]["guards"]) == ([], "canary", [])
    assert [one["command"] for one in found["look_first"]] == ["fraudstream guard", "fraudstream backfill FILE"]
    assert len(found["partitions"]) == PARTITIONS
    assert "decides with 1 worker; nothing waits" in found["headline"]

    shown_decisions(fleet)

    assert worker.terminate() == 0
    fleet.publish(payment(number) for number in range(40, 47))
    until(lambda: not look(fleet)["state"]["workers"], "the worker has left its group", 60)
    gone = look(fleet)
    assert sum(one["lag"] for one in gone["partitions"]) == 7
    assert all((one["waits_ms"] is None) == (not one["lag"]) for one in gone["partitions"])
    assert gone["look_first"][0]["command"] == "fraudstream worker"
    shown = fleet.cli("status").stdout
    assert "Nobody decides: no worker runs in group" in shown
    assert "Oldest waits" in shown
    assert canary[:12] in shown

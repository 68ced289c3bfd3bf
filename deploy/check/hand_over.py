"""Starts the second fleet of the profile `green`, hands over to it and back, as docs/how-to/hand-over.md says."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from deploy.check.compose import Stack
from deploy.check.queries import until
from deploy.check.records import Scores
from deploy.check.report import CheckError, CheckReport

BLUE, GREEN = "default", "green"
_OPERATOR = ("run", "--rm", "--no-deps", "-T")
_AS_GREEN = ("-e", "FRAUDSTREAM_DEPLOYMENT=green", "-e", "FRAUDSTREAM_REDIS_URL=redis://green-redis:6379/0")
WARM_SECONDS = 240
"""So long a second fleet may take to start and to build its histories from the topics."""


class HandOverCheck:
    """Runs an operator's commands in the image of the tools, with the settings of one deployment or the other."""

    def __init__(self, stack: Stack, report: CheckReport) -> None:
        self._stack = stack
        self._report = report

    def start_green(self) -> None:
        """Start the second fleet with the model that is live, and wait until it is warm.

        Raises:
            CheckError: it does not become warm.
        """
        self._stack.compose("--profile", GREEN, "up", "--detach", GREEN)
        live = next(one["digest"] for one in self._run("model", "list")["models"] if one["role"] == "live")
        promoted = until(lambda: self._promote(live), lambda why: not why, seconds=WARM_SECONDS)
        if promoted:
            raise CheckError(f"no model goes live in {GREEN}: {promoted}")
        health = until(self._health, lambda health: set(health) == {"healthy"}, seconds=60)
        self._report.expect(set(health) == {"healthy"}, f"{len(health)} workers of {GREEN} decide silently", health)

    def cut_over(self, name: str) -> None:
        """Hand over to a deployment, all gates included, and expect every partition with payments to go on.

        Raises:
            CheckError: the hand-over is refused.
        """
        found = self._run("deployment", "cut-over", name, "--reason", "check", as_green=name == GREEN)
        handover = found["handover"]
        waited = [one["first_latency_ms"] for one in handover["partitions"] if one["first_latency_ms"] is not None]
        gates = {gate["gate"]: gate["passed"] for gate in found["gates"]}
        self._report.expect(handover["done"], f"{name} publishes: {len(gates)} gates passed", {"gates": gates})
        if waited:
            self._report.say(
                f"      the first payments of {len(waited)} partitions waited for {max(waited)} ms at most"
            )

    def expect_decided_by(self, name: str, names: list[str], scores: Scores) -> None:
        """Expect a deployment to have decided these transactions."""
        found = Counter(score.deployment for one in names for score in scores.valid.get(one, ()))
        self._report.expect(found == {name: len(names)}, f"{name} decided all {len(names)}", dict(found))

    def stop_green(self) -> None:
        """Stop the second fleet, and expect it to end as it should."""
        self._stack.compose("--profile", GREEN, "stop", GREEN)
        codes = [container["ExitCode"] for container in self._stack.containers(GREEN)]
        self._report.expect(set(codes) == {0}, f"the workers of {GREEN} exit with 0 when they are stopped", codes)

    def _promote(self, digest: str) -> str:
        """Promote a model in the second fleet; return why it is not live."""
        try:
            self._run("model", "promote", digest, "--reason", "as in blue", "--wait", "30", as_green=True)
        except CheckError as error:
            return str(error)
        return ""

    def _health(self) -> list[str]:
        return [container["Health"] for container in self._stack.containers(GREEN)]

    def _run(self, *words: str, as_green: bool = False) -> dict[str, Any]:
        settings = _AS_GREEN if as_green else ()
        output = self._stack.compose(*_OPERATOR, *settings, "model", "fraudstream", *words, "--json")
        found: dict[str, Any] = json.loads(output)
        return found

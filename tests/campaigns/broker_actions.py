"""What the steps of a plan do to brokers as their operators do it: replicas and leaders are moved under load."""

import threading
import time
from collections.abc import Callable, Mapping
from itertools import cycle

from campaigns.broker_plans import COMMITS, MOVED
from campaigns.plan import SAME_MODEL
from campaigns.world import NotWellError, World
from support.fleet.fleet import until
from support.fleet.workers import GUARD_COMMAND
from support.kafka.admin import set_on_topic

ACT_SECONDS = 60.0
WARNED_SECONDS = 60.0
UNCLEAN = "unclean.leader.election.enable"
GUARD = (*GUARD_COMMAND, "--cool-down", "0", "--least-decisions", "20")

Beside = Callable[[Callable[[], None]], None]
"""Does work beside the later steps."""


class BrokerActions:
    """Does the steps of brokers; `beside` does what lasts."""

    def __init__(self, world: World, beside: Beside) -> None:
        self.world = world
        self._beside = beside
        self._one_away = threading.Lock()
        """Held while a broker is away: two are never away at once, so that writes go on."""

    # --- reassignment

    def reassign(self, topic: str, replicas: str) -> None:
        """Give the partitions of a topic other replicas; where it has more than are named, these come by turns."""
        cluster, name = self.world.cluster, self._named(topic)
        named = cycle([[int(node) for node in nodes] for nodes in replicas.split()])
        wanted = {(name, number): next(named) for number in sorted(cluster.leaders(name))}
        self._beside(lambda: cluster.reassign(wanted))

    def elect_preferred(self, topic: str) -> None:
        """Let the first replica of each partition of a topic lead it, where it is in sync."""
        name = self._named(topic)
        self._beside(lambda: self.world.cluster.elect_preferred(name))

    # --- restarts

    def restart_broker(self, node: int, how: str, away_s: float) -> None:
        """Stop or kill a broker, and start it again after some seconds, once no other is away."""
        self._beside(lambda: self._restart(node, how, away_s))

    def _restart(self, node: int, how: str, away_s: float) -> None:
        cluster = self.world.cluster
        with self._one_away:
            self._end(node, how)
            time.sleep(away_s)
            cluster.start()
            cluster.await_in_sync(*map(self.world.topic, MOVED))

    def _end(self, node: int, how: str) -> None:
        if how == "stop":
            self.world.cluster.nodes[node].stop()
        else:
            self.world.cluster.nodes[node].kill()

    # --- other ports

    def move_broker(self, node: int, how: str, away_s: float) -> None:
        """Stop or kill a broker, and start it on another port.

        What is started from now on is told of the others, of which the next one to move leaves one in its place; what
        runs keeps its list.
        """
        self._beside(lambda: self._move(node, how, away_s))

    def _move(self, node: int, how: str, away_s: float) -> None:
        cluster, environment = self.world.cluster, self.world.fleet.environment
        with self._one_away:
            others = [broker.brokers for number, broker in cluster.nodes.items() if number != node]
            environment["BROKERS"] = ",".join(others)
            self._end(node, how)
            time.sleep(away_s)
            cluster.move(node)
            cluster.start()
            cluster.await_in_sync(*map(self.world.topic, MOVED))

    # --- the guard

    def start_guard(self) -> None:
        self.world.guard = self.world.fleet.worker(GUARD)

    def let_guard_act(self) -> None:
        """Start a rollout, which the guard climbs or ends, by how the model decides: it reads scores and commands."""
        world, model = self.world, self.world.servers.models[SAME_MODEL]
        with self._one_away:  # the brokers that move have moved
            pass
        ladder = ("--ladder", "10% 1s, 25% 1h, 100%", "--climb", "none")
        world.tell("rollout start", "rollout", "start", model, *ladder)
        deadline = time.monotonic() + ACT_SECONDS
        while not self._guard_has_acted():
            if time.monotonic() > deadline:
                raise NotWellError(f"the guard neither climbs nor ends a rollout within {ACT_SECONDS:g} s")
            time.sleep(0.5)

    def _guard_has_acted(self) -> bool:
        events = [record.fields for record in self.world.read("model-events")]
        accepted = [event for event in events if event.get("kind") == "accepted"]
        return any(str(event.get("actor")).startswith("guard@") for event in accepted)

    # --- an unclean leader election

    def endanger(self, topic: str, behind: int, ahead: int) -> None:
        """Keep a topic on two brokers: one may acknowledge alone, and the other may lead without what it has not."""
        cluster, name = self.world.cluster, self.world.topic(topic)
        partitions = list(cluster.leaders(name))
        cluster.reassign({(name, number): [ahead, behind] for number in partitions})
        pair = frozenset({ahead, behind})
        until(lambda: set(cluster.in_sync(name).values()) == {pair}, f"{name} has two replicas")
        cluster.elect_preferred(name)
        set_on_topic(cluster.brokers, name, unclean_leader_election_enable="true", min_insync_replicas="1")

    def look_for_warnings(self, topic: str, worker: int) -> None:
        """Restart a worker, and keep what it and `topics check` say of the setting."""
        world = self.world
        world.restart_worker(worker)
        restarted = world.workers[worker]
        until(lambda: restarted.has_joined, "the restarted worker has joined", WARNED_SECONDS)
        checked = world.fleet.cli("topics", "check", "--records", "50")
        told = {"worker": restarted.log(), f"topics check (exit code {checked.returncode})": checked.stdout}
        for name, text in told.items():
            lines = [line for line in text.splitlines() if UNCLEAN in line and world.topic(topic) in line]
            world.warnings[name] = lines[0] if lines else ""

    def elect_unclean(self, topic: str, behind: int, ahead: int, alone_s: float) -> None:
        """Let one broker alone acknowledge for some seconds, kill it, and let the one that has less lead.

        The third broker keeps the quorum of controllers with whichever of the two is there.
        """
        cluster, name = self.world.cluster, self.world.topic(topic)
        cluster.nodes[behind].kill()
        until(lambda: set(cluster.in_sync(name).values()) == {frozenset({ahead})}, f"{ahead} alone has {name}")
        time.sleep(alone_s)
        cluster.nodes[ahead].kill()
        cluster.nodes[behind].launch()
        until(lambda: set(cluster.leaders(name).values()) == {behind}, f"{behind} leads {name}, uncleanly")
        cluster.start()

    def _named(self, topic: str) -> str:
        return topic if topic == COMMITS else self.world.topic(topic)


BROKER_ACTIONS: Mapping[str, Callable[..., None]] = {
    action.__name__: action
    for action in (
        BrokerActions.reassign,
        BrokerActions.elect_preferred,
        BrokerActions.restart_broker,
        BrokerActions.move_broker,
        BrokerActions.start_guard,
        BrokerActions.let_guard_act,
        BrokerActions.endanger,
        BrokerActions.look_for_warnings,
        BrokerActions.elect_unclean,
    )
}

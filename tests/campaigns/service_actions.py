"""What the steps of a plan do to a fleet's guard, its model repository, and the limits of its workers' processes."""

import resource
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from campaigns.broker_actions import GUARD, Beside
from campaigns.world import World, use_of
from support.fleet.fleet import until

LADDER = ("--ladder", "10% 1s, 25% 2s, 50% 2s, 100%", "--climb", "none")
STEP_SECONDS = 30.0
JOINED_SECONDS = 60.0


class ServiceActions:
    """Does the steps of services; `beside` does what lasts."""

    def __init__(self, world: World, beside: Beside) -> None:
        self.world = world
        self._beside = beside
        self._draw = np.random.default_rng([12, world.plan.seed])

    # --- the guard

    def start_rollout(self, model: int) -> None:
        """Start a rollout that the guard climbs or ends, by how its model decides."""
        digest = self.world.servers.models[model]
        self._beside(lambda: self.world.tell("rollout start", "rollout", "start", digest, *LADDER))

    def canary(self, model: int, share_bp: int) -> None:
        """Start a canary as an operator does; while a rollout goes on, it is refused."""
        digest = self.world.servers.models[model]
        canary = ("model", "canary", digest, "--share", f"{share_bp / 100:g}%", "--wait", "15")
        self._beside(lambda: self.world.tell("canary", *canary))

    def kill_guard_at_each_step(self, times: int) -> None:
        """Kill the guard as soon as a command of it is accepted, and start another one; up to so many times."""
        self._beside(lambda: self._kill_guards(times))

    def _kill_guards(self, times: int) -> None:
        seen = 0
        for _ in range(times):
            deadline = time.monotonic() + STEP_SECONDS
            while len(found := self._accepted_of_guards()) <= seen and time.monotonic() < deadline:
                time.sleep(0.1)
            if len(found) <= seen:
                self.world.notes.append(f"the guard did nothing for {STEP_SECONDS:g} s after {seen} commands")
                return
            seen = len(found)
            guard, self.world.guard = self.world.guard, None
            if guard is not None:
                guard.kill()
            self.world.guard = self.world.fleet.worker(GUARD)
        self.world.notes.append(f"the guard was killed {times} times, after {', '.join(found)}")

    def _accepted_of_guards(self) -> list[str]:
        """Return the commands of guards that were accepted, in their order."""
        events = [record.fields for record in self.world.read("model-events")]
        of_guards = [event for event in events if str(event.get("actor")).startswith("guard@")]
        return [str(event.get("command")) for event in of_guards if event.get("kind") == "accepted"]

    # --- artifacts

    def damage_artifact(self, model: int, how: str) -> None:
        """Truncate an artifact's model, take its folder away, or put another model's text in the place of its own."""
        folder = self._folder(model)
        shutil.copytree(folder, self._kept(model), dirs_exist_ok=True)
        match how:
            case "truncate":
                text = folder / "model.txt"
                with text.open("r+b") as file:
                    file.truncate(text.stat().st_size // 2)
            case "remove":
                shutil.rmtree(folder)
            case "replace":
                another = self._folder((model + 1) % len(self.world.servers.models))
                shutil.copyfile(another / "model.txt", folder / "model.txt")

    def restore_artifact(self, model: int) -> None:
        """Put an artifact back as it was, as from a backup."""
        shutil.copytree(self._kept(model), self._folder(model), dirs_exist_ok=True)

    def _folder(self, model: int) -> Path:
        return self.world.servers.repository / self.world.servers.models[model]

    def _kept(self, model: int) -> Path:
        return self.world.folder / f"kept-{model}"

    # --- limits

    def limit_descriptors(self, worker: int, spare: int, seconds: float) -> None:
        """Let a worker open only so many more descriptors, for some seconds.

        One that still starts would end, as it should, and not even import its modules.
        """
        self._await_joined(worker)
        pid = self.world.workers[worker].pid
        limited(self._beside, pid, resource.RLIMIT_NOFILE, use_of(pid).descriptors + spare, seconds)

    # --- a large fleet

    def restart_one_by_one(self, killed_share: float) -> None:
        """Restart all workers, each when the one before has joined; a share is killed, the others end in order."""
        world = self.world
        for at in range(len(world.workers)):
            if self._draw.random() < killed_share:
                world.replace_worker(at)
            else:
                world.restart_worker(at)
            self._await_joined(at)

    def _await_joined(self, worker: int) -> None:
        until(lambda: self.world.workers[worker].has_joined, f"worker {worker} has joined", JOINED_SECONDS)


def limited(beside: Beside, pid: int, kind: int, most: int, seconds: float) -> None:
    """Let a process have only so much of a resource, a kind of `resource`, for some seconds."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (most, before[1]))

    def lift() -> None:
        time.sleep(seconds)
        if Path(f"/proc/{pid}").exists():
            resource.prlimit(pid, kind, before)

    beside(lift)


SERVICE_ACTIONS: Mapping[str, Callable[..., None]] = {
    action.__name__: action
    for action in (
        ServiceActions.start_rollout,
        ServiceActions.canary,
        ServiceActions.kill_guard_at_each_step,
        ServiceActions.damage_artifact,
        ServiceActions.restore_artifact,
        ServiceActions.limit_descriptors,
        ServiceActions.restart_one_by_one,
    )
}

"""What the steps of a plan do to a seed's Redis, disk, memory and clocks, and with a second fleet."""

import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from campaigns.broker_actions import GUARD, Beside
from campaigns.service_actions import limited
from campaigns.world import NotWellError, World
from models.commands import CommandKind
from models.errors import ModelError
from models.repository import Repository
from stream.errors import StreamError
from support.fleet.deployments import cut_over, other_deployment
from support.fleet.fleet import Fleet, until
from support.fleet.payments import model_for_tests

OTHER_WORKERS = 2
LIVE_SECONDS, HANDED_SECONDS = 60.0, 40.0
NIGHT_STEPS = 40
"""The clocks go on in so many steps, so that a step is not a night."""


class HostActions:
    """Does the steps of hosts; `beside` does what lasts."""

    def __init__(self, world: World, beside: Beside) -> None:
        self.world = world
        self._beside = beside

    # --- a fail-over of Redis

    def fail_over(self, how: str, cut: bool) -> None:  # noqa: FBT001 - named by the plan
        """Make the replica the master once it follows; the payments of the last two seconds are not in it."""
        standby = self.world.servers.standby
        assert standby is not None
        standby.await_following()
        self.world.notes.append(f"fail-over: the replica lacks {standby.lag():,} bytes")
        standby.fail_over(how, cut=cut)

    # --- a full disk

    def start_guard_with_checkpoint(self) -> None:
        self.world.guard = self.world.fleet.worker((*GUARD, "--checkpoint", str(self._disk / "guard.json")))

    def restart_guard_with_checkpoint(self) -> None:
        """Kill the guard, and start another one on the same checkpoint."""
        guard, self.world.guard = self.world.guard, None
        if guard is not None:
            guard.kill()
        self.start_guard_with_checkpoint()

    def fill_disk(self, spare: int) -> None:
        """Write a file until nothing is left on the disk, and then leave so many bytes."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                _fill(file.write, bytes(size))
            file.truncate(max(0, file.tell() - spare))

    def free_disk(self) -> None:
        self._filler.unlink()

    def put_model(self, seed: int) -> None:
        """Put a new model, and send its promotion, which is refused where the disk had no room for the model."""
        repository = Repository(str(self.world.servers.repository))
        try:
            digest = repository.put(model_for_tests(seed=seed))
        except (ModelError, OSError) as error:
            self.world.notes.append(f"put: {type(error).__name__} {error}"[:300])
            return
        promotion = ("model", "promote", digest, "--wait", "15")
        self._beside(lambda: self.world.tell("promote of a new model", *promotion))

    @property
    def _disk(self) -> Path:
        return self.world.servers.repository.parent

    @property
    def _filler(self) -> Path:
        return self._disk / "filler"

    # --- a full memory

    def limit_memory(self, worker: int, spare_mb: int, seconds: float) -> None:
        """Let a worker have only so much more memory of its own, for some seconds."""
        pid = self.world.workers[worker].pid
        limited(self._beside, pid, resource.RLIMIT_DATA, _data_bytes(pid) + (spare_mb << 20), seconds)

    # --- a night

    def let_night_pass(self, hours: int, seconds: float) -> None:
        """Send nothing for some seconds, in which the workers' clocks go on by some hours."""
        world = self.world
        world.await_committed()
        with world.traffic:
            for step in range(1, NIGHT_STEPS + 1):
                time.sleep(seconds / NIGHT_STEPS)
                world.set_clock(-round(hours * 3_600 * (1 - step / NIGHT_STEPS)))
            world.traffic.behind_ms = 0

    # --- a second fleet

    def start_other_fleet(self, model: int) -> None:
        """Start another deployment on the same topics, and make a model live there once its histories are whole."""
        world = self.world
        models = str(world.servers.repository)
        world.other_fleet = other = other_deployment(world.fleet, world.start, MODELS=models)
        sizes = ("--partitions", str(world.plan.partitions), "--replication", str(world.cluster.replication))
        done = other.cli("topics", "apply", *sizes)
        assert done.returncode == 0, done.stderr
        world.other_workers += [other.worker() for _ in range(OTHER_WORKERS)]
        self._beside(lambda: self._go_live(other, world.servers.models[model]))

    def _go_live(self, other: Fleet, digest: str) -> None:
        def promoted() -> bool:
            done = other.cli("model", "promote", digest, "--reason", "a campaign", "--wait", "15")
            return done.returncode == 0

        until(promoted, "the other fleet has a live model", LIVE_SECONDS)

    def hand_over(self, to_other: bool) -> None:  # noqa: FBT001 - named by the plan
        """Hand over as soon as the fleet that is to publish could."""
        fleet = self.world.other_fleet if to_other else self.world.fleet
        assert fleet is not None
        self._beside(lambda: self._hand_over(fleet))

    def _hand_over(self, fleet: Fleet) -> None:
        deadline, last = time.monotonic() + HANDED_SECONDS, ""
        while time.monotonic() < deadline:
            try:
                verdict = cut_over(fleet, wait=10.0)
            except StreamError as error:
                last = str(error)
                continue
            last = str(verdict)
            if verdict is not None and verdict.kind == "accepted":
                self.world.notes.append(f"{CommandKind.CUT_OVER}: term {verdict.term}")
                return
            time.sleep(0.5)
        raise NotWellError(f"no hand-over within {HANDED_SECONDS:g} s: {last[-500:]}")


def _fill(write: Callable[[bytes], int | None], part: bytes) -> None:
    """Write a part again and again until there is no room for it."""
    try:
        while write(part) == len(part):
            pass
    except OSError:
        pass


def _data_bytes(pid: int) -> int:
    """Return the size of what counts for `RLIMIT_DATA`."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) << 10


HOST_ACTIONS: Mapping[str, Callable[..., None]] = {
    action.__name__: action
    for action in (
        HostActions.fail_over,
        HostActions.start_guard_with_checkpoint,
        HostActions.restart_guard_with_checkpoint,
        HostActions.fill_disk,
        HostActions.free_disk,
        HostActions.put_model,
        HostActions.limit_memory,
        HostActions.let_night_pass,
        HostActions.start_other_fleet,
        HostActions.hand_over,
    )
}

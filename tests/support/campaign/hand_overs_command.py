"""Runs a campaign of hand-overs: `.venv/bin/python tests/support/campaign/hand_overs_command.py --seed 1`.

It needs Java, Maven or its cached jars, and redis-server; it takes about twelve seconds a hand-over on two cores.
Standard output is one JSON object, the summary; a line for each hand-over goes to standard error.
"""

import argparse
import json
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
import numpy as np

sys.path.append(str(Path(__file__).parents[2]))  # run as a script, this file has to find `support`
from support.campaign.hand_overs import Fleets, HandOvers, run_hand_overs
from support.fleet.deployments import other_deployment
from support.fleet.fleet import new_fleet
from support.fleet.payments import PARTITIONS
from support.fleet.workers import COMMAND, Worker
from support.kafka.three_brokers import three_brokers
from support.redis.own import OwnRedis


def run_on_three_brokers(
    drawn: tuple[int, int], folder: Path, say: Callable[[str], None], *, faulty: bool = True
) -> HandOvers:
    """Run a campaign on three brokers and a Redis of its own; logs of workers go to the folder."""
    seed, _ = drawn
    (folder / "redis").mkdir(exist_ok=True)
    redis, started = OwnRedis(folder / "redis"), list[Worker]()

    def start(settings: Mapping[str, str], command: Sequence[str] = COMMAND) -> Worker:
        worker = Worker(settings, folder / f"worker-{len(started)}.log", command)
        started.append(worker)
        worker.start()
        return worker

    with three_brokers() as cluster:
        redis.start()
        try:
            blue = new_fleet(cluster, redis.url, f"h{uuid.uuid4().hex[:8]}-", folder, start)
            green = other_deployment(blue, start)
            replication = str(cluster.replication)
            done = green.cli("topics", "apply", "--partitions", str(PARTITIONS), "--replication", replication)
            assert done.returncode == 0, done.stderr
            return run_hand_overs(
                Fleets(cluster, (blue, green), np.random.default_rng(seed)), drawn, say, faulty=faulty
            )
        finally:
            for worker in started:
                worker.kill()
            redis.kill()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cut-overs", type=int, default=100)
    parser.add_argument("--without-faults", action="store_true", help="kill nothing")
    parser.add_argument("--logs", type=Path, help="a folder for the workers' logs, which are removed otherwise")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hand-overs-") as name:
        folder = arguments.logs or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        drawn = (arguments.seed, arguments.cut_overs)
        faulty = not arguments.without_faults
        done = run_on_three_brokers(drawn, folder, lambda line: click.echo(line, err=True), faulty=faulty)
    click.echo(json.dumps(done._asdict()))


if __name__ == "__main__":
    main()

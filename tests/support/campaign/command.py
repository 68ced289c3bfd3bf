"""Runs a fault campaign: `.venv/bin/python tests/support/campaign/command.py --seed 1 --faults 300`.

It needs Java, Maven or its cached jars, and redis-server; it takes about eight seconds a fault on two cores. Standard
output is one JSON object, the summary; a line for each week goes to standard error.
"""

import argparse
import json
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import click

sys.path.append(str(Path(__file__).parents[2]))  # run as a script, this file has to find `support`
from support.campaign.campaign import Campaign, Summary, kinds
from support.fleet.fleet import new_fleet
from support.fleet.workers import starting
from support.kafka.three_brokers import ThreeBrokers, three_brokers
from support.redis.replicated import Pair, redis_pair

REDIS = ("--notify-keyspace-events", "Ege", "--maxmemory-policy", "noeviction")


def run_campaign(seed: int, faults: int, folder: Path, say: Callable[[str], None], only: Sequence[str] = ()) -> Summary:
    """Run a campaign on three brokers and a Redis with sentinels of its own; logs of workers go to the folder."""
    with three_brokers() as cluster, redis_pair(*REDIS, sentinels=True) as pair:
        return run_on((cluster, pair), (seed, faults), folder, say, only)


def run_on(
    servers: tuple[ThreeBrokers, Pair],
    drawn: tuple[int, int],
    folder: Path,
    say: Callable[[str], None],
    only: Sequence[str],
) -> Summary:
    """Run a campaign of so many faults by a seed; its workers are killed at the end."""
    cluster, pair = servers
    with starting(folder) as start:
        fleet = new_fleet(cluster, pair.url, f"c{uuid.uuid4().hex[:8]}-", folder, start)
        return Campaign((cluster, fleet, pair), drawn, say, only).run()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--only", nargs="*", choices=kinds(), default=(), help="draw these faults only")
    parser.add_argument("--logs", type=Path, help="a folder for the workers' logs, which are removed otherwise")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="campaign-") as name:
        folder = arguments.logs or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        drawn = (arguments.seed, arguments.faults, folder)
        done = run_campaign(*drawn, lambda line: click.echo(line, err=True), arguments.only)
    click.echo(json.dumps(done._asdict()))


if __name__ == "__main__":
    main()

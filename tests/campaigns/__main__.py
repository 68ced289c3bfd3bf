"""Runs a campaign: `.venv/bin/python -m tests.campaigns outages --seeds 1-60`, from the root of a checkout.

It needs Java, Maven or its cached jars, and redis-server; the campaign of clocks also Debian's package libfaketime.
Standard output has a line for each seed; the results are appended to `results.jsonl` in the folder.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import click

sys.path.append(str(Path(__file__).parents[1]))  # run from the root, this has to find `campaigns` and `support`
from campaigns.plans import CAMPAIGNS
from campaigns.runner import PASSED, Campaign, closing_table, commit_of, read_results, run_seeds, seeds_of, show, told
from campaigns.seed import run_seed
from campaigns.world import missing
from support.paths import HOUSE

WRONG_USE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("campaign", choices=CAMPAIGNS)
    parser.add_argument("--seeds", type=seeds_of, default=[1], help="7, 1-60 or 1-5,9; 1 by default")
    parser.add_argument(
        "--folder", type=Path, default=HOUSE / "build/campaigns", help="for results and logs of failures"
    )
    parser.add_argument("--plan", action="store_true", help="print what the seeds would do, and do nothing")
    parser.add_argument("--verbose", action="store_true", help="tell each step on standard error")
    given = parser.parse_args(arguments)
    name, draw = given.campaign, CAMPAIGNS[given.campaign]
    if given.plan:
        for seed in given.seeds:
            click.echo(f"{name} {seed}: {draw(seed).summary()}")
        return 0
    if lacking := missing(name):
        click.echo(lacking, err=True)
        return WRONG_USE
    given.folder.mkdir(parents=True, exist_ok=True)
    return _run(name, given.seeds, given.folder.resolve(), verbose=given.verbose)


def _run(name: str, seeds: Sequence[int], folder: Path, *, verbose: bool) -> int:
    commit = commit_of(HOUSE)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # our own commands, while brokers are away on purpose

    def say(line: str) -> None:
        if verbose:
            click.echo(f"  {line}", err=True)

    all_passed = True
    try:
        for line in run_seeds(Campaign(name, CAMPAIGNS[name], run_seed), seeds, folder, commit, say):
            all_passed &= line.outcome == PASSED
            click.echo(told(line))
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on where it ended", err=True)
        all_passed = False
    show(closing_table(read_results(folder), {name: seeds}, commit))
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())

"""Writes docs/reference/mistakes.md anew: `.venv/bin/python tests/support/mistakes/command.py`.

It makes the mistakes that need no server, or with `--servers` the others; what the page says of the rest stays.
"""

import argparse
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))  # run as a script, this file has to find `support`
from support.kafka.cluster import running_cluster
from support.mistakes.making import alone, make
from support.mistakes.mistake import Answer, Stage
from support.mistakes.page import ALL, write
from support.mistakes.servers import servers
from support.redis.server import redis_server


def made_alone(folder: Path) -> dict[str, Answer]:
    """Make the mistakes that need no server."""
    found = {}
    for number, mistake in enumerate(ALL):
        if mistake.stage is Stage.NO_SERVER:
            (here := folder / f"alone-{number}").mkdir()
            found[mistake.title] = make(mistake, alone(here))
    return found


def made_with_servers(folder: Path) -> dict[str, Answer]:
    """Make the others, on Apache Kafka and a Redis of their own."""
    found, prefix = {}, f"m{uuid.uuid4().hex[:8]}-"
    (folder / "fleets").mkdir()
    with running_cluster("apache") as (kafka, line), redis_server("--notify-keyspace-events", "Ege") as redis_url:
        sys.stderr.write(f"{line}\n")
        with servers(kafka, redis_url, prefix, folder / "fleets") as places:
            for number, mistake in enumerate(ALL):
                if mistake.stage is not Stage.NO_SERVER:
                    (here := folder / f"with-servers-{number}").mkdir()
                    sys.stderr.write(f"{mistake.title}\n")
                    with reported():
                        found[mistake.title] = make(mistake, places.place(mistake.stage, here))
    return found


@contextmanager
def reported() -> Iterator[None]:
    """Tell of a mistake that could not be made, and go on; what the page says of it stays."""
    try:
        yield
    except (AssertionError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"FAILED: {error}\n")


def main() -> None:
    """Read the arguments, make the mistakes and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", action="store_true", help="those that need Kafka and Redis")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mistakes-") as name:
        write(made_with_servers(Path(name)) if arguments.servers else made_alone(Path(name)))


if __name__ == "__main__":
    main()

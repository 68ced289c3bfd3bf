"""A worker that gives up a write after two seconds instead of thirty, so that a test can wait for many."""

import sys
from pathlib import Path

from stream.engine.publisher import Publisher

COMMAND = (sys.executable, str(Path(__file__).resolve()), "worker")
GIVE_UP_SECONDS = 2.0

if __name__ == "__main__":
    from fraudstream.cli.main import main

    Publisher.give_up_seconds = GIVE_UP_SECONDS
    main()

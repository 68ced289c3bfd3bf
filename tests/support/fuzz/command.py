"""Runs one target with atheris: `python tests/support/fuzz/command.py TARGET --seconds 600 --corpus DIR`.

atheris is no dependency of this project: install it beside the project's own packages. The corpus begins with the
target's genuine bytes and grows; what a check fails for is written beside it, as `finding-...`. The last lines are
libFuzzer's statistics.
"""

import argparse
import hashlib
import importlib
import logging
import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[3]), str(Path(__file__).parents[2])]  # run as a script: `stream`, `support`

SLOWEST_SECONDS = 30
MOST_MEMORY_MB = 2048
"""atheris itself keeps up to 1.5 kB for each run (version 3.0, target `labels`), so a long run may end by this."""
LONGEST_INPUT_BYTES = 64 * 1024
PACKAGES = ["fraudstream_client", "fraudstream", "stream", "features", "models", "shadow", "guards", "metrics"]


def main() -> None:
    options = _options()
    try:
        atheris = importlib.import_module("atheris")
    except ModuleNotFoundError:
        sys.exit("atheris is missing: `pip install atheris` into the environment that runs this")
    with atheris.instrument_imports(include=PACKAGES):
        targets = importlib.import_module("support.fuzz.targets").TARGETS
    if options.target not in targets:
        sys.exit(f"there is no target {options.target!r}, but {', '.join(targets)}")
    target = targets[options.target]
    options.corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (options.corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    logging.disable()
    limits = [f"-max_total_time={options.seconds}", f"-timeout={SLOWEST_SECONDS}", f"-rss_limit_mb={MOST_MEMORY_MB}"]
    places = [f"-artifact_prefix={options.corpus}-finding-", str(options.corpus)]
    atheris.Setup(
        [sys.argv[0], *limits, f"-max_len={LONGEST_INPUT_BYTES}", "-print_final_stats=1", *places], target.check
    )
    atheris.Fuzz()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()

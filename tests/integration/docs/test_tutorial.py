"""Runs the tutorial as written: saves its files, runs its commands in order, and compares their output.

The comment before a block gives its kind: `file: NAME`, `refused` (the command exits with 1), `second terminal`, or
`until it is so` (the commands may be repeated). Every line of output on the page must be printed, in that order; times,
dates, rates, shares and digests may differ, but a digest of the page must stand for the same digest throughout.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from fraudstream.demo.services.processes import free_port
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster
from support.paths import HOUSE
from support.typed_line import typed

PAGE = HOUSE / "docs" / "tutorial" / "first-promotion.md"
BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
PATIENCE_SECONDS = 180.0
DIGEST = r"[0-9a-f]{8,64}"
TOKENS = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT[\d:.]+Z)|(?P<date>\d{4}-\d\d-\d\d)"
    rf"|(?P<digest>\b{DIGEST}\b)|(?P<number>[-+]?\d+\.\d+%?|[-+]\d+)|(?P<space>\s+)"
)
DECIDED = re.compile(r"approve|review|decline|Bands|otherwise")
CHANGED = re.compile("Different|Alike|From live|(?:approve|review|decline) to (?:approve|review|decline)")
RATE = re.compile(r"\d+(?= ms late)")


class Block(NamedTuple):
    """A block of the page, and the text of the comment before it."""

    note: str
    language: str
    text: str


class Reader:
    """Follows the page, with servers and a topic prefix of the test's own."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._settings = settings
        self._digests: dict[str, str] = {}
        self._environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "100",
        }

    def blocks(self) -> Iterator[Block]:
        """Yield the page's blocks, with this reader's topic prefix and deployment in place of the page's."""
        text = PAGE.read_text().replace("tutorial-scores-tutorial", f"tutorial-scores-{self._settings['DEPLOYMENT']}")
        text = text.replace("tutorial-", self._settings["TOPIC_PREFIX"])
        for found in BLOCK.finditer(text):
            yield Block(found["note"] or "", found["language"], found["text"])

    def save(self, name: str, text: str) -> None:
        """Save a file, with this reader's values for the settings that it exports."""
        for variable, value in self._settings.items():
            text = re.sub(rf"(?<=^export FRAUDSTREAM_{variable}=).*$", value, text, flags=re.MULTILINE)
        (self._folder / name).write_text(text)

    def follow(self, block: Block) -> None:
        """Run a block's commands one after the other, and compare what they print."""
        deadline = time.monotonic() + (PATIENCE_SECONDS if block.note == "until it is so" else 0)
        for line, *expected in map(str.splitlines, re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]):
            while missing := self._missing(line, expected, int(block.note == "refused")):
                assert time.monotonic() < deadline, missing
                time.sleep(0.5)

    def _missing(self, line: str, expected: list[str], code: int) -> str:
        """Run one command; return what is missing in its output, or an empty string."""
        for known, own in self._digests.items():
            line = line.replace(known[:8], own[:8])
        done = typed(f". ./settings.sh && {line}", self._folder, self._environment, PATIENCE_SECONDS)
        printed = (done.stdout + done.stderr).splitlines()
        if done.returncode != code:
            return f"$ {line}\nended with {done.returncode}\n" + "\n".join(printed)
        at = 0
        for wanted in filter(None, expected):
            if CHANGED.search(wanted):  # which decisions change, and how, depends on the model
                continue
            places = (place for place in range(at, len(printed)) if self._is_alike(wanted, printed[place]))
            if (place := next(places, None)) is None:
                return f"$ {line}\nwanted: {wanted}\n" + "\n".join(printed)
            at = place + 1
        return ""

    def _is_alike(self, wanted: str, printed: str) -> bool:
        """Tell whether a printed line matches the page's, and record which digest stands for which."""
        found = re.fullmatch(self._pattern(wanted), printed.strip())
        if found is None:
            return False
        shown = [token["digest"] for token in TOKENS.finditer(wanted) if token["digest"]]
        for known, own in zip(shown, re.findall(rf"\b{DIGEST}\b", printed), strict=True):
            if len(known) == len(own) == 64:
                self._digests[known] = own
            elif self._known(known) not in {None, own}:
                return False
        return True

    def _known(self, start: str) -> str | None:
        """Return the start of this reader's digest for the page's digest that begins with `start`."""
        return next((own[: len(start)] for whole, own in self._digests.items() if whole.startswith(start)), None)

    def _pattern(self, wanted: str) -> str:
        """Return a regular expression for a line, open where the output depends on the machine."""
        parts, at = [], 0
        wanted = RATE.sub("0.0", wanted.strip())
        for token in TOKENS.finditer(wanted):
            parts += [re.escape(wanted[at : token.start()]), OPEN[str(token.lastgroup)]]
            at = token.end()
        text = "".join([*parts, re.escape(wanted[at:])])
        return re.sub(r"(?<![\\\w.{,])\d+(?![\w}])", r"\\d+", text) if DECIDED.search(wanted) else text


OPEN = {"time": r"\S+Z", "date": r"\d{4}-\d\d-\d\d", "digest": DIGEST, "number": r"[-+]?[\d,.]+%?", "space": r"\s+"}


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
def test_the_tutorial_runs_as_written(
    kafka: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    name = topic_prefix.rstrip("-")
    settings = {
        "BROKERS": kafka.brokers,
        "REDIS_URL": redis_url,
        "TOPIC_PREFIX": topic_prefix,
        "DEPLOYMENT": name,
        "GROUP": name,
        "MODELS": str(tmp_path / "models"),
        "HTTP": f"127.0.0.1:{free_port()}",
    }
    reader = Reader(tmp_path, settings)
    if kafka.kind == "embedded":
        settings["KAFKA_IDEMPOTENCE"] = "false"
    worker: Worker | None = None
    for block in reader.blocks():
        match block.note.split(": "):
            case ["file", file]:
                reader.save(file, block.text)
            case ["second terminal"]:
                worker = start_worker(settings)
            case _ if block.language == "console":
                reader.follow(block)
    assert worker is not None
    assert f"of deployment {name}, group {name}" in worker.log()
    assert worker.terminate() == 0

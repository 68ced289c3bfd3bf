"""Makes a mistake with the real command, and returns its answer in the words of the page."""

import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.environment import without_settings
from support.fleet.preloaded import SCRIPT, run
from support.fleet.workers import Worker
from support.mistakes.mistake import ADDRESS, DIGEST, Answer, Mistake, Place
from support.paths import HOUSE

SECONDS = 60.0
WAITING_SECONDS = 40.0
SILENT = {
    "127.0.0.1:9092": "127.0.0.1:1",
    "127.0.0.1:6379": "127.0.0.1:2",
}
"""The default addresses, where a machine may have servers, and those at which no command of these tests finds one."""
OTHER_DIGEST = "81d07a5b62c94f30b6a1d8c7e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6"
NOT_READY = 503
LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT\S+Z [A-Z]+ .*\n", re.MULTILINE)
"""A line of a worker's log, which has a page of its own."""
CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "2026-01-31T12:00:00.000Z"),
    (re.compile(rf"\b(?!{DIGEST})[0-9a-f]{{64}}\b"), OTHER_DIGEST),
    (re.compile(r"\('127\.0\.0\.1', \d+\)"), "('127.0.0.1', …)"),
    (re.compile(r"such as FRAUDSTREAM_HTTP=127\.0\.0\.1:\d+"), "such as FRAUDSTREAM_HTTP=127.0.0.1:6067"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "6d0c4b1e59aa4c029d3f7b8e21f0a6c4"),
)
"""What differs in every run, and what the page has in its place."""
HIDING = """
import sys
from importlib.machinery import PathFinder

HIDDEN = sys.argv[1].split(",")

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else super().find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
sys.argv[:2] = ["fraudstream"]
from fraudstream.cli.main import main
main()
"""
"""Runs the command line in an installation without the packages that the first argument names."""


def alone(folder: Path) -> Place:
    """Return a place without servers."""
    settings = {"BROKERS": SILENT["127.0.0.1:9092"], "REDIS_URL": f"redis://{SILENT['127.0.0.1:6379']}/0"}
    return Place(folder, settings | {"MODELS": "models", "ACTOR": "ada"}, SILENT)


def make(mistake: Mistake, place: Place) -> Answer:
    """Make the mistake."""
    words = {**place.words, **mistake.prepare(place), "/srv/shop": str(place.folder)}
    for name, text in mistake.files.items():
        (place.folder / name).write_text(text)
    own = {name: _here(value, words) for name, value in mistake.settings.items()}
    settings = {f"FRAUDSTREAM_{name}": value for name, value in {**place.settings, **own}.items()}
    arguments = shlex.split(_here(mistake.command, words))
    answer = _wait(mistake, place, settings) if mistake.reason else _run(mistake, place, settings, arguments)
    return answer._replace(printed=_on_page(answer.printed, words))


def _run(mistake: Mistake, place: Place, settings: Mapping[str, str], arguments: Sequence[str]) -> Answer:
    hiding = (sys.executable, "-P", "-c", HIDING, ",".join(mistake.hidden))
    command = [*(hiding if mistake.hidden else SCRIPT), *arguments]
    done = run(command, _environment() | settings, SECONDS, place.folder)
    return Answer(done.returncode, LOG_LINE.sub("", done.stdout + done.stderr))


def _wait(mistake: Mistake, place: Place, settings: Mapping[str, str]) -> Answer:
    """Return what a worker's /health/ready answers once it waits for the reason of the mistake, or in the end."""
    worker = Worker(settings, place.folder / "worker.log", (*SCRIPT, *shlex.split(mistake.command)))
    worker.start()
    try:
        deadline, reasons = time.monotonic() + WAITING_SECONDS, list[str]()
        while not (len(reasons) == 1 and mistake.reason in reasons[0]) and time.monotonic() < deadline:
            assert worker.exit_code is None, worker.log()
            time.sleep(0.2)
            reasons = worker.readiness()[1]
        status, said = worker.get("/health/ready")
        assert status == NOT_READY, said
        assert worker.terminate() == 0
        assert "Traceback" not in worker.log()
        return Answer(None, f"{said.replace(worker.address, ADDRESS)}\n")
    finally:
        worker.kill()


def _environment() -> dict[str, str]:
    """Return this process's variables without settings, for a terminal of 100 columns."""
    return without_settings() | {"COLUMNS": "100"}


def _here(text: str, words: Mapping[str, str]) -> str:
    """Replace the words of the page by those of this place."""
    for word, here in _pairs(words):
        text = text.replace(word, here)
    return text


def _on_page(text: str, words: Mapping[str, str]) -> str:
    """Replace what belongs to this place by the words of the page."""
    for word, here in _pairs(words):
        text = re.sub(rf"{re.escape(here)}(?!\d)" if here[-1:].isdigit() else re.escape(here), word, text)
    for changing, instead in CHANGING:
        text = changing.sub(instead, text)
    assert os.fspath(HOUSE) not in text, text
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _pairs(words: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return words and their places, of digests also the short forms, the longest first."""
    pairs = [*words.items()]
    pairs += [(word[:length], here[:length]) for word, here in words.items() if len(word) == 64 for length in (12, 8)]
    return sorted(pairs, key=lambda pair: -len(pair[1]))

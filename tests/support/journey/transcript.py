"""Types commands in a folder as a newcomer does, and keeps what is typed and printed, in words that do not change."""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.environment import without_settings

SECONDS = 180.0
BIN = Path(sys.executable).parent
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"), "TIME"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"(?<![\d.])[-+]?\d+\.\d{4,}\b"), "N"),
    (re.compile(r"[\d,]+ bytes"), "N bytes"),
    (re.compile(r"in \d+\.\d s, \d+\.\d a second, at most \d+ ms late"), "in N s, N a second, at most N ms late"),
    (re.compile(r"in \d+\.\d s, \d+\.\d a second$", re.MULTILINE), "in N s, N a second"),
    (re.compile(r", \d+\.\d s later"), ", N s later"),
    (re.compile(r"partition \d+ offset \d+"), "partition N offset N"),
    (re.compile(r" {2,}"), "  "),
    (re.compile(r"─+"), "─"),
    (re.compile(r"^commit .*\n", re.MULTILINE), ""),
    (re.compile(r"^\w+: [\d,]+ of [\d,]+, \d+%\n", re.MULTILINE), ""),
    (re.compile(r"\b(\d+\.\d+\.\d+\w*)\+g[0-9a-f]+(?:\.dirty)?"), r"\1"),
    (re.compile(r"^made with .*$", re.MULTILINE), "made with VERSIONS"),
)
"""What differs between runs or machines: times, ids, scores and metrics, sizes, rates, places, widths, versions, and
lines of progress, which a step writes after ten seconds."""
COLUMNS = "300"
"""Wide enough for one line, however long the path of the folder is."""


class Transcript:
    """The commands typed in a folder, with their answers. `words` are replaced in what is printed, by these texts."""

    def __init__(self, folder: Path, settings: Mapping[str, str], words: Mapping[str, str]) -> None:
        self.folder = folder
        self._words = dict(words)
        kept = without_settings()
        named = {f"FRAUDSTREAM_{name}": value for name, value in settings.items()}
        self._environment = kept | named | {"COLUMNS": COLUMNS, "PATH": f"{BIN}:{kept['PATH']}"}
        self.digests: list[str] = []
        """The digests that were printed, in order; the first is called DIGEST-1."""
        self.text = ""

    def type(self, line: str) -> str:
        """Run a command; `DIGEST-1` in it stands for the first digest that was printed. Return what it printed."""
        words = [self._own(word) for word in shlex.split(line)]
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        printed = done.stdout + done.stderr
        assert "Traceback" not in printed, printed
        ended = f"[exit code {done.returncode}]\n" if done.returncode else ""
        self.text += f"$ {line}\n{self._stated(printed)}{ended}"
        return printed

    def note(self, text: str) -> None:
        """Add a line that tells what happens beside the commands."""
        self.text += f"# {text}\n"

    def read(self, what: str, text: str) -> None:
        """Add what was read elsewhere, such as the body of a page."""
        self.text += f"$ {what}\n{self._stated(text)}"

    def _own(self, word: str) -> str:
        for number, digest in enumerate(self.digests, 1):
            word = word.replace(f"DIGEST-{number}", digest[:8])
        return word

    def _stated(self, printed: str) -> str:
        """Return what was printed, without what differs between runs."""
        for digest in DIGEST.findall(printed):
            if digest in self._digests_of_models() and digest not in self.digests:
                self.digests.append(digest)
        for number, digest in enumerate(self.digests, 1):
            for length in (64, 12, 8):
                printed = printed.replace(digest[:length], f"DIGEST-{number}")
        printed = DIGEST.sub("FINGERPRINT", printed)
        for changing, instead in CHANGING:
            printed = changing.sub(instead, printed)
        for own, word in self._words.items():
            printed = printed.replace(own, word)
        return "".join(f"{line.rstrip()}\n" for line in printed.splitlines())

    def _digests_of_models(self) -> set[str]:
        """Return the digests in the repository; other hashes are fingerprints."""
        return {path.name for path in (self.folder / "models").glob("*")}

"""The keys and types of what commands print with `--json`: scripts of users read them, so none may go.

`FRAUDSTREAM_TEST_JSON_SHAPES=FOLDER` before a run of the tests records them: each process of the run adds lines
`command<TAB>path<TAB>type` to a file. `python tests/support/json_shapes.py compare FOLDER` prints what the kept file
`tests/data/json_shapes.txt` has and the run has not, and exits with 1 if there is anything; `keep FOLDER` writes it.
A run of all tests, the long ones included, prints every answer that the kept file knows.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

FOLDER = "FRAUDSTREAM_TEST_JSON_SHAPES"
"""The environment variable that names the folder; without it nothing is recorded."""
KEPT = Path(__file__).resolve().parents[1] / "data" / "json_shapes.txt"
NAME = re.compile(r"[a-z][a-z0-9_]*")
"""A key that may be a field's name; any other is data, such as a digest, a currency or a number."""
DIGEST = re.compile(r"[0-9a-f]{8,}")
TYPES = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string"}


def shapes_of(value: object, path: str = "$") -> Iterator[tuple[str, str]]:
    """Yield each path of a JSON value, with data among its keys as `*`, and the type there."""
    if isinstance(value, dict):
        yield path, "object"
        for key, inner in value.items():
            is_name = NAME.fullmatch(key) and not DIGEST.fullmatch(key)
            yield from shapes_of(inner, f"{path}.{key if is_name else '*'}")
    elif isinstance(value, list):
        yield path, "array"
        for inner in value:
            yield from shapes_of(inner, f"{path}[]")
    else:
        yield path, TYPES[type(value)]


def record(command: click.Command, words: Sequence[str], output: str) -> None:
    """Record what a command printed with `--json`, if a folder is named; a text that is no JSON is left out."""
    folder = os.environ.get(FOLDER)
    if folder is None or "--json" not in words:
        return
    name = " ".join(_names(command, list(words)))
    with (Path(folder) / f"{os.getpid()}.txt").open("a") as file:
        for line in output.splitlines():
            if line.startswith("{"):
                shapes = {f"{name}\t{path}\t{kind}\n" for path, kind in shapes_of(json.loads(line))}
                file.write("".join(sorted(shapes)))


def _names(command: click.Command, words: list[str]) -> Iterator[str]:
    """Yield the words that name a subcommand."""
    if not isinstance(command, click.Group):
        yield command.name or ""
        return
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        word = words.pop(0)
        found = command.get_command(click.Context(command), word)
        if found is None:
            return
        yield word
        command = found


def record_invocations() -> None:
    """Record what commands print that tests run in their own process."""
    invoke = CliRunner.invoke

    @wraps(invoke)
    def recorded(runner: CliRunner, cli: click.Command, args: Any = None, *rest: Any, **options: Any) -> Result:
        done = invoke(runner, cli, args, *rest, **options)
        if isinstance(args, Sequence) and not isinstance(args, str):
            record(cli, args, done.stdout)
        return done

    patched: Callable[..., Result] = recorded
    CliRunner.invoke = patched  # type: ignore[method-assign]


def _lines(folder: Path) -> set[str]:
    return {line for file in folder.glob("*.txt") for line in file.read_text().splitlines()}


def _main(action: str, folder: str) -> int:
    recorded = _lines(Path(folder))
    if action == "keep":
        KEPT.write_text("".join(f"{line}\n" for line in sorted(recorded)))
        return 0
    missing = sorted(set(KEPT.read_text().splitlines()) - recorded)
    summary = f"{len(missing)} of the kept file were not printed, {len(recorded)} were"
    print(*missing, summary, sep="\n")  # noqa: T201 - a command
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))

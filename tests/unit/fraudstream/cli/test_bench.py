"""`fraudstream bench` names the place of each command that has moved, and runs those that it has."""

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import COMMANDS as ELSEWHERE
from fraudstream.cli.bench import COMMANDS, MOVED
from fraudstream.cli.main import main


@pytest.mark.parametrize("name", sorted(MOVED))
@pytest.mark.parametrize("arguments", [("--model", "3f9a02c1", "--json"), ("--help",)], ids=" ".join)
def test_a_command_that_has_moved_names_its_place_and_exits_with_2(name: str, arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, ["bench", name, *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"has moved: `python -m benchmarks {name} …` in a checkout" in done.stderr


def test_what_has_moved_is_there() -> None:
    assert set(ELSEWHERE) >= MOVED
    assert not MOVED & set(COMMANDS)

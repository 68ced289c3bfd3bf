"""Lists of commands by purpose, with whole summaries; an unknown command is answered with the one that is meant."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from fraudstream.cli.lazy import CommandGroup, summary_of
from fraudstream.cli.main import main

GROUPS = ("", "model", "topics", "dead-letters", "bench", "features", "guard")


def all_groups(group: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Group]]:
    if isinstance(group, click.Group):
        yield words, group
        for name in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), name)
            assert command is not None
            yield from all_groups(command, (*words, name))


def test_every_group_names_what_is_meant_and_lists_whole_summaries() -> None:
    found = dict(all_groups(main))
    assert len(found) > 15
    assert all(isinstance(group, CommandGroup) for group in found.values())


@pytest.mark.parametrize("words", GROUPS)
def test_no_summary_is_cut(words: str) -> None:
    shown = CliRunner().invoke(main, [*words.split(), "--help"], terminal_width=60).stdout
    text = " ".join(shown.replace("-\n", "-").split())
    group = dict(all_groups(main))[tuple(words.split())]
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        summary = summary_of(command)
        assert summary.endswith(".") or summary[-1] in ")`"
        assert summary.replace("- ", "-") in text.replace("- ", "-"), name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("promote", ["model promote"]),
        ("Promote", ["model promote"]),
        ("model promot", ["model promote"]),
        ("model challange 3f9a02c1", ["model challenge"]),
        ("incidents", ["incident"]),
        ("dead_letters list", ["dead-letters"]),
        ("deployment statuss", ["deployment status"]),
        ("shadow status", ["status", "deployment status", "rollout status"]),
        ("audit", ["topics audit"]),
        ("rollback", ["model rollback"]),
    ],
)
def test_a_misplaced_or_mistyped_command_is_answered_with_the_right_one(typed: str, meant: list[str]) -> None:
    done = CliRunner().invoke(main, typed.split(), prog_name="fraudstream")
    assert (done.exit_code, done.stdout) == (2, "")
    _, _, asked = done.stderr.partition("Did you mean ")
    named = [one.strip("`").removeprefix("fraudstream ") for one in asked.strip().removesuffix("?").split(" or ")]
    assert named[0] in meant
    assert set(meant) <= set(named)


@pytest.mark.parametrize("typed", ["xyzzy", "model 3f9a02c1"])
def test_a_word_that_is_like_no_command_is_refused_without_a_guess(typed: str) -> None:
    done = CliRunner().invoke(main, typed.split(), prog_name="fraudstream")
    assert done.exit_code == 2
    assert "No such command" in done.stderr
    assert "Did you mean" not in done.stderr

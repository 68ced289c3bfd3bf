"""A campaign goes on where it ended: what passed at this commit is not run again, whatever became of the last line."""

from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path

import pytest

from campaigns.checks import Result
from campaigns.plans import Plan
from campaigns.runner import RESULTS, Campaign, Line, passed_seeds, read_results, run_seeds, seeds_of, told

COMMIT = "c" * 40


def draw(seed: int) -> Plan:
    return Plan("outages", seed, 1.0, ())


class Ran:
    """Seeds that ran; those in `failing` find something, those in `breaking` do not come to their end."""

    def __init__(self, failing: frozenset[int] = frozenset(), breaking: frozenset[int] = frozenset()) -> None:
        self.seeds: list[int] = []
        self._failing, self._breaking = failing, breaking

    def run(self, plan: Plan, logs: Path, _: object) -> Result:
        self.seeds.append(plan.seed)
        logs.mkdir(parents=True)
        if plan.seed in self._breaking:
            raise RuntimeError("no brokers")
        found = {"no_payment_is_lost": ["one is"]} if plan.seed in self._failing else {}
        return Result(found, {"records": 5}, ())

    def lines(self, folder: Path, seeds: list[int], commit: str = COMMIT) -> Iterator[Line]:
        return run_seeds(Campaign("outages", draw, self.run), seeds, folder, commit, lambda _: None)


def test_seeds_that_passed_at_this_commit_are_not_run_again_and_the_others_are(tmp_path: Path) -> None:
    first = Ran(failing=frozenset({2}))
    assert [line.outcome for line in first.lines(tmp_path, [1, 2, 3])] == ["passed", "failed", "passed"]
    again, elsewhere = Ran(), Ran()
    list(again.lines(tmp_path, [1, 2, 3, 4]))
    assert again.seeds == [2, 4]
    list(elsewhere.lines(tmp_path, [1, 2], commit="d" * 40))
    assert elsewhere.seeds == [1, 2]


def test_a_checkout_with_changes_runs_every_seed(tmp_path: Path) -> None:
    list(Ran().lines(tmp_path, [1], f"{COMMIT}+"))
    again = Ran()
    list(again.lines(tmp_path, [1], f"{COMMIT}+"))
    assert again.seeds == [1]


def test_a_run_that_was_cut_off_goes_on_with_the_seed_that_it_was_at(tmp_path: Path) -> None:
    lines = Ran().lines(tmp_path, [1, 2, 3])
    next(lines)
    with (tmp_path / RESULTS).open("ab") as file:
        file.write(b'{"commit": "' + COMMIT.encode())
    again = Ran()
    list(again.lines(tmp_path, [1, 2, 3]))
    assert again.seeds == [2, 3]


def test_a_seed_that_does_not_come_to_its_end_is_told_with_its_logs_and_the_others_go_on(tmp_path: Path) -> None:
    first, second = Ran(breaking=frozenset({1})).lines(tmp_path, [1, 2])
    assert (first.outcome, second.outcome) == ("broken", "passed")
    assert "RuntimeError: no brokers" in told(first)
    assert (Path(first.logs) / "traceback.txt").exists()
    assert first.logs in told(first)
    assert passed_seeds(read_results(tmp_path), COMMIT, "outages") == {2}


@pytest.mark.parametrize(("text", "seeds"), [("7", [7]), ("1-3", [1, 2, 3]), ("1-2,9", [1, 2, 9])])
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert seeds_of(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-b", "-"])
def test_what_is_no_list_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="no list of seeds"):
        seeds_of(text)

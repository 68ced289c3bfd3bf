"""The page of common mistakes shows what the command line prints; those that need servers are in tests/integration."""

from pathlib import Path

import pytest

from stream.settings import PREFIX
from support.mistakes.making import alone, make
from support.mistakes.mistake import Mistake, Stage
from support.mistakes.page import ALL, HINT, on_page, recorded, written

ALONE = [one for one in ALL if one.stage is Stage.NO_SERVER]


@pytest.mark.acceptance
@pytest.mark.parametrize("mistake", ALONE, ids=lambda one: one.title)
def test_a_mistake_ends_as_the_page_says(mistake: Mistake, tmp_path: Path) -> None:
    answer = make(mistake, alone(tmp_path))
    assert answer == recorded(mistake), HINT
    assert answer.code in {1, 2}
    assert "Traceback" not in answer.printed


def test_the_page_has_every_mistake_once_in_the_order_of_the_cases() -> None:
    assert len({one.title for one in ALL}) == len(ALL) >= 30
    answers = {one.title: answer for one in ALL if (answer := recorded(one)) is not None}
    assert sorted(answers) == sorted(one.title for one in ALL)
    assert on_page() == f"\n{written(answers)}\n", HINT


def test_each_answer_says_what_is_wrong_and_names_what_to_change() -> None:
    for mistake in ALL:
        answer = recorded(mistake)
        assert answer is not None
        assert answer.printed.strip()
        assert "Traceback" not in answer.printed
        if mistake.settings and answer.code == 2:
            assert PREFIX in answer.printed, mistake.title

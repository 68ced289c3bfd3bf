"""The planted bugs can be planted in this checkout, and the tests that find them are there."""

import pytest

from support.paths import HOUSE
from support.planted_bugs import BUGS
from support.planting import Checkout, PlantedBug

AREAS = {"decided once": 10, "histories": 6, "lineup": 5, "guard": 5, "verdict": 4}


@pytest.fixture(scope="module")
def tree() -> Checkout:
    return Checkout(HOUSE, HOUSE / ".venv/bin/python")


def test_there_are_thirty_of_all_areas_with_a_name_and_a_promise_each() -> None:
    assert {area: sum(bug.area == area for bug in BUGS) for area in AREAS} == AREAS
    assert len({bug.name for bug in BUGS}) == len({bug.promise for bug in BUGS}) == len(BUGS) == 30


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_bug_has_one_place_in_the_product_and_tests_that_are_there(tree: Checkout, bug: PlantedBug) -> None:
    module = tree.file_of(bug)
    assert module == HOUSE / bug.file
    source = module.read_text()
    planted = bug.planted(source)
    assert planted != source
    compile(planted, bug.file, "exec")
    assert [tree.test_of(test) for test in (bug.found_by, bug.instead) if test] == [
        test for test in (bug.found_by, bug.instead) if test
    ]

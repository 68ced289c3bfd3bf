"""The processes of rescoring: how far they are is told, and one that ends is said."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from stream.rescoring.request import ComputationError
from stream.rescoring.stages import TaskPool


def leave_a_mark(folder: Path, number: int) -> None:
    (folder / f"{number}-{os.getpid()}").touch()


def vanish(_number: int) -> None:
    os._exit(9)


def fail(number: int) -> None:
    raise ValueError(f"task {number}")


def nobody() -> None:
    pass


@pytest.mark.parametrize("threads", [1, 2])
def test_each_task_is_done_once_and_somebody_is_told(threads: int, tmp_path: Path) -> None:
    looks: list[int] = []
    with TaskPool(threads) as pool:
        pool.run(partial(leave_a_mark, tmp_path), 5, lambda: looks.append(1))
    names = [path.name.split("-") for path in tmp_path.iterdir()]
    assert sorted(int(number) for number, _ in names) == [0, 1, 2, 3, 4]
    assert looks
    here = {int(pid) == os.getpid() for _, pid in names}
    assert here == {threads == 1}


def test_a_process_without_a_script_draws_no_bar_on_standard_output(tmp_path: Path) -> None:
    asked = f"connect_memory(Path({str(tmp_path)!r}), 64).sql(\"SELECT current_setting('enable_progress_bar')\")"
    program = f"from pathlib import Path\nfrom stream.dataset.database import *\nprint({asked}.fetchall())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[(False,)]\n"


def test_a_process_that_ends_is_said_with_what_to_do() -> None:
    with TaskPool(2) as pool, pytest.raises(ComputationError, match="fewer --threads"):
        pool.run(vanish, 3, nobody)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_of_a_task_comes_out(threads: int) -> None:
    with TaskPool(threads) as pool, pytest.raises(ValueError, match="task"):
        pool.run(fail, 3, nobody)

"""The processes of rescoring: progress is reported, and a process that exits is an error."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from fraudstream.lab.rescoring.request import ComputationError
from fraudstream.lab.rescoring.stages import TaskPool


def touch_marker(folder: Path, number: int) -> None:
    (folder / f"{number}-{os.getpid()}").touch()


def exit_at_once(_number: int) -> None:
    os._exit(9)


def fail(number: int) -> None:
    raise ValueError(f"task {number}")


def ignore_progress() -> None:
    pass


@pytest.mark.parametrize("threads", [1, 2])
def test_each_task_runs_once_and_progress_is_reported(threads: int, tmp_path: Path) -> None:
    looks: list[int] = []
    with TaskPool(threads) as pool:
        pool.run(partial(touch_marker, tmp_path), 5, lambda: looks.append(1))
    names = [path.name.split("-") for path in tmp_path.iterdir()]
    assert sorted(int(number) for number, _ in names) == [0, 1, 2, 3, 4]
    assert looks
    here = {int(pid) == os.getpid() for _, pid in names}
    assert here == {threads == 1}


def test_duckdb_draws_no_progress_bar_in_a_process_without_a_script(tmp_path: Path) -> None:
    asked = f"connect_memory(Path({str(tmp_path)!r}), 64).sql(\"SELECT current_setting('enable_progress_bar')\")"
    program = f"from pathlib import Path\nfrom fraudstream.lab.dataset.database import *\nprint({asked}.fetchall())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[(False,)]\n"


def test_a_process_that_exits_raises_an_error_that_suggests_fewer_threads() -> None:
    with TaskPool(2) as pool, pytest.raises(ComputationError, match="fewer --threads"):
        pool.run(exit_at_once, 3, ignore_progress)


def test_an_error_in_a_task_is_raised_to_the_caller() -> None:
    with TaskPool(1) as pool, pytest.raises(ValueError, match="task"):
        pool.run(fail, 3, ignore_progress)

"""Threads that use a class for the first time at once end no process, if its type information was built before."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.acceptance import cases

ROUNDS = """
import sys, threading, types
import msgspec
from models.type_info import build_type_info

sys.setswitchinterval(1e-6)
for number in range(100):
    lines, inner = ["import msgspec", "from typing import Annotated"], "int"
    for depth in range(12):
        lines.append(f"class S{depth}(msgspec.Struct):")
        for field in range(12):
            lines.append(f"    f{field}: 'Annotated[str, msgspec.Meta(max_length={field})] | None' = None")
        lines.append(f"    inner: 'list[{inner}]' = []")
        inner = f"S{depth}"
    module = types.ModuleType(f"round{number}")
    sys.modules[module.__name__] = module
    exec("\\n".join(lines), module.__dict__)
    if BUILD:
        build_type_info()
    barrier = threading.Barrier(4)

    def convert():
        barrier.wait()
        for _ in range(20):
            msgspec.convert({"f1": None, "inner": [{"f2": None, "inner": [{"f0": None}]}]}, vars(module)[inner])

    threads = [threading.Thread(target=convert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


@pytest.mark.parametrize("build", cases([True, False], short=[True]))
def test_threads_that_use_a_class_for_the_first_time_at_once(*, build: bool) -> None:
    program = f"BUILD = {build}\n{ROUNDS}"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, timeout=120, check=False)
    if build:
        assert (done.returncode, done.stderr) == (0, b"")
    elif done.returncode != -signal.SIGSEGV:
        pytest.skip("msgspec did not fail here: if it never does, `models.type_info` can go")

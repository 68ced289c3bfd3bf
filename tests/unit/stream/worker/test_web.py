"""A worker whose address is taken ends with one line that names the setting."""

import errno
import os
import re
import socket
import subprocess
import sys

import pytest

from stream.pages import address_problem


def test_a_worker_whose_port_is_taken_ends_with_2_and_one_line_that_names_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = {"FRAUDSTREAM_HTTP": f"127.0.0.1:{port}", "FRAUDSTREAM_BROKERS": "127.0.0.1:1"}
        command = [sys.executable, "-m", "fraudstream.cli", "worker"]
        done = subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 2
    *log, refusal = done.stderr.splitlines()
    assert all(" INFO fraudstream." in line or "not encrypted" in line for line in log), log
    assert refusal == address_problem("127.0.0.1", port, OSError(errno.EADDRINUSE, "in use"))


@pytest.mark.parametrize(
    ("port", "error", "said"),
    [
        (6066, OSError(errno.EADDRINUSE, "error while attempting to bind"), "in use.*such as FRAUDSTREAM_HTTP=h:6067"),
        (65_535, OSError(errno.EADDRINUSE, ""), "such as FRAUDSTREAM_HTTP=h:65534"),
        (80, PermissionError(errno.EACCES, "error while attempting to bind"), "cannot be bound: Permission denied"),
        (80, socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "cannot be bound: Name or service not"),
    ],
)
def test_an_address_that_cannot_be_bound_is_named_with_the_reason(port: int, error: OSError, said: str) -> None:
    assert re.match(rf"FRAUDSTREAM_HTTP: h:{port} .*{said}", address_problem("h", port, error))

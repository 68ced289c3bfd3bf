"""The build compiles each kernel for any processor of the platform, and goes on without one that does not compile."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from support.paths import HOUSE


@pytest.fixture
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", HOUSE / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(hook: ModuleType, root: Path) -> tuple[dict[str, Any], list[str]]:
    """Run the hook in a folder; return what it says of the wheel, and its warnings."""
    warnings: list[str] = []
    built: dict[str, Any] = {"artifacts": [], "force_include": {}}
    app = SimpleNamespace(display_warning=warnings.append)
    one = hook.KernelHook(str(root), {}, None, None, "", "wheel", app)
    one.initialize("standard", built)
    (file,) = built["force_include"]
    assert Path(file).read_text() == f"{hook.build_of(root)}\n"
    one.finalize("standard", built, "")
    assert not Path(file).exists()
    return built, warnings


def sources(hook: ModuleType, root: Path) -> None:
    for kernel in hook.KERNELS:
        (root / kernel.source).parent.mkdir(parents=True)
        for file in (HOUSE / kernel.source, *(HOUSE / kernel.source).parent.glob("*.h")):
            shutil.copy(file, (root / kernel.source).parent)


@pytest.mark.acceptance
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_all_kernels_are_compiled_and_tie_the_wheel_to_the_platform(hook: ModuleType, tmp_path: Path) -> None:
    sources(hook, tmp_path)
    built, warnings = build(hook, tmp_path)
    assert warnings == []
    assert built["artifacts"] == [kernel.library for kernel in hook.KERNELS]
    assert all((tmp_path / name).stat().st_size for name in built["artifacts"])
    assert built["pure_python"] is False
    assert built["tag"].startswith("py3-none-")


@pytest.mark.acceptance
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("broken", [0, 1])
def test_a_kernel_that_does_not_compile_leaves_the_other(hook: ModuleType, tmp_path: Path, broken: int) -> None:
    sources(hook, tmp_path)
    (tmp_path / hook.KERNELS[broken].source).write_text("no C")
    built, (warning,) = build(hook, tmp_path)
    assert built["artifacts"] == [hook.KERNELS[1 - broken].library]
    assert warning.startswith(f"{hook.KERNELS[broken].source} is not compiled, {hook.KERNELS[broken].without}: ")


def test_without_a_compiler_the_wheel_is_pure(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "_compiler", list)
    sources(hook, tmp_path)
    built, warnings = build(hook, tmp_path)
    assert built == {"artifacts": [], "force_include": built["force_include"]}
    assert len(warnings) == len(hook.KERNELS)


def test_zigs_compiler_is_told_not_to_use_all_of_this_processor(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(hook, "find_spec", lambda _name: object())
    assert hook._compiler() == [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]

"""The benchmark `canary` decides with each share in turns; its figures are those of decisions that were made."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.parts import canary as module
from support.fleet.payments import put_model


@pytest.mark.acceptance
def test_each_share_is_measured_at_each_size_of_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROUNDS", {1: 2, 32: 1, 256: 1})
    monkeypatch.setattr(module, "_WARM_UP", 500)
    models = [put_model(str(tmp_path), seed=seed) for seed in (0, 1)]
    monkeypatch.setenv("FRAUDSTREAM_MODELS", str(tmp_path))
    done = CliRunner().invoke(main, ["canary", "--model", models[0], "--canary", models[1], "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [*found["us_a_decision_by_share_bp"]] == ["1", "32", "256"]
    for by_share in found["us_a_decision_by_share_bp"].values():
        assert [*by_share] == ["0", "100", "1000", "5000"]
        assert all(us > 0 for us in by_share.values())

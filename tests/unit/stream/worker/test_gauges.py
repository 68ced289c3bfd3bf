"""What the gauges of a worker say of the arms that decide beside the live model."""

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest

from models.arms import Arm, Canary, Split
from stream.control.model_cache import ArmModels, ServingModels
from stream.settings import Settings
from stream.worker.gauges import GaugeSources


def model(digest: str) -> Any:
    return SimpleNamespace(digest=digest * 64, name=f"cards-{digest}", version="1")


LIVE, NEW = model("a"), model("b")
CANARY = ArmModels({"canary": NEW}, Canary(NEW.digest, 25, "s").split)
ARMS = Arm("control", LIVE.digest, 1_000), Arm("new", NEW.digest, 2_000), Arm("too", NEW.digest, 1)
SPLIT = ArmModels({"control": LIVE, "new": NEW, "too": NEW}, Split(ARMS, "s"))


@pytest.mark.parametrize(
    ("arms", "canary", "split", "roles"),
    [
        (None, 0.0, {}, []),
        (CANARY, 0.0025, {}, [("canary", NEW)]),
        (
            SPLIT,
            0.0,
            {("control",): 0.1, ("new",): 0.2, ("too",): 0.0001},
            [("arm", LIVE), ("arm", NEW), ("arm", NEW)],
        ),
    ],
)
def test_the_shares_and_models_of_a_canary_or_of_a_split_are_shown(
    arms: ArmModels | None, canary: float, split: Any, roles: list[tuple[str, Any]]
) -> None:
    before = model("c")
    serving = ServingModels(3, LIVE, before, arms=arms)
    unused: dict[str, Any] = {field.name: SimpleNamespace(shown=dict) for field in fields(GaugeSources)}
    models = SimpleNamespace(serving=lambda: serving)
    gauges = GaugeSources(**unused | {"models": models, "settings": Settings()}).gauges()
    assert gauges["fraudstream.canary.share"]() == {(): canary}
    assert gauges["fraudstream.split.share"]() == split
    expected = [("live", LIVE), *roles, ("before", before)]
    shown = {(role, one.digest[:12], one.name, "1") for role, one in expected}
    assert set(gauges["fraudstream.model.info"]()) == shown

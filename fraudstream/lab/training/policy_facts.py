"""How a model decides, in short, as reports have it."""

from typing import Self

import msgspec

from models.artifact import Manifest
from models.calibration import CalibrationMethod
from models.cost_policy import CostPolicy
from models.list_rules import RuleAction
from models.volume import ExpectedVolume


class PolicyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How a model decides, in short; `rules` counts the rules beside it by action."""

    calibration: CalibrationMethod | None
    review_at: float
    decline_at: float
    costs: CostPolicy | None
    rules: dict[RuleAction, int]
    volume: ExpectedVolume | None

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Return what a manifest says."""
        return cls(
            calibration=manifest.calibration.method,
            review_at=manifest.policy.review_at,
            decline_at=manifest.policy.decline_at,
            costs=manifest.cost_policy,
            rules={} if manifest.rules is None else manifest.rules.counts,
            volume=manifest.volume,
        )


class PolicyReport(msgspec.Struct, frozen=True, kw_only=True):
    """The model that was made of its `parent` with another policy or other rules."""

    digest: str
    parent: str | None
    name: str
    version: str
    policy: PolicyFacts

    @classmethod
    def of(cls, digest: str, manifest: Manifest) -> Self:
        """Return what became of it."""
        return cls(
            digest=digest,
            parent=manifest.parent,
            name=manifest.name,
            version=manifest.version,
            policy=PolicyFacts.of(manifest),
        )

"""Looks at deployments for `fraudstream deployment`, rescores a sample of decisions, and finds go or no-go."""

import asyncio
import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError

from features.errors import FeatureError
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.lab.dataset.errors import FileError
from fraudstream.ops.rollout.deployments.gates import GateLimits, GoNoGo, Reproduction, gates_of, way_back_gates
from fraudstream.ops.rollout.deployments.survey import Survey, SurveyRequest, survey
from models.errors import ModelError
from stream.errors import install_extra
from stream.settings import Settings

Advance = Callable[[str, int, int], None]
"""Receives the name of a stage, how much of it is done, and the total."""


class Found(NamedTuple):
    """What was found of the deployments; `findings` is None where no deployment was named that may take over."""

    settings: Settings
    survey: Survey
    findings: GoNoGo | None


def look(name: str | None, options: Mapping[str, Any], *, always_compare: bool) -> Found:
    """Look at the deployments, and find whether the named one may publish; exit with 1 if they cannot be read."""
    settings = settings_or_refuse()
    request = SurveyRequest(
        settings, name, dict(options["groups"]), options["minutes"], options["since_ms"], options["fault_minutes"]
    )
    with Refusals(settings):
        found = asyncio.run(survey(request, always_compare=always_compare))
    is_asked = name is not None and found.target is not None
    return Found(settings, found, _findings(found, options) if is_asked else None)


def _findings(found: Survey, options: Mapping[str, Any]) -> GoNoGo:
    assert found.target is not None  # noqa: S101 - `look` asks only then
    limits = GateLimits(options["records"], options["fault_minutes"], options["budget"], options["minimum"])
    state = found.state(found.target.name)
    if found.is_way_back:
        return way_back_gates(state, limits)
    reproduction = _reproduction(found, options["sample"], stated=options["reproduced"])
    return gates_of(state, found.comparison, reproduction, limits)


def _reproduction(found: Survey, sample: int, *, stated: bool) -> Reproduction:
    """Return whether a sample of the silent decisions reproduces, or why that is not known."""
    assert found.target is not None  # noqa: S101 - `look` asks only then
    if stated:
        return Reproduction(stated=True)
    if not sample:
        return Reproduction(problem="not examined (--sample 0)")
    ranges = newest_offsets(found.state(found.target.name).decided_to, sample)
    if not ranges:
        return Reproduction(problem="it has decided nothing yet")
    with bars() as progress:
        return rescored(found.target.settings, ranges, progress)


def newest_offsets(decided_to: Mapping[int, int], sample: int) -> dict[int, tuple[int, int]]:
    """Return the ranges of offsets, by partition, that hold about so many of the newest decisions."""
    share = max(1, sample // max(1, len(decided_to)))
    return {partition: (max(0, end - share), end) for partition, end in decided_to.items() if end > 0}


def rescored(settings: Settings, ranges: Mapping[int, tuple[int, int]], progress: Advance) -> Reproduction:
    """Rescore the decisions of a deployment about these transactions, as `score --topic --diff` does."""
    if importlib.util.find_spec("duckdb") is None:
        return Reproduction(problem=install_extra("train"))
    from fraudstream.lab.rescoring.request import Range, RescoringError, TopicRequest  # noqa: PLC0415 - needs the extra `train`
    from fraudstream.lab.rescoring.topic_run import compare_topic  # noqa: PLC0415 - likewise

    sets = features_or_refuse(settings.features)
    request = TopicRequest(settings, Range(offsets=ranges), None, sets, len(os.sched_getaffinity(0)))
    try:
        report = compare_topic(request, progress)
    except (RescoringError, FileError, ModelError, FeatureError, KafkaError, OSError) as error:
        return Reproduction(problem=str(error) or type(error).__name__)
    return Reproduction(report.compared, report.equal, report.unexplained, report.reasons)

"""Send a promotion, or the rollout that leads to one, with the verdict on its model as evidence where that is needed.

So it is with the volume of its alerts. Whether they are needed is in the lineup, `fraudstream limits set
--promote-needs-verdict` and `--alert-budget`; the judge refuses without them.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fraudstream.cli.commands import request_of, send
from fraudstream.cli.ended_watch import ask_to_end_watch, ended_watch, tell_ended_watch
from fraudstream.cli.output import refuse
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.terminal import echo
from fraudstream_client.arms import LIVE
from models.commands import SHORT_DIGEST, CommandKind
from models.lineup import Lineup
from stream.clock import now_ms
from stream.control.client import CommandRequest, read_fold
from stream.errors import ControlLogError
from stream.settings import Settings

verdict_option = click.option(
    "--verdict",
    "verdict_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What `shadow verdict --json` wrote about MODEL, as evidence; by default, where a verdict is needed, it is "
    "computed with the default costs.",
)


def send_promotion(kind: CommandKind, *, verdict_file: Path | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Send a promotion as `send_kind` does.

    Exits with 1 if it needs a verdict and that is no PROMOTE, or if its volume would leave the fleet's budget.
    """
    settings = settings_or_refuse()
    request = request_of(settings, kind, options.pop("wait"), options)
    evidence = {} if verdict_file is None else dict(_stated(verdict_file))
    lineup = None if request.force else _lineup(settings, request.expected_revision)
    if lineup is not None:
        if not evidence and _needs_verdict(lineup, request):
            evidence |= _computed(settings, str(request.model), accepted=bool(request.despite))
        if not _is_at_the_top(lineup, request):
            evidence |= _volume(settings, lineup, str(request.model))
        tell_ended_watch(settings, lineup)
    _warn(settings, str(request.model), lineup)
    send(settings, replace(request, evidence=evidence or None), as_json=as_json)


def send_canary(kind: CommandKind, *, wait: float | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Send a canary as `send_kind` does; say if it ends a watch, and warn of rules that its model lacks."""
    settings = settings_or_refuse()
    request = request_of(settings, kind, wait, options)
    tell_ended_watch(settings)
    _warn(settings, str(request.model), None)
    send(settings, request, as_json=as_json)


def send_challenge(
    kind: CommandKind,
    *,
    wait: float | None,
    yes: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - likewise
) -> None:
    """Send a `challenge` as `send_kind` does; if it ends the watch of a promotion, say so and ask.

    Exits with 1 unless the answer is yes. The revision that was asked about is then the one that the command expects.
    """
    settings = settings_or_refuse()
    request = request_of(settings, kind, wait, options)
    lineup = _lineup(settings, request.expected_revision)
    ended = None if lineup is None else ended_watch(lineup, now_ms())
    if lineup is not None and ended is not None:
        echo(ended, err=True)
        if not yes:
            ask_to_end_watch()
        if request.expected_revision is None:
            request = replace(request, expected_revision=lineup.revision)
    send(settings, request, as_json=as_json)


def send_withdrawal(
    kind: CommandKind,
    *,
    verdict_file: Path | None,
    wait: float | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - likewise
) -> None:
    """Send a `withdraw` as `send_kind` does, with the verdict on the challenger as evidence; say if it ends a watch."""
    settings = settings_or_refuse()
    evidence = None if verdict_file is None else dict(_stated(verdict_file))
    request = request_of(settings, kind, wait, options | {"evidence": evidence})
    tell_ended_watch(settings)
    send(settings, request, as_json=as_json)


def winners_evidence(winner: str, expected_revision: int | None, *, force: bool) -> dict[str, Any]:
    """Return the volume of the model that wins a split as evidence, and warn of rules that it lacks.

    Empty if live wins, its model does, or there is no such arm. Exits with 1 if the volume would leave the budget.
    """
    if force or winner == LIVE:
        return {}
    settings = settings_or_refuse()
    lineup = _lineup(settings, expected_revision)
    won = None if lineup is None or lineup.split is None else lineup.split.arm(winner)
    if lineup is None or won is None or won.model == lineup.live:
        return {}
    _warn(settings, won.model, lineup)
    return dict(_volume(settings, lineup, won.model))


def _warn(settings: Settings, model: str, lineup: Lineup | None) -> None:
    from fraudstream.cli.missing_rules import warn_of_missing_rules  # noqa: PLC0415 - numpy comes with it

    warn_of_missing_rules(settings, model, lineup)


def _stated(file: Path) -> Mapping[str, Any]:
    from fraudstream.ops.rollout.verdict.evidence import evidence_of_verdict, read_report  # noqa: PLC0415 - numpy comes with it

    try:
        return evidence_of_verdict(read_report(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--verdict {file}: {error}") from error


def _lineup(settings: Settings, expected_revision: int | None) -> Lineup | None:
    """Return the lineup; None if the control log lacks records and the command states its revision, so needs none.

    Without it only the judge knows what a promotion needs: it refuses one that lacks its evidence.
    """
    with Refusals(settings, "the command was not sent: "):
        try:
            return asyncio.run(read_fold(settings)).lineup
        except ControlLogError:
            if expected_revision is None:
                raise
            return None


def _needs_verdict(lineup: Lineup, request: CommandRequest) -> bool:
    """Tell whether the judge will ask for one, as `models.promotion_rules` says; the model's digest may be a prefix."""
    if lineup.limits is None or not lineup.limits.promote_needs_verdict or lineup.live is None:
        return False
    return not _is_at_the_top(lineup, request)


def _is_at_the_top(lineup: Lineup, request: CommandRequest) -> bool:
    """Tell whether a promotion ends the rollout of its model, which was asked for its evidence when it began."""
    climbing = lineup.canary is not None and lineup.rollout is not None and lineup.rollout.model
    is_its_own = bool(climbing) and str(climbing).startswith(str(request.model))
    return is_its_own and request.kind is not CommandKind.ROLLOUT


def _volume(settings: Settings, lineup: Lineup, model: str) -> Mapping[str, Any]:
    """Return the volume of a model as evidence; exit with 1 if it would leave the budget, having sent nothing."""
    from fraudstream.cli.volume import volume_evidence  # noqa: PLC0415 - rich comes with it

    return volume_evidence(settings, lineup, model)


def _computed(settings: Settings, model: str, *, accepted: bool) -> Mapping[str, Any]:
    """Return the verdict on a model as evidence; exit with 1, and send nothing, unless it is PROMOTE or `accepted`."""
    from fraudstream.cli.shadow_verdict import default_options, verdict_or_refuse  # noqa: PLC0415 - rich comes with it
    from fraudstream.ops.rollout.verdict.evidence import evidence_of_verdict  # noqa: PLC0415 - likewise
    from fraudstream.ops.rollout.verdict.gates import VerdictWord  # noqa: PLC0415 - likewise

    report = verdict_or_refuse(settings, model, default_options())
    for gate in report.gates:
        echo(f"{gate.gate.value} {'passed' if gate.passed else 'NOT PASSED'}: {gate.found}", err=True)
    if report.verdict is not VerdictWord.PROMOTE and not accepted:
        refuse(
            f"the verdict is {report.verdict.value}, decided by the gate {report.gate.value}; nothing was sent. "
            "`fraudstream shadow verdict` shows all of it; to promote all the same, on the record: "
            f"--despite verdict:{report.challenger[:SHORT_DIGEST]} --reason TEXT"
        )
    return evidence_of_verdict(report)

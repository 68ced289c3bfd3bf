"""`fraudstream model`: sends commands about the live model and the challenger; shows, lists and imports models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fraudstream.cli.arguments import Duration, ModelParam, MomentParam, ShareParam
from fraudstream.cli.commands import command_options, countersigned_wait_option, send_kind
from fraudstream.cli.countersign import countersign
from fraudstream.cli.ended_watch import yes_option
from fraudstream.cli.extras import needs
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.model_grounds import despite_option, send_way_back
from fraudstream.cli.model_registry import card, key_option, prune, sign
from fraudstream.cli.model_watch import watch
from fraudstream.cli.output import json_option
from fraudstream.cli.policy_options import (
    accept_weak_option,
    calibration_option,
    maturity_option,
    policy_options,
    policy_wish,
)
from fraudstream.cli.promotion import send_canary, send_challenge, send_promotion, send_withdrawal, verdict_option
from fraudstream.cli.restore import restore
from fraudstream.cli.split import end_split, split
from models.commands import NAMES_A_MODEL, CommandKind


@click.group(cls=CommandGroup)
def model() -> None:
    """Choose the live model and the challenger; models are named by digest, or an unambiguous prefix of 8 or more."""


_wish_options = command_options(
    click.option(
        "--force", is_flag=True, help="Do not wait for workers to be ready, nor ask for a verdict where one is needed."
    ),
    wait=countersigned_wait_option,
)
_watch_option = click.option(
    "--watch", type=Duration(), help="How long the previous model stays in the shadow, e.g. 30min; 0: not at all."
)
_to_option = click.option(
    "--to",
    "to_ms",
    type=MomentParam(),
    help="Return to what was live at this time (RFC 3339, or epoch milliseconds), once every worker is ready with it.",
)
_canary_options = (
    click.option("--salt", help="Keys the hash that chooses the cards; by default the command's id."),
    click.option(
        "--share", "share_bp", type=ShareParam(), required=True, help="Of the cards, e.g. 1%; in steps of 0.01%."
    ),
)
_withdrawal_option = click.option(
    "--verdict",
    "verdict_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What `shadow verdict --json` wrote about the challenger: it goes on record, and a failed one is remembered.",
)
_hands_off_option = click.option(
    "--hands-off", is_flag=True, help="Refuse automatic commands that end a model's exposure, too."
)
_OPTIONS = {
    CommandKind.FREEZE: (_hands_off_option,),
    CommandKind.CHALLENGE: (yes_option,),
    CommandKind.WITHDRAW: (_withdrawal_option,),
    CommandKind.PROMOTE: (_watch_option, despite_option, verdict_option),
    CommandKind.ROLL_BACK: (_to_option,),
    CommandKind.CANARY: (*_canary_options, despite_option),
}
"""The options that one kind of command has beside those of all."""


_SENDERS: dict[CommandKind, Callable[..., None]] = {
    CommandKind.CHALLENGE: send_challenge,
    CommandKind.WITHDRAW: send_withdrawal,
    CommandKind.PROMOTE: send_promotion,
    CommandKind.CANARY: send_canary,
    CommandKind.ROLL_BACK: send_way_back,
    CommandKind.DEMOTE: send_way_back,
}
"""What sends the kinds of command about which something is said or asked before or after."""


def _command(kind: CommandKind, name: str, help_text: str) -> None:
    """Register one command to the workers."""

    def run(digest: str | None = None, **options: Any) -> None:  # noqa: ANN401 - click's options
        send: Callable[..., None] = _SENDERS.get(kind, send_kind)
        send(kind, model=digest, **options)

    decorated: Callable[..., None] = _wish_options(run)
    for option in _OPTIONS.get(kind, ()):
        decorated = option(decorated)
    if kind in NAMES_A_MODEL:
        decorated = click.argument("digest", type=ModelParam(), metavar="MODEL")(decorated)
    model.command(name, help=help_text)(decorated)


_command(
    CommandKind.CHALLENGE, "challenge", "Put MODEL into the shadow: it scores the same transactions as the live model."
)
_command(CommandKind.WITHDRAW, "withdraw", "Take the challenger out of the shadow.")
_command(
    CommandKind.PROMOTE,
    "promote",
    "Make MODEL live, once every worker is ready with it; where a verdict is needed, with that as evidence.",
)
_command(
    CommandKind.CANARY,
    "canary",
    "Let MODEL decide for a share of the cards, once every worker is ready with it; or change its share.",
)
_command(CommandKind.END_CANARY, "end-canary", "End the canary: the live model decides for all cards again.")
_command(
    CommandKind.ROLL_BACK,
    "rollback",
    "Return to the model that was live before; while a canary or a split runs, end it.",
)
_command(
    CommandKind.DEMOTE,
    "demote",
    "Return to the model that was live before, and quarantine the live one; while a canary or a split runs, end it, "
    "and quarantine its models, but for the live one.",
)

_command(
    CommandKind.FREEZE, "freeze", "Refuse what a guard asks for that raises a model's exposure; a way back stays open."
)
_command(CommandKind.THAW, "thaw", "Let a guard act again.")


@model.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--vectors",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What `features compute` wrote, with labels: to calibrate the model and to set its thresholds.",
)
@click.option("--name", required=True, help="The model's name in scores and lists.")
@click.option("--version", help="Default: the day of the last of the vectors.")
@click.option(
    "--trained-until",
    "trained_until_ms",
    type=MomentParam(),
    help="The time of the last transaction that the model was trained on or tuned by; only later vectors are used.",
)
@click.option("--use-training-rows", is_flag=True, help="Use vectors up to --trained-until nevertheless.")
@maturity_option
@accept_weak_option
@click.option("--features-by-position", is_flag=True, help="Accept a model whose features have no names.")
@click.option("--review-share", type=float, default=0.005, show_default=True, help="Of `calibrate`, at least reviewed.")
@click.option("--decline-share", type=float, default=0.001, show_default=True, help="Of `calibrate`, declined.")
@click.option(
    "--accept",
    "accepted",
    multiple=True,
    metavar="FEATURE",
    help="A feature that looks like a leak and is known at the decision; repeatable.",
)
@calibration_option
@policy_options
@click.option("--threads", type=click.IntRange(1, 1024), default=2, show_default=True, help="Of reading the vectors.")
@key_option
@json_option
@needs("train", "duckdb", "sklearn")
def import_command(as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Import a LightGBM model FILE that was trained elsewhere, and store it in the repository.

    FILE is what Booster.save_model writes, of a binary model on the feature columns of `features compute`. It is
    calibrated, gets thresholds, is measured and verified as by `train`, on the vectors that it was not trained on.
    """
    from fraudstream.cli.model_import import import_model  # noqa: PLC0415 - it needs the extra `train`

    wish = policy_wish(options)
    import_model(options | {"policy": wish}, as_json=as_json)


@model.command("policy")
@click.argument("digest", type=ModelParam(), metavar="MODEL")
@policy_options
@click.option("--no-rules", "drop_rules", is_flag=True, help="Leave out the rules that MODEL has.")
@click.option(
    "--vectors",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What `features compute` wrote, labelled: the volume that is expected is that of its payments that are later "
    "than MODEL's training.",
)
@click.option("--version", help="Default: that of MODEL.")
@click.option("--threads", type=click.IntRange(1, 1024), default=2, show_default=True, help="Of reading the vectors.")
@json_option
@needs("train", "duckdb", "sklearn")
def policy_command(digest: str, as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Store MODEL with another policy or other rules, and print the new digest.

    Trees and calibration stay as they are, and so does what is not asked for. The new model names MODEL as its parent,
    and is promoted, compared and rolled back like any other.
    """
    from fraudstream.cli.model_policy import make_policy  # noqa: PLC0415 - it needs the extra `train`

    make_policy(digest, options, as_json=as_json)


@model.command("list")
@json_option
def list_command(as_json: bool) -> None:  # noqa: FBT001 - a flag
    """List the models: which there are, in which role, and how good.

    The table has name, version, the first 12 digits of the digest, role, when the model was stored, on which time and
    how many rows it was trained, and its main metrics. If the control log cannot be read, the models are listed
    without their roles, and the exit code is 1.
    """
    from fraudstream.cli.model_list import list_models  # noqa: PLC0415 - rich comes with it, not with a roll-back

    list_models(as_json=as_json)


@model.command("show")
@click.argument("digest", type=ModelParam(), metavar="MODEL")
@json_option
def show_command(digest: str, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Show a model: what it is, and what became of it.

    Its role, training data, features, thresholds, parameters and metrics, and the verdicts about it. --json has all
    that its manifest holds, the calibration too.
    """
    from fraudstream.cli.model_page import show_model  # noqa: PLC0415 - likewise

    show_model(digest, as_json=as_json)


@model.command("history")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each, a line each.")
def history_command(as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Print every change of the lineup, with who and why.

    All verdicts of the deployment, oldest first, those of refused commands too: which model was replaced by which, who
    sent the command, and its reason.
    """
    from fraudstream.cli.model_history import print_history  # noqa: PLC0415 - a roll-back needs no repository

    print_history(as_json=as_json)


@model.command("who")
@click.option("--at", "time_ms", type=MomentParam(), required=True, help="RFC 3339 with a zone, or epoch milliseconds.")
@json_option
def who_command(time_ms: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Say who was live at a time, for which share of the cards, put there by whom, and why.

    For each partition: the first payment that was decided under it, by its `cutover` event and by the scores topic,
    which is read from then on. Exits with 1 if nobody was live, or if the scores contradict the event log.
    """
    from fraudstream.cli.model_who import print_who  # noqa: PLC0415 - a roll-back needs no repository

    print_who(time_ms, as_json=as_json)


model.add_command(card)
model.add_command(countersign)
model.add_command(end_split)
model.add_command(prune)
model.add_command(restore)
model.add_command(sign)
model.add_command(split)
model.add_command(watch)

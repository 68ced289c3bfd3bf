"""The commands of `fraudstream model` that keep the repository; each imports what it needs when it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fraudstream.cli.arguments import ModelParam
from fraudstream.cli.extras import needs
from fraudstream.cli.output import json_option

Command = TypeVar("Command", bound=Callable[..., Any])

key_option: Callable[[Command], Command] = click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Sign the model at once with this private key (PEM), as `model sign` does.",
)


@click.command("card")
@click.argument("digest", type=ModelParam(), metavar="MODEL")
@click.option(
    "--record",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="First record what this TOML file states (owner, purpose, limits, review date) as the card's next version.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the card to a file, Markdown (.md) or HTML (.html); else it is printed as Markdown.",
)
@click.option(
    "--review",
    type=click.Choice(["passed", "failed"]),
    help="How a review ended that --record records; after one that failed, MODEL is let decide only with --despite.",
)
@json_option
def card(digest: str, record: Path | None, out: Path | None, review: Any, as_json: bool) -> None:  # noqa: ANN401, FBT001
    """Write the card of MODEL for those who review it.

    What it is, what it is for, how it was made and tested, its limits, and who answers for it: from its manifest and
    from what its owner has recorded. What nobody has recorded is shown as not stated.
    """
    from fraudstream.cli.model_card import write_model_card  # noqa: PLC0415 - a roll-back needs no repository

    if review is not None and record is None:
        raise click.UsageError("--review: a review is recorded with a version of the card: give --record FILE")
    write_model_card(digest, None if record is None else (record, review), out, as_json=as_json)


@click.command("prune")
@click.option(
    "--keep-days",
    type=click.IntRange(1, 36_500),
    default=90,
    show_default=True,
    help="Keep what was stored in the last so many days.",
)
@click.option("--apply", "applied", is_flag=True, help="Delete; without it, nothing is.")
@click.option(
    "--skip-decisions",
    is_flag=True,
    help="Do not read the topics of decisions: model-events names every model that decided, unless it was lost.",
)
@click.option(
    "--own-prefix",
    is_flag=True,
    help="Read only the topics with FRAUDSTREAM_TOPIC_PREFIX: no fleet with another prefix uses this repository.",
)
@json_option
def prune(keep_days: int, applied: bool, skip_decisions: bool, own_prefix: bool, as_json: bool) -> None:  # noqa: FBT001 - flags
    """List the models that nothing names any more, and delete them with --apply.

    Kept is what the history, a command, a kept prediction or a kept decision of any deployment on the broker names,
    what a snapshot of the control log names, what a kept model descends from, and what is young. Without the broker,
    nothing is deleted.
    """
    from fraudstream.cli.model_prune import prune_models  # noqa: PLC0415 - a roll-back needs no repository
    from fraudstream.ops.rollout.lineup.named_models import NamingScope  # noqa: PLC0415 - likewise

    scope = NamingScope(not skip_decisions, own_prefix)
    prune_models(keep_days, scope, applied=applied, as_json=as_json)


@click.command("sign")
@click.argument("digest", type=ModelParam(), metavar="MODEL")
@click.option(
    "--key", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The private key (PEM) that signs."
)
@json_option
@needs("signing", "cryptography")
def sign(digest: str, key: Path, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Sign MODEL, so that workers that ask for signatures load it.

    The signature is a file beside the artifact, whose digest stays as it is; several persons may sign one model. The
    artifact is verified first: what is signed is what is stored.
    """
    from fraudstream.cli.model_sign import sign_model  # noqa: PLC0415 - a roll-back needs no repository

    sign_model(digest, key, as_json=as_json)

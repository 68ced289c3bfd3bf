"""`fraudstream model split` and `end-split`: an A/B experiment on live decisions, and its end."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from fraudstream.cli.arguments import ModelParam
from fraudstream.cli.commands import command_options, countersigned_wait_option, send_kind
from fraudstream.cli.ended_watch import tell_ended_watch
from fraudstream.cli.model_grounds import despite_option
from fraudstream.cli.promotion import winners_evidence
from fraudstream.cli.settings import settings_for_arms_or_refuse
from fraudstream.cli.split_grounds import grounds_of
from fraudstream.terminal import echo
from guards.excluded import ExcludedCards
from models.arms import parse_share
from models.commands import CommandKind, RequestedArm
from models.errors import InvalidShareError
from models.splits import card_problems
from stream.redaction import holds_card_number
from stream.settings import PREFIX

_FORM = "NAME=MODEL:SHARE, such as new=81d07a5b:10%"
_force_option = click.option("--force", is_flag=True, help="Do not wait for workers to be ready.")


class NamedArm(NamedTuple):
    """An arm as the command line names it."""

    name: str
    arm: RequestedArm


class ArmParam(click.ParamType):
    """Reads `new=81d07a5b:10%` as an arm: its name, its model and its share of the cards."""

    name = "name=model:share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> NamedArm:
        """Return the arm, or fail with what was expected."""
        name, _, rest = str(value).partition("=")
        model, _, share = rest.rpartition(":")
        if not name or not model or not share:
            self.fail(f"{str(value)[:80]!r} is not {_FORM}", param, ctx)
        digest = ModelParam().convert(model, param, ctx)
        try:
            return NamedArm(name, RequestedArm(digest, parse_share(share)))
        except InvalidShareError as error:
            self.fail(f"arm {name[:80]}: {error}", param, ctx)


def _by_name(_context: click.Context, _option: click.Parameter, arms: Sequence[NamedArm]) -> dict[str, RequestedArm]:
    found = dict(arms)
    if len(found) < len(arms):
        raise click.BadParameter("two arms have one name; each needs a name of its own")
    _refuse_card_numbers(found, "an arm is named by a card number; choose another name")
    return found


def _refuse_card_numbers(texts: Iterable[str], why: str) -> None:
    if any(map(holds_card_number, texts)):
        raise click.BadParameter(why)


def _without_card_numbers(_context: click.Context, _option: click.Parameter, cards: Sequence[str]) -> Sequence[str]:
    _refuse_card_numbers(cards, "one is a card number; name cards by their tokens, as `card_id` of payments does")
    return cards


def _cards_in(context: click.Context, option: click.Parameter, file: Path | None) -> Sequence[str]:
    if file is None:
        return ()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{file} cannot be read as text: {error}") from error
    return _without_card_numbers(context, option, [line.strip() for line in lines if line.strip()])


@click.command("split")
@click.option(
    "--arm",
    "arms",
    type=ArmParam(),
    required=True,
    multiple=True,
    callback=_by_name,
    help=f"{_FORM}; repeat it for each arm. What is left is the live model's, in the arm `live`.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="CARD",
    callback=_without_card_numbers,
    help="A card that is always the live model's, by its token; repeatable.",
)
@click.option(
    "--exclude-file",
    "excluded",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_cards_in,
    help="A file with such cards, one in each line; 1,000 in all.",
)
@click.option("--salt", help="Keys the hash that divides the cards; by default the command's id.")
@despite_option
@command_options(_force_option, wait=countersigned_wait_option)
def split(exclude: Sequence[str], excluded: Sequence[str], **options: Any) -> None:  # noqa: ANN401 - click's options
    """Divide the cards among arms, each with a model of its own, once every worker is ready with all of them.

    A card keeps its arm, and the shares stay as they are until `end-split`. One arm may have the live model, as a
    control of the same size as the others.

    Excluded cards are sent by hashes, keyed with FRAUDSTREAM_HASH_KEY_FILE; without a key they are sent as they are.
    """
    settings = settings_for_arms_or_refuse()
    cards = _excluded({*exclude, *excluded})
    tell_ended_watch(settings)
    send_kind(CommandKind.SPLIT, exclude=cards.entries, exclude_key_check=cards.key_check, **options)


def _excluded(card_ids: Collection[str]) -> ExcludedCards:
    """Return the cards as they are sent; warn if that is by their ids, which nobody can take back."""
    if problems := "; ".join(card_problems(sorted(card_ids))):
        raise click.UsageError(problems)
    cards = ExcludedCards.of_cards(card_ids)
    if cards.ids:
        echo(
            f"warning: the ids of {len(cards.ids):,} excluded cards go into the command and its event as they are, and "
            f"stay there for ever: {PREFIX}HASH_KEY_FILE names no key by which they could be hashed",
            err=True,
        )
    return cards


@click.command("end-split")
@click.option(
    "--winner", required=True, metavar="ARM", help="The arm whose model becomes live for all cards, or `live`."
)
@click.option(
    "--evidence",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What `split report --json` wrote, if that was by other terms than the default ones.",
)
@click.option("--force", is_flag=True, help="Let the arm win though its alerts would leave the fleet's budget.")
@despite_option
@command_options(wait=countersigned_wait_option)
def end_split(winner: str, file: Path | None, **options: Any) -> None:  # noqa: ANN401 - click's options
    """End the split: the model of the winner decides for all cards.

    If that is not the live model, it is promoted: the live one is the model before, and watches it from the shadow.
    Before that, standard error says what `fraudstream split report` says; it does not prevent anything, and goes into
    the command's evidence. For the winner `live` it is read only if a file is given. A budget of alerts is asked for as
    by `model promote`.
    """
    volume = winners_evidence(winner, options["expected_revision"], force=options["force"])
    evidence = {**volume, **(grounds_of(winner, file) or {})}
    send_kind(CommandKind.END_SPLIT, winner=winner, evidence=evidence or None, **options)

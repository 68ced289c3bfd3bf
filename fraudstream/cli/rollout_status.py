"""`fraudstream rollout status`: what the share is, what it waits for, and how far each guard is from its bound."""

import asyncio
import shutil

from fraudstream.cli.model_history import label, names_of_models, wrapped
from fraudstream.cli.output import say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_for_arms_or_refuse
from fraudstream.ops.rollout.guard.finding import Limits
from fraudstream.ops.rollout.guard.status import facts, lines, read_status


def print_status(limits: Limits, *, as_json: bool) -> None:
    """Print where the rollout stands; exit with 1 if it cannot be read."""
    settings = settings_for_arms_or_refuse()
    with Refusals(settings), bars() as bar:
        found = asyncio.run(read_status(settings, limits, lambda done, total: bar("scores", done, total)))
    watched = found.watched
    names = {} if watched is None or as_json else names_of_models(settings, {*watched.models, watched.other})
    columns = shutil.get_terminal_size().columns
    first, *others = lines(found, lambda digest: label(digest, names))
    say(as_json, facts(found), "\n".join([first, *(wrapped(line, columns) for line in others)]))

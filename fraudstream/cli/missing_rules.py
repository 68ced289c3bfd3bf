"""Warn of a model that is to decide and lacks rules that the live model has, such as a list of stolen cards.

A model is trained without the rules of the live one unless they are given, and a promotion would drop them unnoticed.
Whether that is meant is for a person to say, so it is no refusal.
"""

import asyncio
from collections.abc import Collection

from aiokafka.errors import KafkaError

from fraudstream.terminal import echo
from models.artifact import read_manifest
from models.errors import ModelError
from models.lineup import Lineup
from models.problems import Problem
from models.repository import Repository
from stream.control.client import read_fold
from stream.errors import ControlLogError
from stream.settings import Settings

_MOST_NAMED = 5


def warn_of_missing_rules(settings: Settings, model: str, lineup: Lineup | None) -> None:
    """Print the names of rules that the live model has and another one lacks; nothing where either is not known.

    Without a lineup it is read.
    """
    try:
        found = asyncio.run(read_fold(settings)).lineup if lineup is None else lineup
        if found.live is None:
            return
        repository = Repository(settings.models)
        missing = sorted(_rule_names(repository, found.live) - _rule_names(repository, model))
    except (ControlLogError, KafkaError, OSError, ModelError, LookupError):
        return  # the judge, or the command itself, says what is wrong
    if missing:
        echo(f"warning: {_text(missing)}", err=True)


def _rule_names(repository: Repository, model: str) -> frozenset[str]:
    """Return the names of a model's rules.

    Raises:
        LookupError: there is no such model.
        ModelError: the repository does not answer, or the manifest is damaged.
    """
    digest = repository.resolve(model)
    if isinstance(digest, Problem):
        raise LookupError(digest.detail)  # noqa: TRY004 - the repository's answer, no type that a caller chose
    rules = read_manifest(repository.manifest(digest).value).rules
    return frozenset() if rules is None else frozenset(rule.name for rule in rules.rules)


def _text(missing: Collection[str]) -> str:
    named = ", ".join(list(missing)[:_MOST_NAMED])
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    return (
        f"the live model has rules that this one lacks: {named}{more}; payments that this one decides are no longer "
        "looked up in them. `fraudstream model policy --rules FILE` makes a model that has them"
    )

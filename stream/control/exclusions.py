"""What a sender looks up before it sends excluded cards: whether the workers that run know them as it names them.

A command stays on its topic for ever, refused or not. So ids are not sent where the deployment hashes them. Hashes are
not sent where a worker of an earlier version runs: as a judge it would refuse them as no cards, and it could not read
the acceptance of another judge, so that it would not be ready.
"""

import logging
from collections.abc import Iterator

from aiokafka.errors import KafkaError

from models.commands import Capability, Command
from models.split_rules import older_text, other_key_text
from models.worker_records import WorkerRecords
from stream.control.running import Running, able, running_workers
from stream.errors import UnsentCommandError
from stream.settings import Settings

log = logging.getLogger("fraudstream.exclusions")


async def require_known_cards(settings: Settings, command: Command, workers: WorkerRecords) -> None:
    """Do nothing where the workers that run exclude the cards that a command names, as far as can be seen.

    `workers` is what the log says of them, read to its end. A group that cannot be seen counts as empty: the judge asks
    for its own members again.

    Raises:
        UnsentCommandError: the command must not be sent.
    """
    if not command.exclude:
        return
    try:
        running = await running_workers(settings, workers, skip_unseen=True)
    except KafkaError as error:
        log.warning("which workers run could not be read, the judge asks again: %s", error)
        return
    problems = tuple(exclusion_problems(command, running))
    if problems:
        raise UnsentCommandError("; ".join(problems))


def exclusion_problems(command: Command, running: Running) -> Iterator[str]:
    """Yield why a command with excluded cards must not be sent; `running` has the workers of all deployments.

    Those of other deployments exclude nothing here. But an earlier version cannot read such a record, its command line
    included: there it would not be known any more who is live in this deployment, so that none could be handed over.
    """
    given, newer = command.exclude_key_check, able(running, Capability.HASHED_EXCLUDE)
    checks = {record.exclude_key_check for (deployment, _), record in newer.items() if deployment == command.deployment}
    yield from sorted({text for check in checks if (text := other_key_text(given, check)) is not None})
    older = [f"{deployment}/{worker}" for deployment, worker in running.keys() - newer.keys()]
    if given is not None and older:
        yield older_text(older)

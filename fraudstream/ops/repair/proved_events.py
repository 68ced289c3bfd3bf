"""Which acceptances of a snapshot are proved: their commands stand on `model-control`, signed as commands must be here.

A snapshot lies where models lie, and whoever may write there could put an acceptance of a command that nobody sent.
"""

from collections.abc import Iterable, Mapping

from models.commands import Command, Event, EventKind
from models.signing import SealScope
from stream.control.client import SentCommand, read_sent_commands
from stream.control.estate import Estate
from stream.control.keys import Signatures, read_signatures
from stream.redaction import redact_text
from stream.settings import Settings


async def unproved_events(settings: Settings, estate: Estate, events: Iterable[Event]) -> dict[str, str]:
    """Return why acceptances among some events are not proved, by `event_id`; only those are in it.

    Raises:
        SettingsError: the file of the keys that sign commands cannot be used.
        aiokafka.errors.KafkaError: the broker does not answer, or there is no `model-control`.
    """
    signatures = read_signatures(settings)
    sent = await read_sent_commands(settings)
    found = ((event.event_id, _doubt(event, sent, signatures, estate.scope)) for event in events)
    return {event_id: why for event_id, why in found if why is not None}


def _doubt(
    event: Event, sent: Mapping[tuple[str, str], SentCommand], signatures: Signatures, scope: SealScope
) -> str | None:
    """Return why an event is not proved; None if it is, or if it answers no command."""
    if event.kind is not EventKind.ACCEPTED:
        return None
    one = sent.get((event.deployment, event.command_id or ""))
    if one is None:
        return f"its command {event.command_id} is not on model-control"
    if not _asks_for(one.command, event):
        return f"its command {event.command_id} on model-control asks for something else"
    seal = signatures.seal(scope._replace(deployment=event.deployment), one.command, one.value, one.headers)
    return "; ".join(f"{problem.code}: {problem.detail}" for problem in seal.problems) or None


def _asks_for(command: Command, event: Event) -> bool:
    """Tell whether an acceptance could be the answer to a command: of its kind, for its model and its person."""
    same_kind = command.kind == event.command or command.to is not None
    same_model = command.model is None or (event.model or "").startswith(command.model)
    same_actor = event.actor is None or event.actor == redact_text(command.actor)
    return same_kind and same_model and same_actor

"""Who is in the consumer group: a worker's client id carries its name, and the group coordinator lists client ids."""

from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code

_CLIENT_PREFIX = "fraudstream-worker-"


def client_id(worker: str) -> str:
    """Return the client id that a worker joins its group with."""
    return _CLIENT_PREFIX + worker


async def members(admin: AIOKafkaAdminClient, group: str) -> frozenset[str]:
    """Return the names of the workers that are in the group now.

    Raises:
        aiokafka.errors.KafkaError: the coordinator does not answer.
    """
    found: set[str] = set()
    for response in await admin.describe_consumer_groups([group]):
        for code, _group, _state, _type, _protocol, group_members, *_rest in response.groups:
            if code:
                raise for_code(code)
            found |= {_name(member_id, client_id) for member_id, client_id, *_ in group_members}
    return frozenset(found)


def _name(member_id: str, client_id: str) -> str:
    """Read the worker's name; some brokers keep no client id, but all begin the member's id with it."""
    return (client_id or member_id[: -len("-" + str(UUID(int=0)))]).removeprefix(_CLIENT_PREFIX)

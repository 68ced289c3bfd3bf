"""The estate: what tells this installation from others that share its keys or its model repository."""

from collections.abc import Callable
from functools import partial

from aiokafka.admin import AIOKafkaAdminClient

from models.signing import Headers, SealScope
from stream.control.keys import Signer
from stream.kafka.client import open_admin
from stream.settings import Settings

SealCommand = Callable[[bytes], Headers]
"""Returns the headers that sign the value of a command."""

_WITHOUT_ID = "unnamed"
"""The estate where nobody named it and the broker has no id, as the embedded one."""


class Estate:
    """The estate of some settings: its declared name, or the id of the Kafka cluster once that was asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = settings.estate

    async def find(self, admin: AIOKafkaAdminClient) -> None:
        """Ask the cluster for its id, unless the estate has a name.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        if not self._name:
            answer = await admin._get_cluster_metadata([])  # noqa: SLF001 - the public way describes every topic
            self._name = getattr(answer, "cluster_id", None) or _WITHOUT_ID

    @property
    def name(self) -> str:
        """The estate's name; it must have been found."""
        assert self._name, "the estate was not asked for"  # noqa: S101 - start-up asks before anything needs it
        return self._name

    @property
    def scope(self) -> SealScope:
        """Where commands to this deployment count."""
        return SealScope(self.name, self._settings.topic_prefix, self._settings.deployment)


async def estate_of(settings: Settings) -> Estate:
    """Return the estate of some settings, with a connection of its own where the cluster has to be asked.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    estate = Estate(settings)
    if not settings.estate:
        async with open_admin(settings) as admin:
            await estate.find(admin)
    return estate


async def command_seal(settings: Settings, signer: Signer | None) -> SealCommand | None:
    """Return what signs commands to the deployment of some settings; None without a key.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    return None if signer is None else partial(signer.headers, (await estate_of(settings)).scope)

"""The histories of a worker: the store in Redis, and how decisions and labels see it while Redis is away."""

from features.errors import StoreRefusedError
from features.memory_store import MemoryStore
from features.redis.store import RedisStore, StoreOptions
from features.vector.sets import FeatureSets
from stream.clock import now_ms
from stream.control.model_cache import LoadedModels
from stream.errors import SettingsError
from stream.hash_key import hash_by_key
from stream.kafka.topics import TRANSACTIONS
from stream.recovery.originals import originals_of
from stream.recovery.outage import DegradingStore, WaitingStore
from stream.recovery.repairer import NeededHorizons
from stream.settings import PREFIX, Settings

DecisionStore = WaitingStore | DegradingStore
"""The histories as decisions and labels see them: they wait for Redis, or decisions go on without it."""


def redis_store(settings: Settings, features: FeatureSets, models: LoadedModels) -> RedisStore:
    """Return the store in Redis; it asks how far back the models look that decide at the time.

    Raises:
        SettingsError: the URL names no server that can be used, or the file of the hash key cannot be used.
    """
    hash_by_key(settings)
    try:
        options = StoreOptions(
            cache_bytes=settings.cache_mb << 20,
            batch_bytes=settings.batch_mb << 20,
            needed=NeededHorizons(features, models.serving),
            originals=originals_of(settings),
        )
        return RedisStore(settings.redis_url, settings.deployment, features, now_ms, options)
    except StoreRefusedError as error:
        raise SettingsError(f"{PREFIX}REDIS_URL: {error}") from error


def decision_store(settings: Settings, features: FeatureSets, store: RedisStore) -> DecisionStore:
    """Return the store for decisions and labels, by `FRAUDSTREAM_REDIS_DOWN`."""
    if not degrades(settings):
        return WaitingStore(store)
    inner = WaitingStore(store, labels_alone=True)
    return DegradingStore(
        inner, lambda: MemoryStore(features, store.cached_copy, store.state.retentions, settings.batch_mb << 20)
    )


def degrades(settings: Settings) -> bool:
    """Tell whether decisions go on while Redis is unavailable or histories are incomplete."""
    return settings.redis_down == "degrade"


def is_withheld(settings: Settings, histories: DecisionStore, topic: str) -> bool:
    """Tell whether a topic's offsets must not be committed: decisions that Redis lacks are applied again from Kafka."""
    return histories.has_pending and topic == settings.topic(TRANSACTIONS.name)

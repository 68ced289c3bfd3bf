"""The parts of a worker, and how they are wired; nothing is connected before the worker starts.

Parts are grouped by what they are about: Kafka, histories, the lineup of models, the input. `WorkerParts` makes the
groups, each from those above it, and from them what decides, labels, repairs and starts.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from features.errors import StoreRefusedError
from features.memory_store import MemoryStore
from features.redis.store import RedisStore, StoreOptions
from features.vector.sets import FeatureSets, load_sets
from models.errors import RepositoryUnavailableError
from models.repository import Repository
from stream.challenger.comparer import Comparer
from stream.clock import now_ms
from stream.control.estate import Estate
from stream.control.follower import Follower
from stream.control.judge import Judge
from stream.control.model_cache import LoadedModels, ModelCache, ModelLoader
from stream.control.probes import probe_vectorisers
from stream.control.reviews import ReviewDates
from stream.control.snapshot_store import SnapshotStore
from stream.control.snapshots import Snapshots
from stream.control.trusted_models import trusted_repository
from stream.engine.publisher import Publisher
from stream.engine.transport import BatchConsumer
from stream.errors import SettingsError
from stream.kafka.client import committed_offsets, connection_options
from stream.kafka.topic_settings import TopicWatch
from stream.kafka.topics import TRANSACTIONS
from stream.key_files import hash_by_key
from stream.pipeline import Pipeline
from stream.positions.commit_copies import CommitCopies
from stream.recovery.outage import BackfilledShare, DegradingStore, WaitingStore
from stream.recovery.reapply import originals_of
from stream.recovery.repairer import NeededHorizons, Repairer, RepairProgress, WarmupCheck
from stream.scoring.facts import FactListener
from stream.settings import PREFIX, Settings
from stream.telemetry.setup import Telemetry
from stream.worker.commit_copies import CommitCopier
from stream.worker.cut_over import CutOverAnswers, PublishingGates
from stream.worker.decider import Decider
from stream.worker.group import GroupCheck
from stream.worker.labeller import Labeller
from stream.worker.losses import InputLosses
from stream.worker.positions import DecisionPositions
from stream.worker.prediction_applier import PredictionApplier
from stream.worker.prediction_catch_up import PredictionCatchUp
from stream.worker.role import PublishedScores
from stream.worker.row_times import RowTimeReports
from stream.worker.startup import Startup

_ADMIN_MS = 3_000
"""A hung broker costs each request so long; all that is asked is small, and asked again."""

DecisionStore = WaitingStore | DegradingStore
"""The histories as decisions and labels see them: they wait for Redis, or decisions go on without it."""


def degrades(settings: Settings) -> bool:
    """Tell whether decisions go on while Redis is unavailable or histories are incomplete."""
    return settings.redis_down == "degrade"


def is_withheld(settings: Settings, histories: DecisionStore, topic: str) -> bool:
    """Tell whether a topic's offsets must not be committed: decisions that Redis lacks are applied again from Kafka."""
    return histories.has_pending and topic == settings.topic(TRANSACTIONS.name)


class AppAccess(NamedTuple):
    """What parts need of the app: the consumer that Faust creates at start-up, and why the worker does not decide.

    `created` requires that it has been created, `current` may return None.
    """

    created: Callable[[], BatchConsumer]
    current: Callable[[], BatchConsumer | None]
    reasons: Callable[[], list[str]]


class KafkaParts:
    """The connections that all parts share, and what Kafka tells of the cluster and of the group."""

    def __init__(self, settings: Settings) -> None:
        self.admin = AIOKafkaAdminClient(**connection_options(settings) | {"request_timeout_ms": _ADMIN_MS})
        self.publisher = Publisher(settings)
        self.estate = Estate(settings)
        self.group = GroupCheck(settings, self.admin)


class HistoryParts:
    """The histories: `store` in Redis, `decided` as decisions and labels see it, and the progress of a repair.

    Raises:
        SettingsError: Redis's URL or the file of the hash key cannot be used.
    """

    def __init__(self, settings: Settings, features: FeatureSets, models: LoadedModels) -> None:
        self.store = _redis_store(settings, features, models)
        self.decided = _decision_store(settings, features, self.store)
        self.repair = RepairProgress()
        self.warmup = WarmupCheck(features, self.store, self.repair.text)

    @property
    def incomplete(self) -> bool:
        """Whether Redis lacks something that Kafka has and decisions look at."""
        return self.store.incomplete or self.decided.degraded

    @property
    def behind(self) -> bool:
        """Whether Redis lacks anything that Kafka has, be it only for a model that is not live yet."""
        return self.incomplete or self.store.state.pending_repair is not None


class LineupParts:
    """The models: which decide by the control log, those in memory, the challenger, and who judges commands.

    Raises:
        SettingsError: the models' repository or the place of the snapshots cannot be used.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        features: FeatureSets,
        follower: Follower,
        models: LoadedModels,
        kafka: KafkaParts,
        warmup: WarmupCheck,
        emit: FactListener,
        challenger_command: Sequence[str] | None,
    ) -> None:
        self.follower = follower
        self.models = models
        names, publisher = kafka.group.names_of, kafka.publisher
        vectorisers = probe_vectorisers(features)
        loader = ModelLoader(_repository(settings), vectorisers, settings.worker_id, warmup.problems)
        self.cache = ModelCache(follower, models, loader, publisher, names=names)
        self.comparer = Comparer(settings, follower, emit, challenger_command, warmup.problems, names=names)
        self.judge = Judge(
            settings=settings,
            follower=follower,
            loader=loader,
            cache=self.cache,
            publisher=publisher,
            admin=kafka.admin,
            estate=kafka.estate,
        )
        self.snapshots = Snapshots(
            settings, follower, _snapshot_store(settings, kafka.estate), lambda: self.judge.owner
        )
        self.reviews = ReviewDates(follower, models, loader.repository)
        self.row_times = RowTimeReports(follower, models, publisher, settings.worker_id)


class InputParts:
    """Where partitions go on: what is published, what is decided, what Kafka has lost, and what waits."""

    def __init__(
        self,
        *,
        settings: Settings,
        features: FeatureSets,
        follower: Follower,
        kafka: KafkaParts,
        store: RedisStore,
        app: AppAccess,
        emit: FactListener,
    ) -> None:
        admin, copies = kafka.admin, CommitCopies(store.commit_notes)
        self.topics = TopicWatch(settings, admin, features.horizons_ms)
        self.published = PublishedScores(settings, follower, admin)
        self.positions = DecisionPositions(
            settings=settings,
            follower=follower,
            published=self.published,
            publisher=kafka.publisher,
            admin=admin,
            consumer=app.created,
            copies=copies,
            emit=emit,
            members=kafka.group,
        )
        self.losses = InputLosses(
            settings=settings,
            follower=follower,
            admin=admin,
            positions=self.positions,
            consumer=app.created,
            copies=copies,
            emit=emit,
            reads_predictions=features.has_predictions,
        )
        self.catch_up = PredictionCatchUp(
            settings, app.created, self.losses, reads_predictions=features.has_predictions
        )
        self.copier = CommitCopier(
            settings=settings,
            notes=store.commit_notes,
            consumer=app.current,
            scores_ids=self.positions.scores_ids,
            commits=partial(committed_offsets, settings, admin),
            history_epoch=lambda: store.history_epoch,
        )


class WorkerParts:
    """The parts of a worker that its app calls; nothing is connected yet.

    Raises:
        DeclarationError: the feature table is invalid.
        SettingsError: a setting is invalid.
    """

    def __init__(
        self, settings: Settings, telemetry: Telemetry, app: AppAccess, challenger_command: Sequence[str] | None
    ) -> None:
        features = load_sets(settings.features)
        follower = Follower(settings, telemetry.operations)
        models = LoadedModels(follower)
        self.look_back_days = features.look_back_days
        self.kafka = KafkaParts(settings)
        self.histories = HistoryParts(settings, features, models)
        self.lineup = LineupParts(
            settings=settings,
            features=features,
            follower=follower,
            models=models,
            kafka=self.kafka,
            warmup=self.histories.warmup,
            emit=telemetry.emit,
            challenger_command=challenger_command,
        )
        self.input = InputParts(
            settings=settings,
            features=features,
            follower=follower,
            kafka=self.kafka,
            store=self.histories.store,
            app=app,
            emit=telemetry.emit,
        )
        self.decider = self._decider(settings, features, telemetry)
        self.labeller = Labeller(
            settings=settings,
            store=self.histories.decided,
            publisher=self.kafka.publisher,
            source=self.input.losses,
            emit=telemetry.emit,
            tracing=telemetry.tracing,
        )
        self.predictions = PredictionApplier(
            settings=settings,
            store=self.histories.decided,
            publisher=self.kafka.publisher,
            features=features,
            telemetry=telemetry,
            source=self.input.losses,
        )
        self.repairer = self._repairer(settings, features, telemetry, app)
        self.startup = self._startup(settings, features, app)

    def _decider(self, settings: Settings, features: FeatureSets, telemetry: Telemetry) -> Decider:
        histories, lineup, topics = self.histories, self.lineup, self.input.topics
        return Decider(
            settings=settings,
            pipeline=Pipeline(settings, features, histories.decided, lineup.judge.erasure_problem),
            models=lineup.models,
            follower=lineup.follower,
            publisher=self.kafka.publisher,
            positions=self.input.positions,
            may_decide=lambda: lineup.judge.settled and (degrades(settings) or not histories.store.incomplete),
            emit=telemetry.emit,
            tracing=telemetry.tracing,
            shadow=lineup.comparer,
            backfilled=BackfilledShare(lambda: histories.decided.degraded),
            clock_is_checked=lambda: settings.topic(TRANSACTIONS.name) in topics.bounded,
        )

    def _repairer(self, settings: Settings, features: FeatureSets, telemetry: Telemetry, app: AppAccess) -> Repairer:
        return Repairer(
            settings=settings,
            policy=features,
            store=self.histories.store,
            consumer=app.current,
            read_to=self.input.positions.read_to,
            begun_are_done=self.decider.begun_are_done,
            withheld=partial(is_withheld, settings, self.histories.decided),
            emit=telemetry.emit,
            progress=self.histories.repair,
            log=self.lineup.follower.log_number,
        )

    def _startup(self, settings: Settings, features: FeatureSets, app: AppAccess) -> Startup:
        kafka, lineup, inputs = self.kafka, self.lineup, self.input
        gates = PublishingGates(
            app.reasons, lambda: self.histories.behind, inputs.positions, inputs.published, app.current
        )
        cut_overs = CutOverAnswers(
            lineup.follower, lineup.models, kafka.publisher, settings.worker_id, gates, names=kafka.group.names_of
        )
        return Startup(
            settings=settings,
            admin=kafka.admin,
            estate=kafka.estate,
            store=self.histories.store,
            histories=self.histories.decided,
            follower=lineup.follower,
            publisher=kafka.publisher,
            cache=lineup.cache,
            comparer=lineup.comparer,
            group=kafka.group,
            snapshots=lineup.snapshots,
            topics=inputs.topics,
            copier=inputs.copier,
            reads_predictions=features.has_predictions,
            background=(
                lineup.row_times.run,
                lineup.reviews.run,
                cut_overs.run,
                self.repairer.run,
                inputs.losses.watch,
                inputs.positions.watch_role,
                inputs.published.run,
            ),
        )


def _redis_store(settings: Settings, features: FeatureSets, models: LoadedModels) -> RedisStore:
    """Return the store in Redis; it asks how far back the models look that decide at the time."""
    hash_by_key(settings)
    options = StoreOptions(
        cache_bytes=settings.cache_mb << 20,
        batch_bytes=settings.batch_mb << 20,
        needed=NeededHorizons(features, models.serving),
        originals=originals_of(settings),
    )
    try:
        return RedisStore(settings.redis_url, settings.deployment, features, now_ms, options)
    except StoreRefusedError as error:
        raise SettingsError(f"{PREFIX}REDIS_URL: {error}") from error


def _decision_store(settings: Settings, features: FeatureSets, store: RedisStore) -> DecisionStore:
    """Return the store for decisions and labels, by `FRAUDSTREAM_REDIS_DOWN`."""
    if not degrades(settings):
        return WaitingStore(store)
    inner = WaitingStore(store, labels_alone=True)
    return DegradingStore(
        inner, lambda: MemoryStore(features, store.cached_copy, store.state.retentions, settings.batch_mb << 20)
    )


def _snapshot_store(settings: Settings, estate: Estate) -> SnapshotStore:
    try:
        return SnapshotStore(settings, estate)
    except RepositoryUnavailableError as error:
        raise SettingsError(f"{PREFIX}SNAPSHOTS: {error}") from error


def _repository(settings: Settings) -> Repository:
    try:
        return trusted_repository(settings)
    except RepositoryUnavailableError as error:
        raise SettingsError(f"{PREFIX}MODELS: {error}") from error

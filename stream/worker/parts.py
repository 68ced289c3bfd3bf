"""The parts of a worker, and how they are wired; nothing is connected before the worker starts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from features.redis.store import RedisStore
from features.vector.sets import load_sets
from models.errors import RepositoryUnavailableError
from models.repository import Repository
from stream.challenger.comparer import Comparer
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
from stream.pipeline import Pipeline
from stream.positions.commit_copies import CommitCopies
from stream.recovery.repairer import Repairer, RepairProgress, WarmupCheck
from stream.settings import PREFIX, Settings
from stream.telemetry.setup import Telemetry
from stream.worker.backfilled import BackfilledShare
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
from stream.worker.stores import DecisionStore, decision_store, degrades, is_withheld, redis_store

_ADMIN_MS = 3_000


class AppAccess(NamedTuple):
    """What parts need of the app: the consumer that Faust creates at start-up, and why the worker does not decide.

    `created` requires that it has been created, `current` may return None.
    """

    created: Callable[[], BatchConsumer]
    current: Callable[[], BatchConsumer | None]
    reasons: Callable[[], list[str]]


class WorkerParts(NamedTuple):
    """The parts of a worker that its app calls."""

    store: RedisStore
    histories: DecisionStore
    follower: Follower
    models: LoadedModels
    cache: ModelCache
    comparer: Comparer
    judge: Judge
    labeller: Labeller
    predictions: PredictionApplier
    catch_up: PredictionCatchUp
    published: PublishedScores
    positions: DecisionPositions
    losses: InputLosses
    group: GroupCheck
    decider: Decider
    repair: RepairProgress
    repairer: Repairer
    startup: Startup
    snapshots: Snapshots
    reviews: ReviewDates
    topics: TopicWatch
    look_back_days: int


def build_parts(
    settings: Settings, telemetry: Telemetry, app: AppAccess, challenger_command: Sequence[str] | None
) -> WorkerParts:
    """Make the parts of a worker; nothing is connected yet.

    Raises:
        DeclarationError: the feature table is invalid.
        SettingsError: a setting is invalid.
    """
    features = load_sets(settings.features)
    follower = Follower(settings, telemetry.operations)
    models = LoadedModels(follower)
    store = redis_store(settings, features, models)
    admin = AIOKafkaAdminClient(**connection_options(settings) | {"request_timeout_ms": _ADMIN_MS})
    publisher = Publisher(settings)
    histories = decision_store(settings, features, store)
    repair = RepairProgress()
    warmup = WarmupCheck(features, store, repair.text)
    loader = ModelLoader(_repository(settings), probe_vectorisers(features), settings.worker_id, warmup.problems)
    group = GroupCheck(settings, admin)
    cache = ModelCache(follower, models, loader, publisher, names=group.names_of)
    comparer = Comparer(settings, follower, telemetry.emit, challenger_command, warmup.problems, names=group.names_of)
    estate = Estate(settings)
    judge = Judge(
        settings=settings,
        follower=follower,
        loader=loader,
        cache=cache,
        publisher=publisher,
        admin=admin,
        estate=estate,
    )
    published = PublishedScores(settings, follower, admin)
    topics = TopicWatch(settings, admin, features.horizons_ms)
    copies = CommitCopies(store.commit_notes)
    positions = DecisionPositions(
        settings=settings,
        follower=follower,
        published=published,
        publisher=publisher,
        admin=admin,
        consumer=app.created,
        copies=copies,
        emit=telemetry.emit,
        members=group,
    )
    losses = InputLosses(
        settings=settings,
        follower=follower,
        admin=admin,
        positions=positions,
        consumer=app.created,
        copies=copies,
        emit=telemetry.emit,
        reads_predictions=features.has_predictions,
    )
    labeller = Labeller(
        settings=settings,
        store=histories,
        publisher=publisher,
        source=losses,
        emit=telemetry.emit,
        tracing=telemetry.tracing,
    )
    decider = Decider(
        settings=settings,
        pipeline=Pipeline(settings, features, histories, judge.erasure_problem),
        models=models,
        follower=follower,
        publisher=publisher,
        positions=positions,
        consumer=app.created,
        may_decide=lambda: judge.settled and (degrades(settings) or not store.incomplete),
        emit=telemetry.emit,
        tracing=telemetry.tracing,
        shadow=comparer,
        backfilled=BackfilledShare(lambda: histories.degraded),
        clock_is_checked=lambda: settings.topic(TRANSACTIONS.name) in topics.bounded,
    )
    repairer = Repairer(
        settings=settings,
        policy=features,
        store=store,
        consumer=app.current,
        read_to=positions.read_to,
        begun_are_done=decider.begun_are_done,
        withheld=partial(is_withheld, settings, histories),
        emit=telemetry.emit,
        progress=repair,
        log=follower.log_number,
    )
    snapshots = Snapshots(settings, follower, _snapshot_store(settings, estate), lambda: judge.owner)
    reviews = ReviewDates(follower, models, loader.repository)
    startup = Startup(
        settings=settings,
        admin=admin,
        estate=estate,
        store=store,
        histories=histories,
        follower=follower,
        publisher=publisher,
        cache=cache,
        comparer=comparer,
        row_times=RowTimeReports(follower, models, publisher, settings.worker_id),
        cut_overs=CutOverAnswers(
            follower,
            models,
            publisher,
            settings.worker_id,
            PublishingGates(
                app.reasons,
                lambda: store.incomplete or histories.degraded or store.state.pending_repair is not None,
                positions,
                published,
                app.current,
            ),
            names=group.names_of,
        ),
        repairer=repairer,
        losses=losses,
        group=group,
        positions=positions,
        published=published,
        snapshots=snapshots,
        reviews=reviews,
        topics=topics,
        reads_predictions=features.has_predictions,
        copier=CommitCopier(
            settings=settings,
            notes=store.commit_notes,
            consumer=app.current,
            scores_ids=positions.scores_ids,
            commits=partial(committed_offsets, settings, admin),
            history_epoch=lambda: store.history_epoch,
        ),
    )
    return WorkerParts(
        store=store,
        histories=histories,
        follower=follower,
        models=models,
        cache=cache,
        comparer=comparer,
        judge=judge,
        labeller=labeller,
        predictions=PredictionApplier(
            settings=settings,
            store=histories,
            publisher=publisher,
            features=features,
            telemetry=telemetry,
            source=losses,
        ),
        catch_up=PredictionCatchUp(settings, app.created, losses, reads_predictions=features.has_predictions),
        published=published,
        positions=positions,
        losses=losses,
        group=group,
        decider=decider,
        repair=repair,
        repairer=repairer,
        startup=startup,
        snapshots=snapshots,
        reviews=reviews,
        topics=topics,
        look_back_days=features.look_back_days,
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

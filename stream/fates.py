"""One table of errors: what a worker does after each class of them, or how a command ends.

A worker asks `fate_of` at start-up, for a record, for a batch and during a repair; the row of the most specific class
applies. What a caller handles itself is `CAUGHT`. The clients of Redis and LightGBM translate their errors into ours.
No error halts a partition: 1,000 dead letters in a row do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from aiokafka.errors import KafkaError

from features import errors as features
from guards import errors as guards
from metrics import errors as metrics
from models import errors as models
from shadow import errors as shadow
from stream import errors as stream


class Handling(StrEnum):
    """What happens after an error."""

    RETRY = "retried"
    """The work is tried again after a pause. For a batch or a step of start-up, `/health/ready` gives the reason."""
    DROP = "dropped"
    """The batch is dropped and not acknowledged; the new owner of its partitions decides it."""
    BY_RULES = "decided by rules"
    """The rule policy decides the payment, marked `undecidable`, and the rest of its batch is decided as usual. A
    label, or a payment that cannot be appended to its histories, becomes a dead letter with the code `undecidable`."""
    EXIT = "exit 70"
    """The worker's process ends; the records in work are decided by their next owner."""
    CAUGHT = "caught"
    """The caller catches it and goes on, as the details say."""
    REFUSED = "exit 1"
    """A command prints the message and ends; a worker does not raise it."""
    MISUSED = "exit 2"
    """A command, `worker` included, prints the message and does not start."""


class Phase(StrEnum):
    """The work of a worker that an error interrupts."""

    STARTUP = "start-up"
    RECORD = "computing a record"
    BATCH = "a batch"
    REPAIR = "a repair"


@dataclass(frozen=True, slots=True)
class ErrorFate:
    """What becomes of an error.

    Attributes:
        cause: what raises it.
        handling: what happens, except in the phases that `otherwise` names.
        details: what an operator should know beyond that.
    """

    cause: str
    handling: Handling
    details: str = ""
    otherwise: Mapping[Phase, Handling] = field(default_factory=dict)

    def during(self, phase: Phase) -> Handling:
        """Return what happens in a phase."""
        return self.otherwise.get(phase, self.handling)


_RULES_IN_RECORD = {Phase.RECORD: Handling.BY_RULES}

TABLE: Mapping[tuple[type[Exception] | str, ...], ErrorFate] = {
    (features.StoreUnavailableError,): ErrorFate(
        "Redis is unreachable, slow or contended, or lacks histories",
        Handling.RETRY,
        "With `FRAUDSTREAM_REDIS_DOWN=degrade`, transactions are decided from memory instead, up to 500,000 of them",
    ),
    (features.StoreRefusedError,): ErrorFate(
        "Redis is too old, evicts keys, or denies access",
        Handling.RETRY,
        "`/health/ready` gives the reason until that is changed. While Redis may evict, and until it is known what it "
        "has evicted, it counts as unavailable",
    ),
    (features.HistoryDamagedError,): ErrorFate(
        "A history in Redis was damaged, and lacks records until these are applied again",
        Handling.RETRY,
        "A label of such a card waits beside the others, which are applied",
        _RULES_IN_RECORD,
    ),
    (KafkaError,): ErrorFate(
        "A broker is unreachable or refuses a request",
        Handling.RETRY,
        "An error that Faust's consumer cannot survive ends the worker with exit 70; commands end with exit 1",
    ),
    (stream.PublishError,): ErrorFate(
        "A broker has not acknowledged every output",
        Handling.RETRY,
        "The ends of the score partitions are read first. The challenger's comparisons are retried for 10 s, then "
        "counted as failed",
    ),
    (stream.WriteGivenUpError,): ErrorFate(
        "A broker has not acknowledged an output for 30 s, and the producer was ended",
        Handling.RETRY,
        "The partition goes on under the next epoch. After 1,023 of them in one assignment, or while a member of the "
        "group is of a version that does not count them, the worker ends with exit 70",
    ),
    (stream.NotReadyError,): ErrorFate(
        "Topics are missing or laid out differently at start-up, or the control log lacks records", Handling.RETRY
    ),
    (stream.ControlLogError,): ErrorFate(
        "A command finds that records of `model-events` are lost, or cannot restore them", Handling.REFUSED
    ),
    (stream.UnsentCommandError,): ErrorFate(
        "A command or an erasure asks what workers that run cannot do, cards are named by another hash key than "
        "theirs, or the partition of a card is not known",
        Handling.REFUSED,
        "Nothing was sent: it would stay on its topic",
    ),
    (OSError,): ErrorFate(
        "A file or socket fails outside of the clients of Redis and Kafka",
        Handling.EXIT,
        "",
        {Phase.STARTUP: Handling.RETRY, Phase.REPAIR: Handling.RETRY, **_RULES_IN_RECORD},
    ),
    (stream.ClockBehindError,): ErrorFate(
        "A payment is ahead of this worker's clock, on a topic whose broker would not have taken it if that were right",
        Handling.RETRY,
        "The partitions that have such payments are set aside until the clock is right; nothing is refused",
    ),
    (stream.StaleBatchError,): ErrorFate("Partitions were revoked before their batch was done", Handling.DROP),
    (features.FormulaError,): ErrorFate(
        "A feature's formula of the deployment's own raised, or returned no number",
        Handling.BY_RULES,
        "While a model is loaded it is a `ProbeError`; `train`, `score` and `replay` end with exit 1",
    ),
    (models.EpochsUsedUpError,): ErrorFate(
        "A group has had 4,194,304 generations in one term", Handling.EXIT, "A hand-over begins the next term"
    ),
    (models.ScoringError,): ErrorFate(
        "A model returned no number",
        Handling.CAUGHT,
        "Scored row by row, then by the previous model, then by the rules; such scores are marked `degraded`",
    ),
    (
        models.MissingArtifactError,
        models.DamagedArtifactError,
        models.RepositoryUnavailableError,
        models.ProbeError,
    ): ErrorFate(
        "An artifact cannot be loaded or examined",
        Handling.CAUGHT,
        "A problem in the answer on `model-events`; loading is retried every 5 s while the lineup needs the model. "
        "Commands end with exit 1. So it is with one that a child process did not survive, which is tried again after "
        "5 minutes",
    ),
    (models.UnsignedArtifactError, models.UnknownSignerError, models.WrongSignatureError): ErrorFate(
        "`FRAUDSTREAM_MODEL_KEYS` is set, and no trusted key has signed an artifact",
        Handling.CAUGHT,
        "A problem in the answer on `model-events`; loading is retried every 5 s while the lineup needs the model. "
        "Commands that load it end with exit 1",
    ),
    (models.DamagedSnapshotError,): ErrorFate(
        "A snapshot of the control log cannot be read",
        Handling.CAUGHT,
        "The judge writes it anew; `fraudstream model restore` ends with exit 1",
    ),
    (models.UnsealedSnapshotError,): ErrorFate(
        "A snapshot of the control log is not sealed by a key of `FRAUDSTREAM_SNAPSHOT_KEY_FILE`, or of another place",
        Handling.CAUGHT,
        "A worker that starts warns and does not use it, the judge writes it anew and keeps what was there; "
        "`fraudstream model restore` ends with exit 1",
    ),
    (models.InvalidTimeError,): ErrorFate(
        "A text is not a time",
        Handling.CAUGHT,
        "A dead letter with the code `invalid_field`, or a refused command",
    ),
    (models.InvalidKeysError,): ErrorFate(
        "The file of `FRAUDSTREAM_COMMAND_KEYS` or `FRAUDSTREAM_MODEL_KEYS` is no table of keys",
        Handling.CAUGHT,
        "A worker ends at its start, as by an invalid setting",
    ),
    (models.InvalidCardError,): ErrorFate(
        "The card of a model cannot be read",
        Handling.CAUGHT,
        "A worker serves the model and warns that its review date is unknown; commands end with exit 1",
    ),
    (models.InvalidShareError,): ErrorFate(
        "A text is not a share of cards",
        Handling.CAUGHT,
        "The command line refuses the argument",
    ),
    (stream.UnpacksToMoreError,): ErrorFate(
        "A batch of records is larger without compression than is unpacked",
        Handling.CAUGHT,
        "Above 1 MiB it is unpacked beside the event loop; above 16 MiB its records are dead letters",
    ),
    (shadow.NoSeccompError,): ErrorFate(
        "The kernel cannot restrict the challenger's process",
        Handling.CAUGHT,
        "Its log says so, and it goes on without",
    ),
    (shadow.ChallengerProcessError, shadow.FrameError): ErrorFate(
        "The challenger's process ended, was too slow, or answered with something other than a frame",
        Handling.CAUGHT,
        "Its decisions are counted as failed, also after any other error in comparing; a new process starts after 1 s "
        "to 1 min. Decisions go on",
    ),
    (guards.CheckpointError,): ErrorFate(
        "The stored state of a guard cannot be read",
        Handling.CAUGHT,
        "It is discarded, and the guard counts the topics again",
    ),
    (guards.OtherHashKeyError,): ErrorFate(
        "The excluded cards of a split are hashed with another key than `FRAUDSTREAM_HASH_KEY_FILE` has",
        Handling.REFUSED,
        "A worker does not decide and a guard does not watch until it has the key; `/health/ready` says so",
    ),
    (guards.GuardSpecError, guards.LadderError): ErrorFate(
        "The guards or the ladder of a rollout are invalid",
        Handling.REFUSED,
        "The message names everything that is wrong; a judge refuses such a command",
    ),
    (metrics.MissingLibraryError,): ErrorFate(
        "A measure needs a library of an extra",
        Handling.REFUSED,
        "Training raises it as `MissingExtraError`; the message names the extra",
    ),
    (metrics.MeasureInputError,): ErrorFate(
        "A column or a parameter cannot be measured",
        Handling.REFUSED,
        "The message names it, and what it must be",
    ),
    (features.DeclarationError,): ErrorFate("The feature table is invalid", Handling.MISUSED),
    (stream.SettingsError,): ErrorFate(
        "A setting is invalid", Handling.MISUSED, "All invalid settings are named at once"
    ),
    (stream.TopicsError,): ErrorFate("`topics apply` finds other topics, or may not create them", Handling.REFUSED),
    (stream.RebuildError,): ErrorFate(
        "`features rebuild` finds no worker, or finds one despite `--here`", Handling.REFUSED
    ),
    (stream.RecountError,): ErrorFate(
        "The records behind some evidence are no longer on the topics",
        Handling.REFUSED,
        "The message names the partitions",
    ),
    (stream.DeploymentError,): ErrorFate(
        "`deployment` finds nothing to hand over, or cannot read the silent decisions",
        Handling.REFUSED,
        "The message says what to do",
    ),
    (stream.MissingMatplotlibError,): ErrorFate(
        "A report has charts, and matplotlib is not installed", Handling.REFUSED, "The message names the extra"
    ),
    (stream.ReportError,): ErrorFate(
        "a report finds no such challenger or experiment, or more payments than fit into memory", Handling.REFUSED
    ),
    (stream.MeasurementError,): ErrorFate(
        "What `bench` measures does not run", Handling.REFUSED, "The message names the logs"
    ),
    (
        "fraudstream.lab.training.request.TrainingDataError",
        "fraudstream.lab.training.request.UnusableModelError",
    ): ErrorFate(
        "`train`, `model import` or `model policy` cannot make a model", Handling.REFUSED, "Nothing is stored"
    ),
    ("fraudstream.lab.training.request.WeakModelError",): ErrorFate(
        "A trained model ranks by chance, alerts far more than was asked, or has hardly any trees",
        Handling.REFUSED,
        "Nothing is stored unless `--accept-weak` says so",
    ),
    ("fraudstream.lab.training.request.LeakError",): ErrorFate(
        "A feature knows the label, or what came later", Handling.REFUSED, "The message names each feature and says why"
    ),
    ("fraudstream.lab.training.request.ModelFileError", "fraudstream.lab.training.request.VectorsFileError"): ErrorFate(
        "`model import` cannot use its files", Handling.REFUSED, "The message names everything that is wrong"
    ),
    (
        "fraudstream.lab.evaluation.request.NotHeldBackError",
        "fraudstream.lab.evaluation.request.NothingToEvaluateError",
        "fraudstream.lab.evaluation.request.UnknownSegmentError",
        "fraudstream.lab.evaluation.request.UnstatedCostsError",
    ): ErrorFate("`evaluate` has no payments that it may measure", Handling.REFUSED, "The message says what to do"),
    (
        "fraudstream.lab.distillation.request.TeacherError",
        "fraudstream.lab.distillation.request.ScoresFileError",
        "fraudstream.lab.distillation.request.UnpricedCurrencyError",
    ): ErrorFate(
        "`distill` cannot use a teacher, its scores or the stated costs",
        Handling.REFUSED,
        "Nothing is stored; the message names everything that is wrong",
    ),
    ("fraudstream.lab.training.request.RulesFileError",): ErrorFate(
        "A file of rules cannot be used", Handling.REFUSED, "The message names everything that is wrong"
    ),
    ("fraudstream.lab.dataset.errors.OutputError",): ErrorFate(
        "`features compute` cannot write its output", Handling.REFUSED, "No partial output is left"
    ),
    (
        "fraudstream.lab.dataset.errors.MissingExtraError",
        "fraudstream.lab.dataset.errors.InputFileError",
        "fraudstream.lab.dataset.errors.PredictionsFileError",
        "fraudstream.lab.dataset.errors.TransactionsFileError",
    ): ErrorFate(
        "A file of transactions or of predictions cannot be read",
        Handling.REFUSED,
        "The message names everything that is wrong",
    ),
    ("fraudstream.lab.dataset.errors.BackfillError",): ErrorFate(
        "`backfill` would overlap the stream, cannot read all of a topic, or has none to write to",
        Handling.REFUSED,
        "Nothing is written",
    ),
    ("fraudstream.lab.dataset.injector.InjectionError",): ErrorFate(
        "A broker did not accept all records of a file",
        Handling.REFUSED,
        "Publish it again; repeats are recognised",
    ),
    (
        "fraudstream.lab.rescoring.request.UnknownModelError",
        "fraudstream.lab.rescoring.request.NothingToScoreError",
        "fraudstream.lab.rescoring.request.ComputationError",
    ): ErrorFate("`score` or `replay` cannot be done", Handling.REFUSED, "No partial output is left"),
    ("fraudstream.demo.errors.DemoError",): ErrorFate("`demo` cannot go on", Handling.REFUSED),
    ("fraudstream.demo.services.errors.NotInstalled", "fraudstream.demo.services.errors.NotReady"): ErrorFate(
        "A service of `demo` is not installed or does not start", Handling.REFUSED, "None of them is left running"
    ),
    (
        features.FeatureError,
        features.StoreError,
        models.ModelError,
        models.ArtifactError,
        models.UntrustedArtifactError,
        shadow.ShadowError,
        guards.GuardError,
        metrics.MetricsError,
        stream.StreamError,
        "fraudstream.lab.training.request.TrainingError",
        "fraudstream.lab.evaluation.request.EvaluationError",
        "fraudstream.lab.distillation.request.DistillationError",
        "fraudstream.lab.dataset.errors.FileError",
        "fraudstream.lab.rescoring.request.RescoringError",
        "fraudstream.demo.services.errors.EmbeddedError",
    ): ErrorFate("Never raised: the roots of the others", Handling.EXIT, "", _RULES_IN_RECORD),
    (Exception,): ErrorFate("A defect", Handling.EXIT, "", _RULES_IN_RECORD),
}
"""The fates, by class; a class that stands above this module is named by its path."""


def name_of(kind: type | str) -> str:
    """Return the path of a class."""
    return kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


_BY_NAME = {name_of(kind): fate for kinds, fate in TABLE.items() for kind in kinds}


def fate_of(error: Exception) -> ErrorFate:
    """Return the fate of the most specific class of an error."""
    return next(fate for kind in type(error).__mro__ if (fate := _BY_NAME.get(name_of(kind))) is not None)


def is_retried(error: Exception, phase: Phase) -> bool:
    """Tell whether the interrupted work of a phase is tried again."""
    return fate_of(error).during(phase) is Handling.RETRY

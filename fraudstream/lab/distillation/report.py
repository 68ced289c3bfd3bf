"""The report of a distillation, as values: what the student costs and saves, on payments that nobody was trained on."""

import msgspec

from fraudstream.lab.training.request import Period


class FigureInterval(msgspec.Struct, frozen=True):
    """A figure, None where undefined, and its 95 % interval by card, None where the bootstrap cannot know one."""

    value: float | None
    low: float | None = None
    high: float | None = None


class PairMoney(msgspec.Struct, frozen=True, kw_only=True):
    """What both models' decisions cost in one currency, on `rows` payments; payments in others are left out.

    Savings are those of `metrics.money`: the avoided part of the loss of the cheapest policy that looks at no payment.
    `savings_lost` are the teacher's less the student's.
    """

    currency: str
    rows: int
    fraud_minor: int
    teacher_loss_minor: int
    student_loss_minor: int
    teacher_savings: float | None
    student_savings: float | None
    savings_lost: FigureInterval


class TeacherStudentFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How a student compares with its teacher on labelled payments.

    `agreement` is the share of payments that both decide alike, `rank_correlation` Spearman's, `score_difference` the
    mean absolute difference of scores. `volume_ratio` is the student's alerts divided by the teacher's.
    Average precision is of cards not known compromised, as in the manifest; `average_precision_lost` is the teacher's
    less the student's.
    """

    rows: int
    cards: int
    frauds: int
    teacher_alerts: int
    student_alerts: int
    teacher_declines: int
    student_declines: int
    volume_ratio: FigureInterval
    agreement: FigureInterval
    rank_correlation: FigureInterval
    score_difference: FigureInterval
    teacher_average_precision: float | None
    student_average_precision: float | None
    average_precision_lost: FigureInterval
    money: PairMoney


class DecisionPair(msgspec.Struct, frozen=True, kw_only=True):
    """Payments that the teacher and the student decided so and so; amounts in minor units by currency."""

    teacher: str
    student: str
    events: int
    cards: int
    frauds: int
    amount_minor: dict[str, int]
    fraud_minor: dict[str, int]

    @property
    def is_swap(self) -> bool:
        """Whether they were decided differently."""
        return self.teacher != self.student


class SegmentComparison(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison on one segment: such as `by` "channel" and `name` "ecommerce"."""

    by: str
    name: str
    swaps: int
    swapped_minor: int
    figures: TeacherStudentFigures


class RowTime(msgspec.Struct, frozen=True, kw_only=True):
    """Processor time of one row in microseconds, the median of many calls: alone, and in a batch of 64."""

    single_us: float
    batch_us: float


class SpeedComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Row times of one run, in which the calls alternate; ratios are the teacher's divided by the student's.

    A file of scores has no time: `teacher` and the ratios are None then.
    """

    student: RowTime
    teacher: RowTime | None
    single_ratio: float | None
    batch_ratio: float | None


class SizeResult(msgspec.Struct, frozen=True, kw_only=True):
    """A student of one size: what it loses against the teacher, and its row times.

    `features` counts those that its trees use. `on_front` says that no other size is at least as fast in a batch, loses
    at most as much average precision, and is better in one of the two; `stored` marks the one in the repository.
    """

    size: str
    features: int
    average_precision: float | None
    average_precision_lost: FigureInterval
    savings: float | None
    savings_lost: FigureInterval
    agreement: FigureInterval
    volume_ratio: FigureInterval
    time: RowTime
    on_front: bool
    stored: bool


class TeacherFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A model that teaches: its share of the teacher's score, and the number of its features."""

    digest: str
    name: str
    version: str
    weight: float
    features: int


class ScoresFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A file of scores that teaches: its SHA-256, and until when its model was trained, as stated."""

    file: str
    digest: str
    trained_until: str


class DistillationReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a distillation. Everything but `speed` and the times of `sizes` follows from the file and request.

    `metrics` are those of the manifest, as `training.evaluation.measure` defines them, of both models. `comparison`,
    `decisions` and `segments` are of the held-back part, which neither model was trained on, and which no threshold was
    chosen on.
    """

    digest: str
    name: str
    version: str
    fingerprint: str
    file: str
    rows: int
    labelled: int
    frauds: int
    set_aside: int
    dropped: dict[str, int]
    train: Period
    calibrate: Period
    held_back: Period
    teachers: tuple[TeacherFacts, ...]
    scores: ScoresFacts | None
    size: str
    target: str
    learning_rate: float
    features: tuple[str, ...]
    teacher_review_at: float
    teacher_decline_at: float
    review_at: float
    decline_at: float
    costs: str
    metrics: dict[str, float]
    teacher_metrics: dict[str, float]
    comparison: TeacherStudentFigures
    decisions: tuple[DecisionPair, ...]
    segments: tuple[SegmentComparison, ...]
    speed: SpeedComparison
    sizes: tuple[SizeResult, ...]
    warnings: tuple[str, ...]

"""The page of a run of `bench scaling`: the load, what waited, the workers, and the pauses of partitions."""

from collections.abc import Callable
from statistics import median

from fraudstream.bench.scaling import ScalingFigures, ScalingPhase, ScalingSample
from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.lines import ChartLine, LineChart, stacked_picture
from fraudstream.ops.report.document import Provenance, Report, Section
from fraudstream.ops.report.parts import Cell, KeyFigure, KeyFigures
from fraudstream.ops.report.quantities import Count, Measure
from fraudstream.ops.report.tables import DataTable
from stream.code_version import code_version

_TIME = ChartAxis("seconds since the day began")
_FOOTNOTES = (
    "Lag is what an autoscaler sees: records behind the offsets that the group has committed.",
    "A pause is the longest time in which a payment waited in a partition and none was decided there.",
    "Needed are the fewest workers that decide as much as arrives, as if they started in no time.",
)


def charts(figures: ScalingFigures) -> tuple[LineChart, LineChart, LineChart]:
    """Return the day as pictures: payments a second, what waited, and the workers."""
    samples = figures.samples
    most = max((one.lag for one in samples), default=0)
    return (
        LineChart(
            ChartFrame("Payments a second", "What was published, on a schedule that waits for nobody."),
            _TIME,
            ChartAxis("payments a second", AxisKind.COUNT),
            (_line("published", samples, lambda one: one.rate),),
        ),
        LineChart(
            ChartFrame("What waits", f"At most {most:,} payments were behind the group's commits."),
            _TIME,
            ChartAxis("payments", AxisKind.COUNT),
            (_line("lag", samples, lambda one: float(one.lag)),),
        ),
        LineChart(
            ChartFrame("Workers", "Those that ran, and the fewest that decide as much as arrives."),
            _TIME,
            ChartAxis("workers", AxisKind.COUNT),
            (
                _line("running", samples, lambda one: float(one.workers)),
                _line("needed", samples, lambda one: float(one.needed)),
            ),
        ),
    )


def scaling_picture(figures: ScalingFigures) -> str:
    """Return the day as the text of an SVG file.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """
    lost, twice = (sum(getattr(one, name) for one in figures.phases) for name in ("lost", "twice"))
    words = f"Payments a second, what waits and the workers through a day: {lost} payments lost, {twice} decided twice."
    return stacked_picture(ChartFrame("A day of load", words), charts(figures))


def _line(name: str, samples: tuple[ScalingSample, ...], value: Callable[[ScalingSample], float]) -> ChartLine:
    return ChartLine(name, tuple(one.at_s for one in samples), tuple(value(one) for one in samples))


def scaling_page(figures: ScalingFigures, made_ms: int) -> str:
    """Return the page; the same figures and time give the same bytes in one version.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """
    phases = figures.phases
    published = sum(one.payments for one in phases)
    short = KeyFigures(
        (
            KeyFigure("Payments", Count(published), "published"),
            KeyFigure("Lost", Count(sum(one.lost for one in phases)), "without a decision"),
            KeyFigure("Twice", Count(sum(one.twice for one in phases)), "with two"),
            KeyFigure("One worker", Measure(figures.capacity, 0, "1/s"), "decides from a backlog"),
            KeyFigure("One more", Measure(figures.lag_per_worker, 0, "payments"), "that wait, for each worker"),
        )
    )
    return Report(
        "Scaling under load",
        "Workers started and drained as an autoscaler would, restarted and upgraded, while payments flow",
        None,
        (
            Section("In short", (short, _table(phases))),
            Section("The day", charts(figures)),
        ),
        Provenance(f"{sum(one.payments for one in phases):,} simulated payments", None, None, made_ms, code_version()),
        _FOOTNOTES,
    ).html()


def _table(phases: tuple[ScalingPhase, ...]) -> DataTable:
    return DataTable(
        "Parts of the run",
        (
            "part",
            "payments",
            "lost",
            "twice",
            "starts and drains",
            "p50",
            "p99",
            "worst",
            "pause, median of partitions",
            "pause, worst",
            "worker-seconds",
            "needed",
        ),
        tuple(_row(phase) for phase in phases),
        "Times run from when a payment was due to its score at a consumer.",
    )


def _row(phase: ScalingPhase) -> tuple[Cell, ...]:
    pauses = phase.pauses_ms or (0.0,)
    return (
        phase.name,
        *(Count(one) for one in (phase.payments, phase.lost, phase.twice, phase.changes)),
        *(Measure(one, 0, "ms") for one in (phase.p50_ms, phase.p99_ms, phase.worst_ms)),
        *(Measure(one, 0, "ms") for one in (median(pauses), max(pauses))),
        *(Measure(one, 0, "s") for one in (phase.worker_seconds, phase.needed_worker_seconds)),
    )

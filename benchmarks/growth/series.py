"""What one quantity costs as another one grows: a table, JSON, and a picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich.table import Table

from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.lines import ChartLine, LineChart, stacked_picture


class GrowthPoint(msgspec.Struct, frozen=True):
    """The values of all lines of a series at one size."""

    size: int
    values: tuple[float, ...]


class GrowthSeries(msgspec.Struct, frozen=True):
    """What some lines come to at growing sizes.

    Attributes:
        question: in a few words.
        size: what grows.
        unit: of all values; empty if the lines' names have their own.
        lines: their names.
        points: by size, rising; each has a value for each line.
    """

    question: str
    size: str
    unit: str
    lines: tuple[str, ...]
    points: tuple[GrowthPoint, ...]

    @property
    def headings(self) -> tuple[str, ...]:
        """The names of the lines with their units."""
        return tuple(f"{name}, {self.unit}" if self.unit else name for name in self.lines)

    def table(self) -> Table:
        """Return the values, and how many times those of the first size the last ones are."""
        table = Table(self.size, *self.headings, title=self.question)
        for point in self.points:
            table.add_row(f"{point.size:,}", *(f"{value:,.1f}" for value in point.values))
        first, last = self.points[0], self.points[-1]
        grown = [f"{end / begin:.1f} times" for begin, end in zip(first.values, last.values, strict=True)]
        table.add_row(f"{last.size / max(1, first.size):,.0f} times", *grown, style="dim")
        return table

    def charts(self) -> Iterator[LineChart]:
        """Yield each line over the sizes, on an axis of its own: they differ by far."""
        sizes = tuple(float(point.size) for point in self.points)
        for at, name in enumerate(self.lines):
            yield LineChart(
                ChartFrame(f"{self.question}, {name}", f"{self.headings[at]}, by {self.size}."),
                ChartAxis(self.size, AxisKind.COUNT),
                ChartAxis(self.unit or name),
                (ChartLine(name, sizes, tuple(point.values[at] for point in self.points)),),
            )


def write_series(series: Sequence[GrowthSeries], file: Path) -> None:
    """Write series as JSON."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(series), indent=1) + b"\n")


def read_series(file: Path) -> list[GrowthSeries]:
    """Return series from a file of `write_series`."""
    return msgspec.json.decode(file.read_bytes(), type=list[GrowthSeries])


def picture(series: Sequence[GrowthSeries]) -> str:
    """Return series one below the other, as the text of an SVG file.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """
    frame = ChartFrame("How cost grows", "; ".join(one.question for one in series))
    return stacked_picture(frame, [chart for one in series for chart in one.charts()])

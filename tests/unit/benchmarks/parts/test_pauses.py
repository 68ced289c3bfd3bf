"""What the pauses of joins and leaves come to."""

from benchmarks.parts.pauses import Move, PauseFigures, PauseSummary, told

MOVES = (
    Move("none", (20.0, 25.0)),
    Move("join", (100.0, 400.0)),
    Move("leave", (700.0, 30.0)),
    Move("join", (200.0, 300.0)),
    Move("leave", (40.0, 500.0)),
)


def test_a_move_pauses_as_long_as_its_worst_partition_and_each_kind_has_a_median_and_a_worst() -> None:
    assert PauseFigures(1000, 0, 0, MOVES).summaries() == [
        PauseSummary("none", 1, 25.0, 25.0, 0),
        PauseSummary("join", 2, 350.0, 400.0, 0),
        PauseSummary("leave", 2, 600.0, 700.0, 1),
    ]


def test_a_move_is_told_in_a_line() -> None:
    assert told(MOVES[1]) == "join: 250 ms in the median of the partitions, 400 at worst"
    assert told(Move("leave", ())) == "leave: 0 ms in the median of the partitions, 0 at worst"

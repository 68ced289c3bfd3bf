from benchmarks.parts.repair import Speed, estimates


def test_estimates_use_a_thirty_day_month_and_add_the_time_for_labels() -> None:
    slow, *_ = estimates([Speed(1, transactions_per_second=1_000.0, labels_per_second=500.0, seconds=1.0)])
    assert slow == (1, 10, 864.0, 25_920.0, 2_592.0, 77_760.0)

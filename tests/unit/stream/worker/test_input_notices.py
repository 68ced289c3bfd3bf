"""What the input shows about its producers is logged once, repeated while it goes on, and stands in `/health/ready`."""

import pytest

from stream.scoring.facts import Decided, LabelsApplied
from stream.scoring.two_partitions import CARD_ON_TWO_PARTITIONS
from stream.worker.fact_log import REPEAT_SECONDS, InputNotices
from support.stream_records import Told
from support.telemetry_facts import decided, scored, stages


class Watched:
    """Notices with a clock to turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self.notices = InputNotices(lambda: self.now)

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.notices.look()


def divided(count: int) -> Decided:
    return decided(scored([Told()] * count, degraded=(CARD_ON_TWO_PARTITIONS,)))


def test_cards_on_two_partitions_are_told_at_once_then_counted_until_it_is_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    watched.notices.add(divided(2))
    watched.notices.add(divided(3))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("2 decisions are about cards whose payments come by two partitions")
    assert "`fraudstream topics check`" in caplog.messages[0]
    assert vars(caplog.records[0])["event"] == "card_on_two_partitions"
    watched.after(REPEAT_SECONDS - 1)
    assert len(caplog.messages) == 1
    watched.after(1)
    assert caplog.messages[1].startswith("3 decisions are about cards")
    (warning,) = watched.notices.warnings()
    assert warning.startswith("5 decisions")


def test_what_stops_is_no_warning_any_more_and_is_told_anew_when_it_comes_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    watched.notices.add(decided(scored([]), unknown=7))
    assert [one[:1] for one in watched.notices.warnings()] == ["7"]
    watched.after(REPEAT_SECONDS)
    assert watched.notices.warnings() == []
    watched.notices.add(LabelsApplied([], [], [], 2, stages()))
    assert [message[:8] for message in caplog.messages] == ["7 fields", "2 fields"]
    assert [one[:1] for one in watched.notices.warnings()] == ["2"]

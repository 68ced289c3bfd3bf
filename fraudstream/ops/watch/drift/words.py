"""What the watch says, in words: what has moved, what is not watched, and what to do about it."""

from collections.abc import Mapping

from fraudstream.ops.watch.drift.alarm import DriftAlarm
from fraudstream.ops.watch.drift.feed import FeedAlarm
from fraudstream.ops.watch.drift.fold import WatchedPair
from fraudstream.ops.watch.drift.judge import JudgedWindow, QuantityDrift, day_text, is_feature
from fraudstream.ops.watch.drift.layout import ALERTS, DECLINES, REST, SCORE
from fraudstream.ops.watch.drift.report import PairReport
from fraudstream.ops.watch.drift.terms import DriftTerms
from models.commands import SHORT_DIGEST
from models.times import format_time

_MOST_NAMED = 5
_WORDS = {SCORE: "the score", ALERTS: "the share of alerts", DECLINES: "the share of declines"}


def named(name: str) -> str:
    """Return a quantity in words."""
    if name.endswith(REST):
        return f"{name.removesuffix(REST)} at its most frequent value"
    return _WORDS.get(name, name)


def pair_text(pair: WatchedPair) -> str:
    """Return a model and arm in words."""
    return f"model {pair.digest[:SHORT_DIGEST]} ({pair.arm or 'live'})"


def moved_text(alarm: DriftAlarm, *, shows_index: bool = True) -> str:
    """Return what an alarm is about, the features that moved most first, as in `amount (0.41) and the score (0.28)`."""
    found = sorted(alarm.quantities.items(), key=lambda one: (-one[1], one[0]))
    shown = [
        f"{named(name)} ({index:.2f})" if shows_index and (is_feature(name) or name == SCORE) else named(name)
        for name, index in found
    ]
    more = [f"{len(shown) - _MOST_NAMED} more"] if len(shown) > _MOST_NAMED else []
    listed = shown[:_MOST_NAMED] + more
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"


def suggestion(pair: WatchedPair, alarm: DriftAlarm) -> str:
    """Return what to do about an alarm: where to look, and the command that trains anew."""
    return (
        f"look at `fraudstream model watch {pair.digest[:SHORT_DIGEST]} --report watch.html`; if the payments have "
        f"changed and no input is broken, train on payments since {day_text(alarm.since_day)}, too: `fraudstream train "
        "FILE --name NAME`, and then put the new model into the shadow: `fraudstream model challenge DIGEST`"
    )


def alarm_text(pair: WatchedPair, alarm: DriftAlarm, terms: DriftTerms, *, is_over: bool) -> str:
    """Return an alarm in a sentence or two."""
    since, until = day_text(alarm.since_day), day_text(alarm.last_day - 1)
    if is_over:
        return (
            f"Of {pair_text(pair)}, {moved_text(alarm)} had moved from the reference between {since} and {until}; "
            f"for {terms.windows} windows in a row nothing of that was seen, or the model decides no more"
        )
    return (
        f"Of {pair_text(pair)}, {moved_text(alarm)} has moved from the reference since {since}, in {alarm.windows} "
        f"windows (stability index in parentheses; {terms.least_index:g} is the least that counts); "
        f"{suggestion(pair, alarm)}"
    )


def feed_text(alarm: FeedAlarm, newest_ms: Mapping[str, int]) -> str:
    """Return an alarm of the feed of labels in a sentence or two."""
    lacks = sorted(alarm.streams.items(), key=lambda one: (one[1].observed - one[1].expected, one[0]))
    shown = [
        f"{name}: {one.observed:,} in place of some {one.expected:,.0f}, the newest at "
        f"{format_time(newest_ms.get(name, 0))}"
        for name, one in lacks[:_MOST_NAMED]
    ]
    return (
        f"Labels are missing since {day_text(alarm.since_day)}. Against the same weekdays of the weeks before came of "
        f"{'; of '.join(shown)}. Look at what writes to the topic `labels`, and at `fraudstream dead-letters list`. "
        "Features that count known frauds fall to 0 by and by, and the model finds fewer frauds; what is labelled late "
        "is taken into account from then on"
    )


def feed_over_text(since: str) -> str:
    """Return that an alarm of the feed of labels is over."""
    return (
        f"Labels that were missing since {since[:10]} come as in the weeks before that, or have been missing for so "
        "long that what comes now is what later days are compared with"
    )


def over_text(window: JudgedWindow) -> str:
    """Return the names of what is over its bound in a window; empty if nothing is."""
    return ", ".join(named(one.name) for one in window.over[:_MOST_NAMED])


def factor_text(share: QuantityDrift) -> str:
    """Return a share of decisions with that of the reference, as in `0.61 % (0.50 %)`."""
    return f"{share.actual or 0:.2%} ({share.expected or 0:.2%})"


def remarks(report: PairReport) -> list[str]:
    """Return what a reader should know of what is watched, and what is not."""
    found = []
    known = report.reference
    if known is None:
        found.append("its manifest has no reference, and its first days are not over: nothing can be compared yet")
    elif known.decisions is None:
        found.append(
            "nobody has measured what its policy decides, so its shares of alerts and declines are not compared: "
            "`model policy --vectors` measures it on labelled payments"
        )
    elif report.is_own:
        found.append(
            f"its manifest has no reference, so it is compared with its own days from {known.since[:10]} to "
            f"{known.until[:10]}, in coarse bins: what had drifted before is not seen. Train it anew for a reference"
        )
    bare = [one for one in report.windows if not one.watches_features]
    if bare:
        found.append(
            f"in {len(bare)} of {len(report.windows)} windows scores carry no features, or only those of alerts "
            "(FRAUDSTREAM_SCORE_FEATURES): only the score and the decisions are watched"
        )
    calibration, interval = report.precision.calibration, report.precision.calibration_interval
    if interval is not None and calibration is not None and not interval.low <= 1 <= interval.high:
        found.append(
            f"among alerts that were not declined and whose outcome is known came {calibration:.2f} times the frauds "
            "that their scores promise: "
            "multiply the estimate by that, and calibrate the model anew"
        )
    return found

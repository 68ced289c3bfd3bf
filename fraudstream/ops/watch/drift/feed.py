"""The feed of labels: how many come on each day, by who reported them and by kind of fraud, against the weeks before.

Features of fraud go quiet when labels stop, and so does the model, weeks before any precision shows it. A share that is
gone, such as one reporter, hardly shows in the total, so each has a count of its own. Of frauds it counts cards, each
once a day, since frauds of one card are reported together and are no evidence apart. A day is that of the record of
`outcomes`: when a worker took the label in, whatever the label says. The same records give the same, whoever reads.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from fraudstream.ops.rollout.outcomes.labels import card_hash
from fraudstream.ops.watch.drift.terms import DAYS_OF_YEAR
from fraudstream_client.outputs import LabelStatus
from models.training_reference import DAY_MS
from stream.readers import UNREADABLE, LabelView, read_label_view
from stream.scan import FetchedRecord

LABELS, FRAUDS = "labels", "cards with fraud"
"""The counts of all labels, and of cards with a label that says fraud; shares of these have counts of their own."""
MOST_STREAMS = 24
"""So many counts are kept apart; labels of further kinds of fraud are in the totals alone."""
_WEEK = 7
_LEAST_DAY = 0.5
"""A day on which fewer are expected says nothing, as a Sunday of a reporter who rests on Sundays."""
_UNCOUNTED = frozenset({LabelStatus.REPEATED, LabelStatus.STALE})


@dataclass(frozen=True, slots=True)
class FeedTerms:
    """When the feed of labels is an alarm.

    Attributes:
        spans: the latest days that are judged together, each with its part of alpha; a small share takes a longer span
            to be missed.
        reference_days: a span is compared with the same weekdays of so many days before it.
        least_days: before a reference has so many days, nothing is judged.
        ratio: fewer than this part of what is expected is an alarm, if chance does not explain it.
        least_level: a season takes no more of what is expected than this leaves.
        low_days: so many days in a row must each lack as much, and as many without it end the alarm.
        yearly_alpha: the probability that chance alone raises an alarm within a year, at most.
        renewed_days: an alarm that is so old ends, and what has come since is the reference.
    """

    spans: tuple[tuple[int, float], ...] = ((2, 0.6), (3, 0.2), (5, 0.1), (14, 0.1))
    reference_days: int = 35
    least_days: int = 14
    ratio: float = 2.0
    least_level: float = 0.75
    low_days: int = 2
    yearly_alpha: float = 0.01
    renewed_days: int = 28

    @property
    def longest_span(self) -> int:
        """The most days that are judged together."""
        return max(days for days, _ in self.spans)

    @property
    def kept_days(self) -> int:
        """Counts are kept for so many days."""
        return self.reference_days + self.longest_span + self.renewed_days


class StreamLack(msgspec.Struct, frozen=True):
    """What one count lacks: how many came since the alarm began, and how many are expected."""

    observed: int
    expected: float


class FeedAlarm(msgspec.Struct, frozen=True):
    """An alarm of the feed.

    Attributes:
        since_day: the first of the days that lack labels.
        last_day: the last day that was judged.
        streams: what is missing, by count.
        calm: days in a row on which nothing of that was missing.
    """

    since_day: int
    last_day: int
    streams: dict[str, StreamLack]
    calm: int = 0


class StoredFeed(msgspec.Struct, frozen=True):
    """A feed as plain JSON; see `LabelFeed`."""

    days: dict[int, dict[str, int]] = {}
    first_day: int | None = None
    looked_to: int | None = None
    newest_ms: dict[str, int] = {}
    cards: dict[int, dict[str, tuple[int, ...]]] = {}
    renewed: dict[str, int] = {}
    lacking: dict[str, list[int]] = {}
    alarm: FeedAlarm | None = None


def _counts_of_cards(label: LabelView) -> tuple[str, ...]:
    if not label.fraud:
        return ()
    kind = () if label.fraud_type is None else (f"cards with fraud of type {label.fraud_type}",)
    return FRAUDS, f"cards with fraud reported by {label.reported_by}", *kind


class Expected(NamedTuple):
    """How many labels the days before let expect of a day, and how many days say so."""

    labels: float
    days: int


class LabelFeed:
    """Counts labels by day, and tells when some are missing.

    Attributes:
        alarm: the one that is open; None if none is.
        newest_ms: the timestamp of the newest record of each count.
        looked_to: days before this one were judged; None before any was complete.

    Args:
        deployment: whose outcomes count.
        stored: what a feed had stored.
        terms: when it is an alarm.
    """

    def __init__(self, deployment: str, stored: StoredFeed | None = None, terms: FeedTerms | None = None) -> None:
        known = stored or StoredFeed()
        self.alarm = known.alarm
        self.newest_ms = dict(known.newest_ms)
        self.looked_to = known.looked_to
        self.terms = terms or FeedTerms()
        self._deployment = deployment
        self._days: dict[int, dict[str, int]] = defaultdict(dict, {day: dict(one) for day, one in known.days.items()})
        self._first_day = known.first_day
        self._cards: dict[int, dict[str, set[int]]] = {
            day: {name: set(cards) for name, cards in of_day.items()} for day, of_day in known.cards.items()
        }
        self._renewed = dict(known.renewed)
        self._lacking = {name: set(days) for name, days in known.lacking.items()}

    def stored(self) -> StoredFeed:
        """Return it as plain JSON."""
        lacking = {name: sorted(days) for name, days in self._lacking.items()}
        days = {day: dict(one) for day, one in self._days.items()}
        cards = {
            day: {name: tuple(sorted(seen)) for name, seen in of_day.items()} for day, of_day in self._cards.items()
        }
        newest, renewed = dict(self.newest_ms), dict(self._renewed)
        return StoredFeed(days, self._first_day, self.looked_to, newest, cards, renewed, lacking, self.alarm)

    @property
    def is_judging(self) -> bool:
        """Whether the days before the last one that was judged are enough to compare it with."""
        if self._first_day is None or self.looked_to is None:
            return False
        return self.looked_to - self._first_day > self.terms.least_days + self.terms.low_days

    @property
    def streams(self) -> list[str]:
        """The counts that are kept."""
        return sorted({name for counts in self._days.values() for name in counts})

    def add(self, records: Iterable[FetchedRecord]) -> None:
        """Count the labels among the next records of a partition of `outcomes`."""
        for record in records:
            try:
                label = read_label_view(record.value)
            except UNREADABLE:
                continue
            if label is not None and label.is_of(self._deployment) and label.status not in _UNCOUNTED:
                self._add(record.timestamp, label)

    def _add(self, at_ms: int, label: LabelView) -> None:
        new, card = [LABELS, f"labels reported by {label.reported_by}"], card_hash(label.card_id) if label.fraud else 0
        seen = self._cards.setdefault(at_ms // DAY_MS, {}) if label.fraud else {}
        for name in _counts_of_cards(label):
            cards = seen.setdefault(name, set())
            if card not in cards:
                cards.add(card)
                new.append(name)
        self.add_counts(at_ms, dict.fromkeys(new, 1))

    def add_counts(self, at_ms: int, counts: Mapping[str, int]) -> None:
        """Add so many labels that a worker took in at a time, by count."""
        day = at_ms // DAY_MS
        self._first_day = day if self._first_day is None else min(self._first_day, day)
        known = self._days[day]
        for name, count in counts.items():
            if name not in known and name not in self.newest_ms and len(self.newest_ms) >= MOST_STREAMS:
                continue
            known[name] = known.get(name, 0) + count
            self.newest_ms[name] = max(at_ms, self.newest_ms.get(name, 0))

    # --- look

    def advance(self, complete_ms: int) -> None:
        """Judge all days of which everything was read up to a time, in order."""
        if self._first_day is None:
            return
        end_day = complete_ms // DAY_MS
        begin = self._first_day if self.looked_to is None else self.looked_to
        # A record may have any timestamp: days that are too old to be kept are not judged.
        for day in range(max(begin, end_day - self.terms.kept_days), end_day):
            self._look(day)
            self.looked_to = day + 1
        self._cards = {day: cards for day, cards in self._cards.items() if day >= end_day}
        oldest = end_day - self.terms.kept_days
        for day in [day for day in self._days if day < oldest]:
            del self._days[day]
        for name in [name for name, at_ms in self.newest_ms.items() if at_ms < oldest * DAY_MS]:
            del self.newest_ms[name]

    def _look(self, day: int) -> None:
        begin = day + 1 if self.alarm is None else self.alarm.since_day
        streams = self.streams
        missing = [name for name in streams if self._is_missing(name, day, begin, len(streams))]
        if self.alarm is None:
            if missing:
                since = min(self._since(name, day) for name in missing)
                self.alarm = FeedAlarm(since, day, self._lacks(missing, since, day))
            return
        alarm = self.alarm
        names = sorted({*alarm.streams, *missing})
        calm = 0 if any(self._is_low(name, day, alarm.since_day) for name in names) else alarm.calm + 1
        self.alarm = FeedAlarm(alarm.since_day, day, self._lacks(names, alarm.since_day, day), calm)
        if calm >= self.terms.low_days:
            for name in names:
                self._lacking.setdefault(name, set()).update(range(alarm.since_day, day + 1 - calm))
            self.alarm = None
        elif day - alarm.since_day >= self.terms.renewed_days:
            self._renewed |= dict.fromkeys(names, alarm.since_day)
            self.alarm = None

    def expected(self, name: str, day: int, begin: int) -> Expected | None:
        """Return what is expected of a day by its weekday in the weeks before `begin`; None if they are too few.

        Where the last of these weeks had fewer labels than the others, as in a season that falls, so has the day.
        """
        same = [self._count(name, one) for one in self._reference(name, begin) if (day - one) % _WEEK == 0]
        if len(same) < self.terms.least_days // _WEEK:
            return None
        return Expected(sum(same) / len(same) * self._level(name, begin), len(same))

    def _level(self, name: str, begin: int) -> float:
        """Return the last week before a day as a part of a week of the reference, of all labels or cards."""
        whole = LABELS if name.startswith(LABELS) else FRAUDS
        reference = list(self._reference(whole, begin))
        last = [self._count(whole, day) for day in reference if day >= begin - _WEEK]
        total = sum(self._count(whole, day) for day in reference)
        if len(last) < _WEEK or not total:
            return 1.0
        return min(1.0, max(self.terms.least_level, sum(last) / len(last) * len(reference) / total))

    def _reference(self, name: str, begin: int) -> Iterator[int]:
        """Yield the days of the reference of a count."""
        first = max(begin - self.terms.reference_days, self._renewed.get(name, self._first_day or 0))
        left_out = self._lacking.get(name, set())
        return (day for day in range(first, begin) if day not in left_out)

    def _dispersion(self, name: str, begin: int) -> float:
        """Return how many times as large the variance of a day's count is as that of independent labels; at least 1.

        Labels come in batches, and paydays and seasons move them all. It is Pearson's statistic over the weekdays.
        """
        by_weekday = defaultdict[int, list[int]](list)
        for day in self._reference(name, begin):
            by_weekday[day % _WEEK].append(self._count(name, day))
        freedom, total = 0, 0.0
        for counts in by_weekday.values():
            mean = sum(counts) / len(counts)
            if mean:
                freedom += len(counts) - 1
                total += sum((count - mean) ** 2 for count in counts) / mean
        return max(1.0, total / freedom) if freedom else 1.0

    def _count(self, name: str, day: int) -> int:
        return self._days[day].get(name, 0) if day in self._days else 0

    def _is_missing(self, name: str, day: int, begin: int, streams: int) -> bool:
        """Tell whether a count lacks so much up to a day, for some span, that it is an alarm."""
        latest = self._telling_days(name, day, begin)
        if len(latest) < self.terms.low_days or not all(self._is_low(name, one, begin) for one in latest):
            return False
        log_alpha = math.log(self.terms.yearly_alpha / (DAYS_OF_YEAR * streams))
        return any(
            self._log_chance(name, range(day - span + 1, day + 1), begin) <= log_alpha + math.log(part)
            for span, part in self.terms.spans
        )

    def _telling_days(self, name: str, day: int, begin: int) -> list[int]:
        """Return the latest days up to one on which something was expected."""
        found = list[int]()
        for one in range(day, day - 2 * _WEEK, -1):
            of_day = self.expected(name, one, min(begin, one))
            if of_day is not None and of_day.labels >= _LEAST_DAY:
                found.append(one)
                if len(found) == self.terms.low_days:
                    break
        return found

    def _is_low(self, name: str, day: int, begin: int) -> bool:
        """Tell whether a day lacks so much that it would matter."""
        of_day = self.expected(name, day, min(begin, day))
        if of_day is None or of_day.labels < _LEAST_DAY:
            return False
        return self._count(name, day) * self.terms.ratio <= of_day.labels

    def _log_chance(self, name: str, span: range, begin: int) -> float:
        """Return the logarithm of the probability by chance that so few came in a span, at most; 0 if they are enough.

        Given all that came in the span and in the reference, those of the span are binomial. The bound on its tail is
        Chernoff's, of counts divided by their dispersion.
        """
        days = [self.expected(name, day, min(begin, span.start)) for day in span]
        known = [one for one in days if one is not None]
        expected, observed = sum(one.labels for one in known), sum(self._count(name, day) for day in span)
        if len(known) < len(days) or not expected or observed * self.terms.ratio > expected:
            return 0.0
        # Of a mean over n days the variance is that of one day divided by n: the reference is worth so many spans. Two
        # days of a span with one weekday share their error.
        shares = defaultdict[int, list[Expected]](list)
        for day, one in zip(span, known, strict=True):
            shares[day % _WEEK].append(one)
        error = sum(len(same) ** 2 * same[0].labels / same[0].days for same in shares.values())
        worth = expected / error
        total = (observed + expected * worth) / self._dispersion(name, min(begin, span.start))
        return -total * _divergence(observed / (observed + expected * worth), 1 / (1 + worth))

    def _since(self, name: str, day: int) -> int:
        """Return the first of the days up to one that are all low, or on which nothing was expected."""
        first = day
        for one in range(day, day - self.terms.longest_span, -1):
            of_day = self.expected(name, one, one)
            if of_day is None:
                break
            if of_day.labels >= _LEAST_DAY:
                if not self._is_low(name, one, one):
                    break
                first = one
        return first

    def _lacks(self, names: Iterable[str], since: int, day: int) -> dict[str, StreamLack]:
        found = dict[str, StreamLack]()
        for name in names:
            days = range(since, day + 1)
            expected = sum(one.labels for at in days if (one := self.expected(name, at, since)) is not None)
            found[name] = StreamLack(sum(self._count(name, at) for at in days), round(expected, 1))
        return found

    def ratios(self) -> dict[str, float]:
        """Return, by count, what came on the latest judged days divided by what was expected."""
        if self.looked_to is None:
            return {}
        day, found = self.looked_to - 1, dict[str, float]()
        begin = day + 1 if self.alarm is None else self.alarm.since_day
        for name in self.streams:
            days = range(day - self.terms.low_days + 1, day + 1)
            expected = [self.expected(name, one, min(begin, days.start)) for one in days]
            total = sum(one.labels for one in expected if one is not None)
            if None not in expected and total:
                found[name] = sum(self._count(name, one) for one in days) / total
        return found


def _divergence(found: float, given: float) -> float:
    """Return the Kullback-Leibler divergence of two probabilities, `found` from `given`; 0 <= found < 1."""
    rest = (1 - found) * math.log((1 - found) / (1 - given))
    return rest + (found * math.log(found / given) if found else 0.0)

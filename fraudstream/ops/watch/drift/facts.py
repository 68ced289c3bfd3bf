"""The report of a watch as one JSON object."""

from typing import Any

import msgspec

from fraudstream.ops.watch.drift.alarm import DriftAlarm
from fraudstream.ops.watch.drift.feed import LabelFeed
from fraudstream.ops.watch.drift.judge import JudgedWindow, QuantityDrift, day_text
from fraudstream.ops.watch.drift.precision import WeekPrecision
from fraudstream.ops.watch.drift.report import PairReport, WatchReport
from fraudstream.ops.watch.drift.words import remarks, suggestion
from metrics.intervals import Interval
from models.times import format_time


def facts(report: WatchReport) -> dict[str, Any]:
    """Return a report as plain JSON."""
    scope = report.scope
    return {
        "deployment": report.deployment,
        "since": format_time(scope.since_ms),
        "until": format_time(scope.until_ms),
        "quiet": report.is_quiet,
        "terms": {name: getattr(report.terms, name) for name in report.terms.__slots__},
        "maturity_days": scope.maturity_days,
        "models": [_pair(one) for one in report.pairs],
        "left_out": report.left_out,
        "late": report.late,
        "missing_models": report.missing,
        "labels": _labels(report.feed),
    }


def _labels(feed: LabelFeed) -> dict[str, Any]:
    alarm = feed.alarm
    missing = None
    if alarm is not None:
        missing = {
            "since": day_text(alarm.since_day),
            "last_day": day_text(alarm.last_day),
            "counts": msgspec.to_builtins(alarm.streams),
        }
    newest = {name: format_time(at_ms) for name, at_ms in sorted(feed.newest_ms.items())}
    return {"missing": missing, "ratios": feed.ratios(), "newest": newest, "judged": feed.is_judging}


def _pair(report: PairReport) -> dict[str, Any]:
    known, precision = report.reference, report.precision
    return {
        "model": report.pair.digest,
        "arm": report.pair.arm,
        "name": report.manifest.name,
        "version": report.manifest.version,
        "reference": None
        if known is None
        else {
            "since": known.since,
            "until": known.until,
            "rows": known.rows,
            "cards": known.cards,
            "from": "first_days" if report.is_own else "manifest",
        },
        "windows": [_window(one) for one in report.windows],
        "alarms": [_alarm(report, end_day, one) for end_day, one in report.alarms],
        "open": report.is_open,
        "weeks": [_week(one) for one in precision.weeks],
        "frauds_to_promised": precision.calibration,
        "frauds_to_promised_interval": _ends(precision.calibration_interval),
        "remarks": remarks(report),
    }


def _window(window: JudgedWindow) -> dict[str, Any]:
    return {
        "first_day": day_text(window.first_day),
        "last_day": day_text(window.end_day - 1),
        "payments": window.payments,
        "cards": window.cards,
        "featured_share": window.featured,
        "bands": window.bands,
        "alerts": window.alerts,
        "estimated_precision": window.estimated_precision,
        "over": [one.name for one in window.over],
        "quantities": [_quantity(one) for one in window.quantities],
    }


def _quantity(one: QuantityDrift) -> dict[str, Any]:
    found = {key: value for key, value in msgspec.to_builtins(one).items() if value is not None}
    return found | {"over": one.is_over}


def _alarm(report: PairReport, end_day: int, alarm: DriftAlarm) -> dict[str, Any]:
    return {
        "since": day_text(alarm.since_day),
        "raised_after": day_text(end_day - 1),
        "last_day": day_text(alarm.last_day - 1),
        "windows": alarm.windows,
        "payments": alarm.payments,
        "quantities": alarm.quantities,
        "suggestion": suggestion(report.pair, alarm),
    }


def _week(week: WeekPrecision) -> dict[str, Any]:
    return {
        "monday": day_text(week.monday),
        "alerts": week.alerts,
        "used": week.used,
        "declined": week.declined,
        "coverage": week.coverage,
        "frauds": week.frauds,
        "matured_precision": week.matured,
        "matured_interval": _ends(week.interval),
        "estimated_precision": week.estimated,
        "estimated_interval": _ends(week.estimated_interval),
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]

"""Queries Jaeger and Prometheus over HTTP, and checks the spans of a trace."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

Span = Mapping[str, Any]
Answer = TypeVar("Answer")

_PAUSE_SECONDS = 1.0


def get(address: str, path: str, **parameters: str) -> Any:  # noqa: ANN401 - JSON
    """Return the `data` of a response, as Jaeger and Prometheus both wrap it; None if the request fails."""
    try:
        with urlopen(f"http://{address}{path}?{urlencode(parameters)}", timeout=60) as answer:
            return json.load(answer)["data"]
    except (URLError, OSError, ValueError, KeyError):
        return None


def until(query: Callable[[], Answer], holds: Callable[[Answer], bool], seconds: float) -> Answer:
    """Repeat a query until its answer holds, and return it; after `seconds`, return the last answer."""
    deadline = time.monotonic() + seconds
    while not holds(answer := query()) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    return answer


class Prometheus:
    """Queries Prometheus."""

    def __init__(self, address: str) -> None:
        self._address = address

    def value(self, expression: str) -> float | None:
        """Return the value of an expression with one series, or None if it has none."""
        data = get(self._address, "/api/v1/query", query=expression)
        return float(data["result"][0]["value"][1]) if data and data["result"] else None

    def labels(self, expression: str, name: str) -> set[str]:
        """Return the values of a label in the series of an expression."""
        data = get(self._address, "/api/v1/query", query=expression)
        return {series["metric"].get(name, "") for series in data["result"]} if data else set()

    def names(self) -> set[str]:
        """Return the names of all metrics of fraudstream."""
        return {name for name in get(self._address, "/api/v1/label/__name__/values") or () if name.startswith("fraud")}

    def rules(self) -> dict[str, str]:
        """Return each alert rule with its health."""
        groups = (get(self._address, "/api/v1/rules") or {"groups": []})["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}


class Jaeger:
    """Queries Jaeger."""

    def __init__(self, address: str) -> None:
        self._address = address

    def traces(self, service: str, limit: int) -> dict[str, list[Span]]:
        """Return the newest traces with spans of a service: trace id to spans, each with its `service`."""
        found = get(self._address, "/api/traces", service=service, limit=str(limit), lookback="1h") or []
        return {trace["traceID"]: _spans(trace) for trace in found}


def _spans(trace: Mapping[str, Any]) -> list[Span]:
    services = {key: process["serviceName"] for key, process in trace["processes"].items()}
    return [{**span, "service": services[span["processID"]]} for span in trace["spans"]]


def tags(span: Span) -> dict[str, Any]:
    """Return a span's attributes."""
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def parent(span: Span) -> str | None:
    """Return the id of a span's parent."""
    parents = [reference["spanID"] for reference in span["references"] if reference["refType"] == "CHILD_OF"]
    return parents[0] if parents else None


def trace_problem(spans: list[Span]) -> str | None:
    """Return what a transaction's trace lacks: a producer's span, the worker's below it, one of Redis below that."""
    by_id = {span["spanID"]: span for span in spans}
    kinds = {span["spanID"]: tags(span).get("span.kind") for span in spans}
    produced = [span for span in spans if kinds[span["spanID"]] == "producer" and parent(span) is None]
    if not produced:
        return "no producer's span at its root"
    consumed = [span for span in spans if kinds[span["spanID"]] == "consumer" and parent(span) == produced[0]["spanID"]]
    if not consumed:
        return "no worker's span below the producer's"
    redis_spans = [span for span in spans if tags(span).get("db.system.name") == "redis"]
    if not redis_spans:
        return "no span of Redis"
    if not any(_is_descendant(span, consumed[0]["spanID"], by_id) for span in redis_spans):
        return "the span of Redis is not below the worker's"
    return None


def _is_descendant(span: Span, above: str, by_id: Mapping[str, Span]) -> bool:
    """Tell whether one of a span's ancestors is `above`."""
    seen: set[str] = set()
    while (up := parent(span)) is not None and up not in seen:
        if up == above:
            return True
        seen.add(up)
        if up not in by_id:
            return False
        span = by_id[up]
    return False

"""What OpenTelemetry's own variables ask of us; its exporters read the rest of them themselves.

Nothing here needs the SDK, so a command without traces starts without it.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple

from stream.errors import SettingsError

HTTP = "http/protobuf"
GRPC = "grpc"

_TRACES = frozenset({"otlp", "console", "none"})
_METRICS = frozenset({"otlp", "console", "prometheus", "none"})


class Asked(NamedTuple):
    """What is on: exporters by name, and how each kind of OTLP goes. With `disabled`, nothing is."""

    disabled: bool
    traces: tuple[str, ...]
    metrics: tuple[str, ...]
    traces_protocol: str
    metrics_protocol: str


def read(environment: Mapping[str, str]) -> Asked:
    """Read what is asked for.

    Raises:
        SettingsError: names each variable that cannot be used, and what to set or install instead.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Asked(disabled=True, traces=(), metrics=(), traces_protocol=HTTP, metrics_protocol=HTTP)
    asked = Asked(
        disabled=False,
        traces=_traces(environment),
        metrics=_named(environment, "OTEL_METRICS_EXPORTER"),
        traces_protocol=_protocol(environment, "TRACES"),
        metrics_protocol=_protocol(environment, "METRICS"),
    )
    problems = [*_problems(asked)]
    if problems:
        raise SettingsError("\n".join(problems))
    return asked._replace(traces=_without_none(asked.traces), metrics=_without_none(asked.metrics))


def _traces(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Name the exporters of spans: those that are asked for, else `otlp` where there is an endpoint."""
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    told = any(environment.get(name) for name in endpoints)
    return _named(environment, "OTEL_TRACES_EXPORTER") or (("otlp",) if told else ())


def _problems(asked: Asked) -> Iterator[str]:
    for variable, names, known in (
        ("OTEL_TRACES_EXPORTER", asked.traces, _TRACES),
        ("OTEL_METRICS_EXPORTER", asked.metrics, _METRICS),
    ):
        for name in sorted(set(names) - known):
            yield f"{variable}: expected some of {', '.join(sorted(known))}, got {name!r}"
    if "otlp" in asked.traces:
        yield from _protocol_problems("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", asked.traces_protocol)
    if "otlp" in asked.metrics:
        yield from _protocol_problems("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", asked.metrics_protocol)


def _protocol_problems(variable: str, protocol: str) -> Iterator[str]:
    where = f"OTEL_EXPORTER_OTLP_PROTOCOL or {variable}"
    if protocol not in (HTTP, GRPC):
        yield f"{where}: expected {HTTP} or {GRPC}, got {protocol!r}"
    elif protocol == GRPC and not _has_grpc():
        package = "opentelemetry-exporter-otlp-proto-grpc"
        yield f"{where}: {GRPC} needs the package {package}, which is not installed; install it, or set {HTTP}"


def _has_grpc() -> bool:
    with suppress(ImportError):
        return bool(import_module("opentelemetry.exporter.otlp.proto.grpc"))
    return False


def _protocol(environment: Mapping[str, str], signal: str) -> str:
    names = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    return next((environment[name] for name in names if environment.get(name)), HTTP)


def _named(environment: Mapping[str, str], variable: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in environment.get(variable, "").split(",") if name.strip())


def _without_none(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name != "none")

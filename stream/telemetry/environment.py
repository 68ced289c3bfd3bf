"""What OpenTelemetry's own variables ask of us; its exporters read the rest of them themselves.

Nothing here needs the SDK, so a command without traces starts without it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple

from stream.errors import SettingsError

HTTP = "http/protobuf"
GRPC = "grpc"

_TRACES = frozenset({"otlp", "console", "none"})
_METRICS = frozenset({"otlp", "console", "prometheus", "none"})
_RATIOS = frozenset({"traceidratio", "parentbased_traceidratio"})
_SAMPLERS = _RATIOS | {"always_on", "always_off", "parentbased_always_on", "parentbased_always_off"}
_QUEUE = "OTEL_BSP_MAX_QUEUE_SIZE"
_BATCH = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_SIZES = {_QUEUE: 2048, _BATCH: 512}
"""The sizes of the queue of spans, and the SDK's defaults."""
_HEADER = re.compile(r"[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ \t]*[ !#-+\--:<-\[\]-~]*[ \t]*")
"""One of a collector's headers, as the exporters read it: https://opentelemetry.io/docs/specs/otel/protocol/exporter/."""


class TelemetryOptions(NamedTuple):
    """What is on: exporters by name, and how each kind of OTLP goes. With `disabled`, nothing is."""

    disabled: bool
    traces: tuple[str, ...]
    metrics: tuple[str, ...]
    traces_protocol: str
    metrics_protocol: str


def read(environment: Mapping[str, str]) -> TelemetryOptions:
    """Read what is asked for.

    Raises:
        SettingsError: names each variable that cannot be used, and what to set or install instead.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return TelemetryOptions(disabled=True, traces=(), metrics=(), traces_protocol=HTTP, metrics_protocol=HTTP)
    asked = TelemetryOptions(
        disabled=False,
        traces=_traces(environment),
        metrics=_named(environment, "OTEL_METRICS_EXPORTER"),
        traces_protocol=_protocol(environment, "TRACES"),
        metrics_protocol=_protocol(environment, "METRICS"),
    )
    problems = [*_problems(asked), *_header_problems(asked, environment)]
    if _without_none(asked.traces):
        problems += [*_sampler_problems(environment), *_size_problems(environment)]
    if problems:
        raise SettingsError("\n".join(problems))
    return asked._replace(traces=_without_none(asked.traces), metrics=_without_none(asked.metrics))


def _traces(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Name the exporters of spans: those that are asked for, else `otlp` where there is an endpoint."""
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    told = any(environment.get(name) for name in endpoints)
    return _named(environment, "OTEL_TRACES_EXPORTER") or (("otlp",) if told else ())


def _problems(asked: TelemetryOptions) -> Iterator[str]:
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


def _header_problems(asked: TelemetryOptions, environment: Mapping[str, str]) -> Iterator[str]:
    """Name the variables whose headers the exporters could not read, and never a value: a login stands there."""
    for variable, used in (
        ("OTEL_EXPORTER_OTLP_HEADERS", "otlp" in (*asked.traces, *asked.metrics)),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "otlp" in asked.traces),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "otlp" in asked.metrics),
    ):
        pairs = [pair.strip() for pair in environment.get(variable, "").split(",")]
        if used and not all(_HEADER.fullmatch(pair) for pair in pairs if pair):
            yield f"{variable}: expected key=value, several with commas between them; what it holds is not shown"


def _sampler_problems(environment: Mapping[str, str]) -> Iterator[str]:
    sampler, share = (environment.get(name, "") for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"))
    if sampler and sampler.lower() not in _SAMPLERS:
        yield f"OTEL_TRACES_SAMPLER: expected one of {', '.join(sorted(_SAMPLERS))}, got {sampler!r}"
    if share and sampler.lower() in _RATIOS and not _is_share(share):
        yield f"OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1, got {share!r}"


def _is_share(text: str) -> bool:
    with suppress(ValueError):
        return 0.0 <= float(text) <= 1.0
    return False


def _size_problems(environment: Mapping[str, str]) -> Iterator[str]:
    sizes = {variable: _size(environment.get(variable) or str(default)) for variable, default in _SIZES.items()}
    for variable, size in sizes.items():
        if size < 1:
            yield f"{variable}: expected a whole number above 0, got {environment[variable]!r}"
    if min(sizes.values()) > 0 and sizes[_BATCH] > sizes[_QUEUE]:
        yield f"{_BATCH}: {sizes[_BATCH]} are more than the {sizes[_QUEUE]} of {_QUEUE}; set both, the batch no larger"


def _size(text: str) -> int:
    """Read a size; 0, which is none, where it is no number."""
    with suppress(ValueError):
        return int(text)
    return 0


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

"""Read and check OpenTelemetry's `OTEL_*` variables as far as the SDK does not refuse a bad value; it imports no SDK.

Providers and exporters are made by `setup`, not by the SDK's auto-configuration, so the choice of exporters and
protocols is ours. With an unknown sampler the SDK logs a warning and traces every record; a header that it cannot parse
is not sent, so the collector denies access. Both are refused here, and so are the sizes over which it raises.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple
from urllib.parse import unquote

from models.logins import SHORTEST_SECRET, secrets_in
from stream.errors import SettingsError

HTTP = "http/protobuf"
GRPC = "grpc"

_TRACES = frozenset({"otlp", "console", "none"})
_METRICS = frozenset({"otlp", "console", "prometheus", "none"})
_RATIOS = frozenset({"traceidratio", "parentbased_traceidratio"})
_SAMPLERS = _RATIOS | {"always_on", "always_off", "parentbased_always_on", "parentbased_always_off"}
_QUEUE = "OTEL_BSP_MAX_QUEUE_SIZE"
_BATCH = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_SIZES = {_QUEUE: 2048, _BATCH: 512, "OTEL_BSP_SCHEDULE_DELAY": 5000}
"""The numbers of the span processor and the SDK's defaults; it raises `ValueError` if one is below 1."""
_HEADER = re.compile(r"[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ \t]*[ !#-+\--:<-\[\]-~]*[ \t]*")
"""One header for the collector, as the exporters parse it: https://opentelemetry.io/docs/specs/otel/protocol/exporter/."""


_ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP{signal}_ENDPOINT" for signal in ("", "_TRACES", "_METRICS"))
_HEADERS = tuple(f"OTEL_EXPORTER_OTLP{signal}_HEADERS" for signal in ("", "_TRACES", "_METRICS"))


class TelemetryOptions(NamedTuple):
    """Exporters by name, and the OTLP protocol of each signal; `disabled` turns everything off.

    `secrets` are the logins and keys for the collector, to be removed from texts that may quote them.
    """

    disabled: bool
    traces: tuple[str, ...]
    metrics: tuple[str, ...]
    traces_protocol: str
    metrics_protocol: str
    secrets: frozenset[str] = frozenset()


def read(environment: Mapping[str, str]) -> TelemetryOptions:
    """Read which exporters and protocols are configured.

    Raises:
        SettingsError: names each variable that cannot be used, and what to set or install instead.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return TelemetryOptions(disabled=True, traces=(), metrics=(), traces_protocol=HTTP, metrics_protocol=HTTP)
    options = TelemetryOptions(
        disabled=False,
        traces=_traces(environment),
        metrics=_names(environment, "OTEL_METRICS_EXPORTER"),
        traces_protocol=_protocol(environment, "TRACES"),
        metrics_protocol=_protocol(environment, "METRICS"),
        secrets=_secrets(environment),
    )
    problems = [*_problems(options), *_header_problems(options, environment)]
    if _without_none(options.traces):
        problems += [*_sampler_problems(environment), *_size_problems(environment)]
    if problems:
        raise SettingsError("\n".join(problems))
    return options._replace(traces=_without_none(options.traces), metrics=_without_none(options.metrics))


def _secrets(environment: Mapping[str, str]) -> frozenset[str]:
    headers = (pair.partition("=")[2] for name in _HEADERS for pair in environment.get(name, "").split(","))
    words = {word for value in headers for text in (value, unquote(value)) for word in (text.strip(), *text.split())}
    words |= {secret for name in _ENDPOINTS for secret in secrets_in(environment.get(name, ""))}
    return frozenset(word for word in words if len(word) >= SHORTEST_SECRET)


def _traces(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the configured span exporters; without any, `otlp` if there is an endpoint."""
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    has_endpoint = any(environment.get(name) for name in endpoints)
    return _names(environment, "OTEL_TRACES_EXPORTER") or (("otlp",) if has_endpoint else ())


def _problems(options: TelemetryOptions) -> Iterator[str]:
    for variable, names, known in (
        ("OTEL_TRACES_EXPORTER", options.traces, _TRACES),
        ("OTEL_METRICS_EXPORTER", options.metrics, _METRICS),
    ):
        for name in sorted(set(names) - known):
            yield f"{variable}: expected some of {', '.join(sorted(known))}, got {name!r}"
    if "otlp" in options.traces:
        yield from _protocol_problems("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", options.traces_protocol)
    if "otlp" in options.metrics:
        yield from _protocol_problems("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", options.metrics_protocol)


def _protocol_problems(variable: str, protocol: str) -> Iterator[str]:
    where = f"OTEL_EXPORTER_OTLP_PROTOCOL or {variable}"
    if protocol not in (HTTP, GRPC):
        yield f"{where}: expected {HTTP} or {GRPC}, got {protocol!r}"
    elif protocol == GRPC and not _has_grpc():
        package = "opentelemetry-exporter-otlp-proto-grpc"
        yield f"{where}: {GRPC} needs the package {package}, which is not installed; install it, or set {HTTP}"


def _header_problems(options: TelemetryOptions, environment: Mapping[str, str]) -> Iterator[str]:
    """Name the variables whose headers the exporters cannot parse, without their values: they hold a login."""
    for variable, used in (
        ("OTEL_EXPORTER_OTLP_HEADERS", "otlp" in (*options.traces, *options.metrics)),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "otlp" in options.traces),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "otlp" in options.metrics),
    ):
        pairs = [pair.strip() for pair in environment.get(variable, "").split(",")]
        if used and not all(_HEADER.fullmatch(pair) for pair in pairs if pair):
            yield f"{variable}: expected key=value, several separated by commas; the value is not shown"


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
    """Parse a size; 0 if it is not a number."""
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


def _names(environment: Mapping[str, str], variable: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in environment.get(variable, "").split(",") if name.strip())


def _without_none(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name != "none")

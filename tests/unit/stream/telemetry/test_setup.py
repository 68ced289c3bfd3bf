"""Telemetry is set up from the variables of OpenTelemetry; an unusable one raises an error with the remedy."""

import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.re import parse_env_headers

from stream.engine.tracing import NoOperationTracing, UntracedOperation
from stream.errors import SettingsError
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.telemetry.command_line import steps_outside
from stream.telemetry.environment import read
from stream.telemetry.setup import OperationTracer, RateLimitedHandler, Telemetry, begin
from stream.telemetry.tracing import BatchTracer
from support.otlp_receiver import otlp_receiver
from support.stream_records import CARD_NUMBER, Told
from support.telemetry_facts import decided, one_of_each, scored

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
RATIO = ENDPOINT | {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}


@pytest.mark.parametrize(
    ("environment", "traces"),
    [
        ({}, ()),
        (ENDPOINT, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": " console , otlp"}, ("console", "otlp")),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, ()),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": ""}, ("otlp",)),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, ()),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9"}, ()),
    ],
)
def test_the_environment_selects_the_exporters_of_traces(environment: dict[str, str], traces: tuple[str, ...]) -> None:
    assert read(environment).traces == traces


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER: expected some of console, none, otlp, got 'zipkin'",
        ),
        ({"OTEL_METRICS_EXPORTER": "otlp,x"}, "OTEL_METRICS_EXPORTER: expected .* got 'x'"),
        (
            ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "opentelemetry-exporter-otlp-proto-grpc.* install it, or set",
        ),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "expected http/protobuf or grpc, got 'http/json'"),
        (
            {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"},
            "METRICS_PROTOCOL: grpc needs",
        ),
        (ENDPOINT | {"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER: expected one of .* got 'sometimes'"),
        (RATIO | {"OTEL_TRACES_SAMPLER_ARG": "1%"}, "OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1, got '1%'"),
        (RATIO | {"OTEL_TRACES_SAMPLER_ARG": "1.5"}, "OTEL_TRACES_SAMPLER_ARG: .* got '1.5'"),
        (RATIO | {"OTEL_TRACES_SAMPLER_ARG": "nan"}, "OTEL_TRACES_SAMPLER_ARG: .* got 'nan'"),
        (ENDPOINT | {"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "OTEL_BSP_MAX_QUEUE_SIZE: .* above 0, got 'many'"),
        (ENDPOINT | {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0"}, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: .* above 0, got '0'"),
        (ENDPOINT | {"OTEL_BSP_SCHEDULE_DELAY": "0"}, "OTEL_BSP_SCHEDULE_DELAY: .* above 0, got '0'"),
        (
            ENDPOINT | {"OTEL_BSP_MAX_QUEUE_SIZE": "100"},
            "512 are more than the 100 of OTEL_BSP_MAX_QUEUE_SIZE; set both",
        ),
    ],
)
def test_an_unusable_variable_raises_an_error_that_names_what_is_expected(
    environment: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        read(environment)


@pytest.mark.parametrize("headers", ["authorization: Bearer s3cr3t", "a=1,s3cr3t", "a=s3cr3t;", "=s3cr3t"])
@pytest.mark.parametrize("signal", ["", "TRACES_", "METRICS_"])
def test_malformed_headers_are_refused_without_showing_them(headers: str, signal: str) -> None:
    variable = f"OTEL_EXPORTER_OTLP_{signal}HEADERS"
    with pytest.raises(SettingsError, match=f"^{variable}: expected key=value") as raised:
        read(ENDPOINT | {"OTEL_METRICS_EXPORTER": "otlp", variable: headers})
    assert "s3cr3t" not in str(raised.value)


HEADERS = st.lists(st.text(st.sampled_from('aZ09-_=:;"\\ \t%,+/[]^`|~é'), max_size=12), max_size=3)


@given(HEADERS)
def test_headers_are_refused_exactly_if_the_exporters_cannot_parse_them(headers: list[str]) -> None:
    text = ",".join(headers)
    pairs = [pair for pair in text.split(",") if pair.strip()]
    readable = all(parse_env_headers(pair, liberal=True) for pair in pairs)
    with nullcontext() if readable else pytest.raises(SettingsError):
        read(ENDPOINT | {"OTEL_EXPORTER_OTLP_HEADERS": text})


@pytest.mark.parametrize(
    "variables",
    [{"OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "-1"}, {"OTEL_ATTRIBUTE_COUNT_LIMIT": "-1"}],
)
def test_a_value_for_which_the_sdk_raises_is_a_settings_error(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = ENDPOINT | variables
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"a variable of OpenTelemetry cannot be used: .*-1"):
        begin(Settings(), environment)


def test_without_an_endpoint_nothing_is_traced_and_decisions_are_counted() -> None:
    telemetry = begin(Settings(), {})
    assert isinstance(telemetry.tracing, NoTracing)
    assert isinstance(telemetry.operations, NoOperationTracing)
    telemetry.emit(decided(scored([Told()])))
    assert b'fraudstream_decisions_total{arm="live",decided_by="model",decision="approve"} 1.0' in telemetry.metrics()
    telemetry.stop()


def test_spans_and_metrics_reach_a_collector_with_service_worker_and_deployment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with otlp_receiver() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_METRICS_EXPORTER": "otlp"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        telemetry = begin(Settings(worker_id="w-1", deployment="cards"), environment)
        assert isinstance(telemetry.tracing, BatchTracer)
        assert isinstance(telemetry.operations, OperationTracer)
        telemetry.tracing.begin([Told()]).decided(decided(scored([Told()])))
        for fact in one_of_each():
            telemetry.emit(fact)
        telemetry.stop(10.0)
        assert {(span.service, span.instance) for span in receiver.spans} == {("fraudstream", "w-1")}
        assert {"fraudstream.latency", "fraudstream.decisions", "fraudstream.shadow.score_shift"} <= set(
            receiver.metrics
        )
        assert any(b"fraudstream.deployment" in body and b"cards" in body for body in receiver.raw)


UNREACHABLE_COLLECTOR = """
import os, time
from stream.settings import Settings
from stream.telemetry.setup import begin

telemetry = begin(Settings(), os.environ)
telemetry.operations.begin("model promote", ()).done({})
began = time.monotonic()
telemetry.stop(0.2)
print(time.monotonic() - began)
"""


@pytest.mark.acceptance
def test_an_unreachable_collector_does_not_block_shutdown() -> None:
    """Run in a process of its own, because the exporter's thread goes on to retry."""
    collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318"}  # TEST-NET-1, which is never routed
    command = [sys.executable, "-c", UNREACHABLE_COLLECTOR]
    done = subprocess.run(command, env=os.environ | collector, capture_output=True, text=True, check=True, timeout=120)
    assert 0.1 < float(done.stdout) < 5, "it had a span to send, and gave up"


def test_all_providers_share_one_shutdown_timeout() -> None:
    released = threading.Event()

    class Slow:
        def shutdown(self) -> None:
            released.wait(30)

    began = time.monotonic()
    Telemetry(providers=tuple(Slow() for _ in range(10))).stop(0.3)
    assert 0.3 <= time.monotonic() - began < 10 * 0.3
    released.set()


async def test_a_command_without_traces_forwards_its_headers_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    async with steps_outside(Settings(), "fraudstream-model") as operations:
        came = (("traceparent", b"anything"),)
        step = operations.begin("model promote", came)
        assert isinstance(step, UntracedOperation)
        assert step.headers is came
        step.done({})


@pytest.mark.acceptance
def test_the_command_line_does_not_import_the_sdk() -> None:
    program = (
        "import fraudstream.cli.main, sys; print(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"


def test_log_messages_of_the_sdk_are_rate_limited_redacted_and_without_traceback(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk = logging.getLogger("somewhere.else")
    monkeypatch.setattr(sdk, "handlers", [RateLimitedHandler(pause=3600)])
    monkeypatch.setattr(sdk, "propagate", False)
    with caplog.at_level(logging.WARNING, "fraudstream.telemetry"):
        for _ in range(50):
            sdk.error("cannot send %s", CARD_NUMBER, exc_info=ValueError(CARD_NUMBER))
        sdk.error("another place")
    ours = [record.getMessage() for record in caplog.records if record.name == "fraudstream.telemetry"]
    assert ours == ["cannot send [redacted]: ValueError (0 more left out)", "another place (49 more left out)"]


def test_credentials_in_a_malformed_header_variable_are_not_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = logging.getLogger("opentelemetry.util.re")
    monkeypatch.setattr(parser, "handlers", [RateLimitedHandler()])
    monkeypatch.setattr(parser, "propagate", False)
    with caplog.at_level(logging.WARNING, "fraudstream.telemetry"):
        assert parse_env_headers("authorization: Bearer s3cr3t", liberal=True) == {}
    (line,) = [record.getMessage() for record in caplog.records if record.name == "fraudstream.telemetry"]
    assert line.startswith("Header format invalid!")
    assert "s3cr3t" not in line

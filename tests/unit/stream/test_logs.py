"""No log entry holds a login or a key, whichever library wrote it and however it quotes it."""

import logging
from collections.abc import Iterator

import pytest

from stream.logs import log_to_stderr
from stream.settings import Settings
from stream.telemetry.environment import read

PLANTED = "pl4nted"


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Give the root logger its handlers back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for handler in handlers:
        root.removeHandler(handler)
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


@pytest.mark.usefixtures("logging_as_before")
def test_messages_arguments_and_tracebacks_are_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(
        redis_url=f"rediss://u:{PLANTED}-redis@r:1",
        models=f"https://u:{PLANTED}-models@h/m?sig={PLANTED}-sig",
        kafka_sasl_password=f"{PLANTED}-sasl",
    )
    telemetry = read(
        {
            "OTEL_EXPORTER_OTLP_HEADERS": f"a=Basic%20{PLANTED}-header,b={PLANTED}-b",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://u:{PLANTED}-otel@c:1/v1?token={PLANTED}-token",
        }
    )
    log_to_stderr(logging.INFO, "%(levelname)s %(message)s", settings.secrets() | telemetry.secrets)
    log = logging.getLogger("some.library")
    what = "redis", "models", "sig", "sasl", "header", "b", "otel", "token"
    log.info("connecting to %s with %r", settings.models, {name: f"{PLANTED}-{name}" for name in what})
    error = OSError(f"Max retries exceeded with url: /v1?token={PLANTED}-token of {settings.redis_url}")
    error.__cause__ = KeyError(settings.models)
    log.error("it failed", exc_info=error)
    shown = capsys.readouterr().err
    assert PLANTED not in shown
    assert "INFO connecting to https://…@" in shown
    assert "OSError: Max retries exceeded with url: /v1?token=… of rediss://…@r:1" in shown
    assert "KeyError: 'https://…@h/m?sig=…'" in shown

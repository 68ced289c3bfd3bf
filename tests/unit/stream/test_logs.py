"""No log entry holds a login or a key, whichever library wrote it and however it quotes it; JSON lines are JSON."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from stream.logs import LINE, BurstFilter, Form, Level, log_service_to_stderr, log_to_stderr, service_formatter
from stream.settings import Settings
from stream.telemetry.environment import read
from stream.worker.lifecycle import log_start

PLANTED = "pl4nted"
SETTINGS = Settings(
    redis_url=f"rediss://u:{PLANTED}-redis@r:1",
    models=f"https://u:{PLANTED}-models@h/m?sig={PLANTED}-sig",
    kafka_sasl_password=f'{PLANTED}-"sasl"',
)
TELEMETRY = read(
    {
        "OTEL_EXPORTER_OTLP_HEADERS": f"a=Basic%20{PLANTED}-header,b={PLANTED}-b",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://u:{PLANTED}-otel@c:1/v1?token={PLANTED}-token",
    }
)
SECRETS = SETTINGS.secrets() | TELEMETRY.secrets


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Give the loggers their handlers and levels back."""
    root, ours = logging.getLogger(), logging.getLogger("fraudstream")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    for handler in handlers:
        root.removeHandler(handler)
    yield
    logging.captureWarnings(capture=False)
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    ours.setLevel(our_level)


def write_secrets() -> None:
    log = logging.getLogger("some.library")
    what = "redis", "models", "sig", '"sasl"', "header", "b", "otel", "token"
    quoted = {name: f"{PLANTED}-{name}" for name in what}
    log.warning("connecting to %s with %r", SETTINGS.models, quoted, extra={"url": SETTINGS.redis_url, "used": quoted})
    error = OSError(f"Max retries exceeded with url: /v1?token={PLANTED}-token of {SETTINGS.redis_url}")
    error.__cause__ = KeyError(SETTINGS.models)
    log.error("it failed", exc_info=error, extra={"error": error, "all": {SETTINGS.redis_url: [SETTINGS]}})


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("logging_as_before")
def test_messages_arguments_and_tracebacks_are_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(logging.INFO, "%(levelname)s %(message)s", SECRETS)
    write_secrets()
    shown = capsys.readouterr().err
    assert PLANTED not in shown
    assert "WARNING connecting to https://…@" in shown
    assert "OSError: Max retries exceeded with url: /v1?token=… of rediss://…@r:1" in shown
    assert "KeyError: 'https://…@h/m?sig=…'" in shown


@pytest.mark.usefixtures("logging_as_before")
def test_each_entry_is_one_json_object_whose_every_text_is_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    log_service_to_stderr("info", service_formatter("json", SECRETS, {"deployment": "eu", "worker": "w-1"}))
    write_secrets()
    shown = capsys.readouterr().err
    assert PLANTED not in shown
    warned, failed = lines(shown)
    assert list(warned)[:4] == ["time", "level", "logger", "message"]
    assert (warned["level"], warned["logger"], warned["deployment"], warned["worker"]) == (
        *("WARNING", "some.library"),
        *("eu", "w-1"),
    )
    assert warned["message"].startswith("connecting to https://…@h/m?sig=… with {")
    assert warned["url"] == "rediss://…@r:1"
    assert "Max retries exceeded with url: /v1?token=… of rediss://…@r:1" in failed["traceback"]
    assert "KeyError: 'https://…@h/m?sig=…'" in failed["traceback"]
    assert list(failed["all"]) == ["rediss://…@r:1"]


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.usefixtures("logging_as_before")
def test_the_settings_are_logged_at_the_start_without_their_secrets(
    form: Form, capsys: pytest.CaptureFixture[str]
) -> None:
    log_service_to_stderr("info", service_formatter(form))
    log_start(SETTINGS)
    shown = capsys.readouterr().err
    assert PLANTED not in shown
    assert "FRAUDSTREAM_BROKERS" in shown
    assert "rediss://…@r:1" in shown
    assert "FRAUDSTREAM_KAFKA_SASL_PASSWORD" in shown
    assert "FRAUDSTREAM_POLL_RECORDS" not in shown, "it has its default"


@pytest.mark.usefixtures("logging_as_before")
def test_what_json_does_not_know_becomes_text_and_breaks_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_service_to_stderr("info", service_formatter("json"))
    extra = {"bad": "\ud800", "raw": b"\xff", "none": None, "yes": True, "share": 0.5, "set": {1}, "big": 2**80}
    logging.getLogger("fraudstream.x").info("a \ud800\nb", extra=extra)
    (line,) = lines(capsys.readouterr().err)
    assert line["message"] == "a \\ud800\nb"
    assert [line[name] for name in extra] == ["\\ud800", "b'\\xff'", None, True, 0.5, [1], 2**80]


@pytest.mark.parametrize(
    ("level", "ours", "libraries"),
    [
        ("debug", "DEBUG INFO WARNING ERROR", "INFO WARNING ERROR"),
        ("info", "INFO WARNING ERROR", "WARNING ERROR"),
        ("warning", "WARNING ERROR", "WARNING ERROR"),
        ("error", "ERROR", "WARNING ERROR"),
    ],
)
@pytest.mark.usefixtures("logging_as_before")
def test_the_level_is_that_of_our_own_lines_and_libraries_stay_quiet(
    level: Level, ours: str, libraries: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log_service_to_stderr(level, service_formatter("json"))
    for name in ("fraudstream.worker", "aiokafka.consumer"):
        for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(number, "of level %d", number)
    shown = lines(capsys.readouterr().err)
    found = {
        name: " ".join(line["level"] for line in shown if line["logger"] == name)
        for name in ("fraudstream.worker", "aiokafka.consumer")
    }
    assert found == {"fraudstream.worker": ours, "aiokafka.consumer": libraries}


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize("why", ["its stream is closed", "its stream takes ASCII alone", "its arguments do not fit"])
def test_of_a_line_that_cannot_be_logged_nothing_is_printed_but_that(
    why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = log_to_stderr(logging.INFO, LINE)
    assert isinstance(handler, logging.StreamHandler)
    written = io.BytesIO()
    handler.setStream(stream := io.TextIOWrapper(written, "ascii" if "ASCII" in why else "utf-8", write_through=True))
    if "closed" in why:
        stream.detach()
    arguments = (PLANTED, "two") if "fit" in why else (f"{PLANTED} \u0141",)
    logging.getLogger("fraudstream.some").error("%s", *arguments)
    assert capsys.readouterr() == ("", "")
    told = b"" if "closed" in why else b"a line of fraudstream.some cannot be logged: "
    assert written.getvalue().startswith(told)
    assert PLANTED.encode() not in written.getvalue()
    assert written.getvalue().count(b"\n") == bool(told)


def test_of_what_aiokafka_says_twice_ours_is_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(logging.WARNING, "%(message)s")
    library = logging.getLogger("aiokafka")
    library.error('Unable connect to "%s:%s": %s', "kafka-1", 9092, "refused")
    library.error("Unable connect to node with id %s: %s", 2, "refused")
    assert capsys.readouterr().err == "Unable connect to node with id 2: refused\n"


def test_lines_of_a_burst_are_counted_and_the_next_one_says_how_many_were_left_out() -> None:
    now = [0.0]
    burst = BurstFilter(10.0, lambda: now[0])

    def passed(key: str | None, name: str = "fraudstream.x", msg: str = "line") -> str | None:
        record = logging.makeLogRecord({"name": name, "msg": msg, **({} if key is None else {"burst": key})})
        return record.getMessage() if burst.filter(record) else None

    assert [passed(one) for one in ("a", "a", "b", "a", None, None)] == ["line", None, "line", None, "line", "line"]
    now[0] = 10.0
    assert [passed("a"), passed("a")] == ["line (2 more like it since the last one)", None]
    now[0] = 20.0
    assert [passed("b"), passed("a")] == ["line", "line (1 more like it since the last one)"]
    texts = ["no broker 1", "no broker 1", "no broker 2"]
    assert [passed(None, "aiokafka", text) for text in texts] == ["no broker 1", None, "no broker 2"]
    for number in range(3_000):
        now[0] += 1.0
        passed(None, "aiokafka", f"text {number}")
    assert len(burst._passed) < 1_010, "what is over is forgotten"

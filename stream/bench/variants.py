"""What is measured against what: a worker's telemetry off and on, its shadow empty, well and ill."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.bench.alternating import Variant
from stream.bench.hampered import hampered_command
from stream.embedded.processes import Child, free_port, listening

_START_SECONDS = 20.0


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector that keeps nothing, and yield its OTLP endpoint."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="fraudstream-bench-") as folder:
        child = Child((sys.executable, "-m", "stream.bench.sink", str(port)), Path(folder) / "sink.log")
        child.start()
        try:
            child.await_ready(lambda: listening(port), _START_SECONDS)
            yield f"http://127.0.0.1:{port}"
        finally:
            child.stop()


def tracing_variants(endpoint: str) -> tuple[Variant, ...]:
    """Return a worker that traces nothing, one that traces a hundredth, and one that traces all."""
    on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
    return (
        Variant("off", {"OTEL_TRACES_EXPORTER": "none"}),
        Variant("1 %", {**on, "OTEL_TRACES_SAMPLER_ARG": "0.01"}),
        Variant("100 %", {**on, "OTEL_TRACES_SAMPLER_ARG": "1"}),
    )


def shadow_variants(challenger: str) -> tuple[Variant, ...]:
    """Return workers without a challenger, with one, with one that takes 100 ms more a time, and one that raises."""
    return (
        Variant("off"),
        Variant("on", challenger=challenger),
        Variant("100 ms slower", command=hampered_command("slow"), challenger=challenger),
        Variant("raising", command=hampered_command("raising"), challenger=challenger),
    )

"""The worker's HTTP answers about itself."""

from faust.web import Request, Response, View

from stream.app import WorkerApp

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def add_health(app: WorkerApp) -> None:
    """Serve `/health/live`, `/health/ready` and `/metrics`."""

    @app.page("/health/live")
    async def live(view: View, _request: Request) -> Response:
        """Say that the process answers at all."""
        return view.json({"live": True})

    @app.page("/health/ready")
    async def ready(view: View, _request: Request) -> Response:
        """Say whether decisions can be made here, and if not, why."""
        reasons = app.reasons()
        return view.json({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    @app.page("/metrics")
    async def metrics(view: View, _request: Request) -> Response:
        """Say all that is counted, in Prometheus's text format."""
        return view.bytes(app.telemetry.metrics(), headers={"Content-Type": METRICS_TYPE})

"""The worker's HTTP answers about itself."""

from faust.web import Request, Response, View

from stream.app import WorkerApp


def add_health(app: WorkerApp) -> None:
    """Serve `/health/live` and `/health/ready`."""

    @app.page("/health/live")
    async def live(view: View, _request: Request) -> Response:
        """Say that the process answers at all."""
        return view.json({"live": True})

    @app.page("/health/ready")
    async def ready(view: View, _request: Request) -> Response:
        """Say whether decisions can be made here, and if not, why."""
        reasons = app.reasons()
        return view.json({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

"""The HTTP pages that a worker and a guard have alike: their names, what they say, and an address that is taken."""

import errno
from collections.abc import Collection, Iterable
from typing import Any

from models.logins import without_logins
from stream.errors import system_reason
from stream.settings import PREFIX

PAGES = ("/health/live", "/health/ready", "/metrics")
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LIVE = {"live": True}


def no_page() -> dict[str, Any]:
    """Return what `/` answers, with a 404: a 200 or a redirect there would pass for "ready" with a load balancer."""
    return {"error": "no such page", "pages": PAGES}


def readiness(
    reasons: Iterable[str], warnings: Collection[str], secrets: Collection[str]
) -> tuple[dict[str, Any], int]:
    """Return what `/health/ready` answers, and its status: 503 if there is a reason not to be ready."""
    told = [without_logins(reason, secrets) for reason in reasons]
    return {"ready": not told, "reasons": told, "warnings": list(warnings)}, 503 if told else 200


def address_problem(host: str, port: int, error: OSError) -> str:
    """Return why an address cannot be bound, and what to do, in one line that names the setting."""
    if error.errno == errno.EADDRINUSE:
        other = f"{host}:{port + 1 if port < 65_535 else port - 1}"  # noqa: PLR2004 - the last port
        return (
            f"{PREFIX}HTTP: {host}:{port} is in use, perhaps by another worker or a guard; give each of them on a "
            f"machine an address of its own, such as {PREFIX}HTTP={other}"
        )
    return f"{PREFIX}HTTP: {host}:{port} cannot be bound: {system_reason(error)}; give an address of this machine"

"""What Faust is told of a worker: its brokers, how long it waits for them, and its web server."""

from typing import Any

from stream.settings import Settings

_HEARTBEATS_A_SESSION = 3
_REQUEST_SECONDS = 40.0
_POLL_SECONDS = 300.0


def faust_options(settings: Settings) -> dict[str, Any]:
    """Return the options of a worker's app."""
    host, _, port = settings.http.rpartition(":")
    return {
        "broker": ";".join(f"kafka://{address}" for address in settings.brokers.split(",")),
        "autodiscover": False,
        "key_serializer": "raw",
        "value_serializer": "raw",
        "store": "memory://",
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "broker_session_timeout": settings.session_timeout,
        "broker_heartbeat_interval": settings.session_timeout / _HEARTBEATS_A_SESSION,
        "broker_request_timeout": max(_REQUEST_SECONDS, settings.session_timeout + 1),
        "broker_rebalance_timeout": settings.drain_seconds + settings.session_timeout,
        "broker_max_poll_interval": _POLL_SECONDS,
        "broker_commit_interval": settings.commit_interval,
        "stream_wait_empty": True,
        "web_bind": host,
        "web_host": host,
        "web_port": int(port),
        "web_cors_options": None,
    }

"""A Kafka node that takes the tokens of a provider, by its own validator of OAUTHBEARER."""

from pathlib import Path

from fraudstream.demo.services.processes import free_port
from support.certificates import Authority
from support.kafka.jars import JarsCluster, Layout
from support.oauth.provider import AUDIENCE, CLIENTS, Provider

SESSION_MS = 3_600_000
"""Longer than any token of a test: the tokens say how long sessions last."""


class TokenCluster(JarsCluster):
    """A node with a listener for tokens over TLS, and a plain one, `brokers`, for tests.

    Raises:
        NoJars: see `resolve_jars`.
    """

    def __init__(self, authority: Authority, provider: Provider, session_ms: int = SESSION_MS) -> None:
        authority.vouch("broker")
        self.by_token = f"127.0.0.1:{free_port()}"
        values = {
            "certificates": authority.folder,
            "token_port": self.by_token.rpartition(":")[2],
            "session_ms": session_ms,
            "issuer": provider.issuer,
            "audience": AUDIENCE,
        }
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={provider.issuer}/keys"
        super().__init__(Layout("tokens.properties", values, flags=(allowed,)))


def login_by(provider: Provider, cluster: TokenCluster, authority: Path, client: str = "worker") -> dict[str, str]:
    """Return the settings of a process that logs in as a client of the provider."""
    return {
        "BROKERS": cluster.by_token,
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SSL_CAFILE": str(authority),
        "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
        "KAFKA_OAUTH_TOKEN_ENDPOINT": provider.endpoint,
        "KAFKA_OAUTH_CLIENT_ID": client,
        "KAFKA_OAUTH_CLIENT_SECRET": CLIENTS[client],
    }

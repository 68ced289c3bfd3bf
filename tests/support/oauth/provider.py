"""An OpenID Connect provider for tests: a token endpoint and a key set, with faults on request."""

import json
import threading
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from stream.clock import now_ms

CLIENTS = {"worker": "worker-client-secret", "guard": "guard-client-secret", "admin": "admin-client-secret"}
AUDIENCE = "kafka"
KEY_ID = "test-key"

Answer = tuple[int, bytes]


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Provider:
    """Signs tokens with a key of its own; `fault` is an answer that is given in place of a token."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    port: int = 0
    lifetime_s: float = 30.0
    audience: str = AUDIENCE
    extra: dict[str, Any] = field(default_factory=dict)
    """What the answer has beside, or instead of, what it should."""
    fault: Answer | None = None
    away: bool = False
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> str:
        return f"{self.issuer}/token"

    def token(self, subject: str, *, at: float | None = None, **claims: Any) -> str:
        """Return a token, signed by RS256."""
        now = now_ms() / 1000 if at is None else at
        stated = {"iss": self.issuer, "aud": self.audience, "sub": subject, "iat": int(now)}
        stated |= {"exp": int(now + self.lifetime_s), "jti": f"{len(self.issued)}"} | claims
        parts = ({"alg": "RS256", "typ": "JWT", "kid": KEY_ID}, stated)
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        made = f"{signed}.{encoded(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
        self.issued.append(made)
        return made

    def key_set(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set."""
        public = self.key.public_key().public_numbers()
        numbers = {
            name: encoded(n.to_bytes((n.bit_length() + 7) // 8, "big"))
            for name, n in (("n", public.n), ("e", public.e))
        }
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, **numbers}]}

    def write_key_set(self, file: Path) -> None:
        file.write_text(json.dumps(self.key_set()))

    def answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request for a token."""
        form = parse_qs(body.decode())
        self.forms.append(form)
        if self.fault is not None:
            return self.fault
        login = b64decode(headers.get("Authorization", "").removeprefix("Basic ")).decode()
        client, secret = map(unquote_plus, login.split(":"))
        if CLIENTS.get(client) != secret:
            return 401, b'{"error": "invalid_client", "error_description": "no ' + secret.encode() + b'"}'
        answer = {"access_token": self.token(client), "token_type": "Bearer", "expires_in": int(self.lifetime_s)}
        return 200, json.dumps(answer | self.extra).encode()


@contextmanager
def running_provider(**options: Any) -> Iterator[Provider]:
    """Serve a provider on a port of loopback."""
    provider = Provider(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if provider.away:
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._reply(*provider.answer(self.headers, body))

        def do_GET(self) -> None:
            self._reply(200, json.dumps(provider.key_set()).encode())  # at /keys

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()

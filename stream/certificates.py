"""The PEM files of TLS: what is made of them, and whether they can be used, before anyone connects with them.

Nothing here speaks to a server; whether a server's certificate is good is said when it is met.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path

from stream.errors import SettingsError
from stream.settings import PREFIX, Settings


def kafka_context(settings: Settings) -> ssl.SSLContext:
    """Return what a TLS connection to a broker needs: whom to trust, and who we are.

    The broker's certificate and its name are always checked, and nothing below TLS 1.2 is spoken.
    """
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None)
    _present(context, settings)
    return context


def check_files(settings: Settings) -> None:
    """Read every file that the settings name, as a connection would.

    Raises:
        SettingsError: names every variable whose file cannot be used, and why.
    """
    named = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile", "redis_cafile")
    unreadable = {name: problem for name in named if (problem := _unreadable(name, settings))}
    problems = list(unreadable.values())
    for name in ("kafka_ssl_cafile", "redis_cafile"):
        problems += [] if name in unreadable else _untrustworthy(name, getattr(settings, name))
    if not unreadable.keys() & {"kafka_ssl_certfile", "kafka_ssl_keyfile"}:
        problems += _unpresentable(settings)
    if problems:
        raise SettingsError("\n".join(problems))


def _present(context: ssl.SSLContext, settings: Settings) -> None:
    """Load our own certificate, if there is one; for an encrypted key, OpenSSL would ask the terminal."""
    if settings.kafka_ssl_certfile:
        context.load_cert_chain(
            settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile or None, password=lambda: "no password"
        )


def _unreadable(name: str, settings: Settings) -> str | None:
    """Say why a file cannot be read, if one is named."""
    file = getattr(settings, name)
    if not file:
        return None
    try:
        Path(file).read_bytes()
    except OSError as error:
        return f"{PREFIX}{name.upper()}: {file} cannot be read: {error.strerror}"
    return None


def _untrustworthy(name: str, file: str) -> Iterator[str]:
    try:
        if file:
            ssl.create_default_context(cafile=file)
    except ssl.SSLError as error:
        yield f"{PREFIX}{name.upper()}: {file} holds no certificates in PEM: {error.reason or error}"


def _unpresentable(settings: Settings) -> Iterator[str]:
    certificate = settings.kafka_ssl_certfile
    try:
        _present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), settings)
    except ssl.SSLError as error:
        yield (
            f"{PREFIX}KAFKA_SSL_CERTFILE: the certificate in {certificate} and the private key in "
            f"{settings.kafka_ssl_keyfile or certificate} are not one pair, both in PEM, the key not encrypted: "
            f"{error.reason or error}"
        )

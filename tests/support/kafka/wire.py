"""Asks a broker for its metadata, without a client library, to see whether it is in service."""

import socket
import ssl
import struct

METADATA, VERSION, CORRELATION = 3, 1, 7
NO_CLIENT_ID, NO_TOPICS = -1, 0
REQUEST = struct.pack(">hhihi", METADATA, VERSION, CORRELATION, NO_CLIENT_ID, NO_TOPICS)


def brokers_in_service(port: int, seconds: float = 1.0, tls: ssl.SSLContext | None = None) -> int:
    """Return how many brokers a Metadata response from this loopback port names; 0 if it does not answer.

    A Kafka broker listens before it is registered with its controller, so an open port alone is not enough.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as connection:
            connection.settimeout(seconds)
            with tls.wrap_socket(connection, server_hostname="127.0.0.1") if tls else connection as spoken:
                spoken.sendall(struct.pack(">i", len(REQUEST)) + REQUEST)
                answer = spoken.makefile("rb").read(12)
    except OSError:
        return 0
    return int(struct.unpack(">iii", answer)[2]) if len(answer) == 12 else 0

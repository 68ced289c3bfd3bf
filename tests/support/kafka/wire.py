"""Asks brokers what clients do not tell, without a client library: who is in service, who leads, who coordinates."""

import socket
import ssl
import struct

METADATA, FIND_COORDINATOR, DESCRIBE_QUORUM, VERSION_OF_METADATA, VERSION, CORRELATION = 3, 10, 55, 1, 0, 7
NO_CLIENT_ID, NO_TOPICS, NO_TAGS = -1, 0, b"\0"
METADATA_TOPIC = b"__cluster_metadata"


def ask(port: int, request: bytes, seconds: float = 1.0, tls: ssl.SSLContext | None = None) -> bytes:
    """Send a request to a loopback port and return the answer, without its size; empty if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as connection:
            connection.settimeout(seconds)
            with tls.wrap_socket(connection, server_hostname="127.0.0.1") if tls else connection as spoken:
                spoken.sendall(struct.pack(">i", len(request)) + request)
                with spoken.makefile("rb") as stream:
                    size = stream.read(4)
                    return stream.read(struct.unpack(">i", size)[0]) if len(size) == 4 else b""
    except OSError:
        return b""


def _header(api: int, version: int) -> bytes:
    return struct.pack(">hhih", api, version, CORRELATION, NO_CLIENT_ID)


def brokers_in_service(port: int, seconds: float = 1.0, tls: ssl.SSLContext | None = None) -> int:
    """Return how many brokers a Metadata response from this loopback port names; 0 if it does not answer.

    A Kafka broker listens before it is registered with its controller, so an open port alone is not enough.
    """
    answer = ask(port, _header(METADATA, VERSION_OF_METADATA) + struct.pack(">i", NO_TOPICS), seconds, tls)
    return int(struct.unpack_from(">ii", answer)[1]) if len(answer) >= 8 else 0


def coordinator(port: int, group: str) -> int | None:
    """Return the id of the broker that coordinates a group; None if this one does not know."""
    name = group.encode()
    answer = ask(port, _header(FIND_COORDINATOR, VERSION) + struct.pack(">h", len(name)) + name)
    if len(answer) < 10:
        return None
    _, code, node = struct.unpack_from(">ihi", answer)
    return None if code else int(node)


def active_controller(port: int) -> int | None:
    """Return the id of the active controller of a KRaft quorum; None if this broker does not know.

    Metadata responses name any broker in its place.
    """
    request = _header(DESCRIBE_QUORUM, VERSION) + NO_TAGS
    request += bytes([2, len(METADATA_TOPIC) + 1]) + METADATA_TOPIC + bytes([2]) + struct.pack(">i", 0) + NO_TAGS * 3
    answer = ask(port, request)
    before = 4 + 1 + 2 + 1 + 1 + len(METADATA_TOPIC) + 1
    if len(answer) < before + 10 or struct.unpack_from(">h", answer, 5)[0]:
        return None
    _, code, leader = struct.unpack_from(">ihi", answer, before)
    return None if code or leader < 0 else int(leader)

"""A file of payments, one `transaction/1` in JSON on each line, as the two producers send it."""

import json
import secrets
import sys
from pathlib import Path
from typing import NamedTuple


class Payment(NamedTuple):
    """A payment; `value` is its line, which a retry sends again as it is."""

    transaction_id: str
    card_id: str
    value: bytes


def read_payments(path: Path) -> list[Payment]:
    """Return the payments of a file, all checked before the first is sent.

    A payment gets its `transaction_id` where it is made, once. A producer that drew one at each attempt would have the
    same payment decided twice.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        sys.exit(str(error))
    payments = []
    for number, line in enumerate(lines, start=1):
        match _fields(line):
            case {"transaction_id": str(transaction_id), "card_id": str(card_id)}:
                payments.append(Payment(transaction_id, card_id, line))
            case _:
                sys.exit(f"{path}, line {number}: no payment in JSON with transaction_id and card_id; none was sent")
    return payments


def _fields(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def traceparent() -> bytes:
    """Begin a trace (W3C Trace Context), which the worker continues and the score carries on.

    Where OpenTelemetry instruments the producer, it writes this header itself.
    """
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01".encode()

"""The file of decisions that the consumers write: their result, and at the same time their state."""

import fcntl
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fraudstream_client import Score, Standing, place_of


class Decision(NamedTuple):
    """A valid score, and the partition and offset of its record on the scores topic."""

    partition: int
    offset: int
    score: Score


class DecisionsFile:
    """A line of JSON for each valid score, with the score's own place.

    So the last line of a partition says all that is needed to go on behind it: the offset, and the standing, which
    after a valid score is that score's epoch and place. Result and state cannot disagree, since they are one; a crash
    neither loses nor doubles a decision. With a database, write such a row in the transaction that uses the decision.

    The file is locked while it is open: a second process would write the same decisions between the first one's. It
    belongs to one topic, since its lines do not name it.

    `standings` and `next_offsets`, by partition, are those of the file when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.standings: dict[int, Standing] = {}
        self.next_offsets: dict[int, int] = {}
        try:
            self._file = path.open("a+b")
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until the process ends, in whatever way
        except BlockingIOError:
            sys.exit(f"{path}: another process writes this file; end that one, or name another file")
        except OSError as error:
            sys.exit(str(error))
        self._file.seek(0)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break  # a crash cut it off; its score is read again
            try:
                self._continue_behind(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                sys.exit(f"{path}, byte {end}: no line of a decisions file: {error!r}")
            end += len(line)
        self._file.truncate(end)

    def _continue_behind(self, last: dict[str, int]) -> None:
        partition = last["partition"]
        self.standings[partition] = Standing(last["epoch"], place_of(last["log"], last["source_offset"]))
        self.next_offsets[partition] = last["offset"] + 1

    def append(self, decisions: Iterable[Decision]) -> None:
        """Store decisions, then print them."""
        new = list(decisions)
        if not new:
            return
        self._file.write(b"".join(map(_line, new)))
        self._file.flush()
        os.fsync(self._file.fileno())
        for _, _, score in new:
            print(score.transaction_id, score.decision, "by", score.decided_by, flush=True)


def _line(decision: Decision) -> bytes:
    score = decision.score
    fields = {
        "partition": decision.partition,
        "offset": decision.offset,
        "epoch": score.epoch,
        "log": score.source.log,
        "source_offset": score.source.offset,
        "transaction_id": score.transaction_id,
        "decision": score.decision,
        "decided_by": score.decided_by,
        "attributes": score.attributes or {},  # declared categories, such as ip_country
    }
    return json.dumps(fields).encode() + b"\n"

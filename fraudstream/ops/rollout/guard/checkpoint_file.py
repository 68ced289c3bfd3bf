"""The checkpoint of a guard in a file: it saves counting the topics again after a restart, and may be lost at any time.

The file is JSON, compressed with gzip, whose checksum tells whether it is damaged.
"""

import asyncio
import gzip
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from guards.checkpoint import read_state, state_json
from guards.errors import CheckpointError
from guards.state import GuardState
from models.folder_store import replace_file

log = logging.getLogger("fraudstream.guard")

_LEVEL = 1
"""Hashes of cards are most of it, and hardly smaller at the slower levels."""


class Checkpoint(NamedTuple):
    """A stored state, and the ids of the topics that its positions are of."""

    state: GuardState
    topic_ids: Mapping[str, str]


class CheckpointFile:
    """One file for what is watched at the time; what fails is logged, and never ends a guard.

    Args:
        path: the file; its folder is created when it is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problem = ""

    def load(self, identity: Mapping[str, Any], empty: GuardState) -> Checkpoint | None:
        """Return what is stored of this rollout or watch; None, with one line in the log, if there is no use of it.

        Args:
            identity: what is watched, as plain JSON, equal to that with which it was saved.
            empty: a state of it that has counted nothing yet: its guards, deployment and arms.
        """
        try:
            stored = msgspec.json.decode(gzip.decompress(self._path.read_bytes()), type=dict[str, Any])
            _require_same(stored, identity)
            ids = msgspec.convert(stored.get("topic_ids"), dict[str, str])
            state = read_state(stored.get("state"), empty)
            return Checkpoint(state, ids)
        except FileNotFoundError:
            log.info("no checkpoint in %s; everything is counted from the topics", self._path)
        except OSError as error:
            self._discarded(error.strerror or str(error))
        except (CheckpointError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._discarded(str(error))
        except (EOFError, zlib.error):  # gzip's own error is an OSError
            self._discarded("it is damaged")
        return None

    async def save(self, identity: Mapping[str, Any], state: GuardState, topic_ids: Mapping[str, str]) -> bool:
        """Replace the file; tell whether it was written.

        The state is copied at once, and may be counted on while the file is written by a thread.
        """
        stored = {"identity": dict(identity), "topic_ids": dict(topic_ids), "state": state_json(state)}
        try:
            await asyncio.to_thread(_write, self._path, stored)
        except OSError as error:
            problem = error.strerror or str(error)
            if problem != self._problem:
                log.warning(
                    "the checkpoint cannot be written to %s: %s. The guard goes on, but counts everything again after "
                    "a restart; free space there, or name a folder that it may write to",
                    self._path,
                    problem,
                )
            self._problem = problem
            return False
        if self._problem:
            log.info("the checkpoint is written to %s again", self._path)
        self._problem = ""
        return True

    def _discarded(self, why: str) -> None:
        log.warning("the checkpoint in %s is not used: %s; everything is counted from the topics", self._path, why)


def _require_same(stored: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    if stored.get("identity") != msgspec.to_builtins(dict(identity)):
        raise CheckpointError("it is of something else that was watched")


def _write(path: Path, stored: Mapping[str, Any]) -> None:
    replace_file(path, gzip.compress(msgspec.json.encode(stored), _LEVEL, mtime=0))

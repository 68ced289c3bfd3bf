"""Build what msgspec knows of each class before there are threads.

msgspec builds it at a class's first use and stores it there while it is unfinished. A thread that uses the class just
then reads null pointers: the process ends with SIGSEGV (msgspec 0.22; `tests/unit/models/test_type_info.py` shows it).
"""

from collections.abc import Iterator

import msgspec

_built: set[type[msgspec.Struct]] = set()


def build_type_info() -> None:
    """Build the type information of every struct that is defined by now; those that were built before cost nothing."""
    for one in set(_subclasses(msgspec.Struct)) - _built:
        _built.add(one)
        try:
            msgspec.json.Decoder(one)
        except (TypeError, NameError):
            continue  # of a kind that is never decoded


def _subclasses(parent: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for one in parent.__subclasses__():
        yield one
        yield from _subclasses(one)

"""Takes an answer without a group's commits, which a coordinator gives while it moves or loads, for an error.

aiokafka looks at the errors of single partitions only, and would take such an answer for a group that never committed:
the consumer would read its partitions again from their beginnings.
"""

from typing import Any

from aiokafka.errors import NoError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest


def require_commits(request: Any, answer: Any) -> None:  # noqa: ANN401 - aiokafka ships no types
    """Raise the error of an answer to a request for commits, if it has one of its own.

    Raises:
        aiokafka.errors.KafkaError: the coordinator did not return the commits; one that helps to ask again says so.
    """
    error = for_code(getattr(answer, "error_code", 0)) if isinstance(request, OffsetFetchRequest) else NoError
    if error is not NoError:
        raise error("the coordinator did not return the commits of the group")

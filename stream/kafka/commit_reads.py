"""Takes an answer without a group's commits, which a coordinator gives while it moves or loads, for an error.

aiokafka looks at the errors of single partitions only, and would take such an answer for a group that never committed:
the consumer would read its partitions again from their beginnings.
"""

from typing import Any

from aiokafka.errors import NoError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest


def refuse_answers_without_commits(coordinator: Any) -> None:  # noqa: ANN401 - aiokafka ships no types
    """Make a group's coordinator, as aiokafka has it, raise the error of an answer; it asks again where that helps."""
    send = coordinator._send_req  # noqa: SLF001 - there is no public place

    async def checked(request: Any) -> Any:  # noqa: ANN401 - likewise
        answer = await send(request)
        error = for_code(getattr(answer, "error_code", 0)) if isinstance(request, OffsetFetchRequest) else NoError
        if error is not NoError:
            coordinator.coordinator_dead()
            raise error(f"the coordinator did not return the commits of group {coordinator.group_id}")
        return answer

    coordinator._send_req = checked  # noqa: SLF001 - likewise

"""Which decisions drift is told by, and what it reads of them."""

from collections.abc import Iterable, Iterator

from fraudstream_client.outputs import DecidedBy
from fraudstream_client.validity import Standing
from stream.readers import ScoreView, ValidViews, ViewedRecord
from stream.scoring.encode import HISTORY_INCOMPLETE


def is_watched(score: ScoreView) -> bool:
    """Tell whether a model decided that saw the whole history: else the features are known to be wrong."""
    by_model = score.decided_by is DecidedBy.MODEL and score.model is not None and score.score is not None
    return by_model and HISTORY_INCOMPLETE not in score.degraded


class ScoreFilter:
    """Tells which records of `scores` count: valid ones of a deployment that a model decided.

    Attributes:
        valid: the rule of validity, to go on from.
        left_out: valid ones of the deployment that rules decided, or another model, or without complete histories.
    """

    def __init__(self, deployment: str, standings: dict[int, Standing] | None = None) -> None:
        self.valid = ValidViews({} if standings is None else standings)
        self.left_out = 0
        self._deployment = deployment

    def of(self, records: Iterable[ViewedRecord]) -> Iterator[tuple[int, ScoreView]]:
        """Yield the scores among the next records of a partition, each with its record's timestamp."""
        for record, score in self.valid.of(records):
            if score.is_of(self._deployment):
                if is_watched(score):
                    yield record.timestamp, score
                else:
                    self.left_out += 1

"""What a status or a comparison of deployments says of a decision."""

from fraudstream_client.outputs import DecidedBy, Decision
from models.let_through import LET_THROUGH
from stream.readers import ScoreView
from stream.scoring.encode import HISTORY_YOUNG


def compared(view: ScoreView) -> Decision:
    """Return the decision before a lot let the payment through: a silent deployment draws no lots."""
    if view.overruled is not None and view.overruled.by == LET_THROUGH:
        return view.overruled.decision
    return view.decision


def faults_of(view: ScoreView) -> tuple[str, ...]:
    """Return what was missing for the decision; a history that is young as the deployment is lacks nothing."""
    stood_in = () if view.decided_by is DecidedBy.MODEL else (f"decided by {view.decided_by}",)
    return (*(entry for entry in view.degraded if entry != HISTORY_YOUNG), *stood_in)

"""Run with the Python of an environment that has strikeone: its figures of exported scores, as JSON.

It imports nothing of ours. Arguments: the CSV, the share of an amount that a wrong decline costs in units of 0.01 %,
and the budgets of alerts a day.
"""

import json
import sys

import strikeone
from strikeone import episodes, metrics

_WHOLE_BP = 10_000
_APPROVE, _BLOCK = 0, 2


def figures(path: str, decline_share_bp: int, budgets: list[int]) -> dict[str, float]:
    """Return the figures by the names that we give them."""
    raw = strikeone.read_source(path)
    columns = {
        "transaction_id": "payment",
        "timestamp": "second",
        "amount": "amount_minor",
        "entity": "card",
        "label": "fraud",
        "score": "score",
    }
    frame = strikeone.apply_mapping(raw, strikeone.Mapping(columns=columns))
    fraud, score = raw["fraud"].to_numpy(), raw["score"].to_numpy()
    roles = episodes.episode_roles(raw["card"], raw["second"], fraud, tiebreak=raw["payment"])
    costs = metrics.CostParams(m=decline_share_bp / _WHOLE_BP, a=0.0, e=1.0, c_h=0.0)
    actions = raw["declined"].to_numpy() * (_BLOCK - _APPROVE) + _APPROVE
    found: dict[str, float] = {"savings of declines": metrics.savings(fraud, actions, raw["amount_minor"], costs)}
    for budget in budgets:
        audit = strikeone.audit(frame, capacity_per_day=budget)
        (stated,) = (one for one in audit.budgets if one["per_day"] == budget)
        alerted = raw[f"alert_{budget}"].to_numpy().astype(bool)
        found |= {
            "cases: cards with fraud": float(audit.stats["episodes"]),
            "average precision": audit.headline["ap"],
            "ROC AUC": audit.headline["roc_auc"],
            f"first-hit recall, {budget} a day": episodes.friction_accounting(roles, alerted).first_strike_recall,
            f"first-hit recall, {budget} a day in the mean": stated["fs_recall"],
            f"recall, {budget} a day in the mean": stated["headline_recall"],
            f"precision, {budget} a day in the mean": stated["precision"],
            f"card precision, {budget} a day": metrics.card_precision_at_k(
                raw["day"], raw["card"], fraud, score, budget
            ),
        }
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(figures(sys.argv[1], int(sys.argv[2]), [int(one) for one in sys.argv[3:]])))

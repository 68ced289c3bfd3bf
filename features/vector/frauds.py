"""Known frauds in a history, and their share in a window. A label counts from the time at which it is known."""

import numpy as np

from features.history import records
from features.history.frames import Flags, Floats, Frame, Window
from features.history.store import Ints

SIEVE = 1 << 16
"""Size of a pre-filter: few ids share their lowest bits with a fraud's, so the others need no search."""


def fraud_share(window: Window, frauds: Flags) -> Floats:
    """Divide the known frauds of a window by its transactions.

    Formula: |{i : the latest label of i that is known at t says fraud}| / |window|.
    Edges: an unlabelled transaction counts as genuine; 0 if the window is empty. Of labels known at the same time the
        one of the later offset counts.
    Source: the terminal risk of Le Borgne et al., Fraud Detection Handbook, ULB (2022), Baseline feature
        transformation.
    """
    share: Floats = window.counted(window.inside & frauds) / np.maximum(window.count, 1)
    return share


def known_frauds(frame: Frame) -> Flags:
    """Mark the transactions whose latest label at the own time says fraud."""
    marked, verdicts = np.zeros(len(frame.age), np.bool_), fraud_verdicts(frame)
    if not len(verdicts):
        return marked
    keys = frame.keyed(frame.others[verdicts], frame.number[verdicts])
    sieve = np.zeros(SIEVE, np.bool_)
    sieve[frame.others[verdicts] & (SIEVE - 1)] = True
    candidates = np.flatnonzero(frame.earlier & sieve[frame.ids & (SIEVE - 1)])
    wanted = frame.keyed(frame.ids[candidates], frame.number[candidates])
    nearest = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    marked[candidates[keys[nearest] == wanted]] = True
    return marked


def fraud_verdicts(frame: Frame) -> Ints:
    """Return the rows of the labels that say fraud and are the latest about their transaction at the own time.

    Of labels known at the same time the later offset wins. The rows are in the order of their transactions' keys.
    """
    said = np.flatnonzero(frame.labels & (frame.age >= 0))
    if not len(said):
        return said
    about = frame.keyed(frame.others[said], frame.number[said])
    order = records.label_order(frame.rows[said])
    order = order[np.argsort(about[order], kind="stable")]
    about, said = about[order], said[order]
    latest = np.append(about[1:] != about[:-1], True)
    verdicts: Ints = said[latest & ((frame.flags[said] & records.FRAUD_BIT) != 0)]
    return verdicts

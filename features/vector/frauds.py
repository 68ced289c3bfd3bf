"""Known frauds in a history, and their share in a window. A label counts from the time at which it is known."""

import numpy as np

from features.declaration import DAY_MS
from features.history import records
from features.history.frames import NEVER_MS, Flags, Floats, Frame, Window
from features.history.store import Ints

LATEST = 5
"""So many latest transactions are looked at by `fraud_share_of_last_5`."""
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


def fraud_run(window: Window, frauds: Flags) -> Floats:
    """Count the known frauds that came after the latest other that is none.

    Formula: |{i : i is a known fraud, t(i) > t(g)}|, where g is the latest other of the window that is no known fraud.
    Edges: an unlabelled transaction counts as genuine, as in `fraud_share`; 0 if the window is empty, all if each is a
        known fraud. Of one millisecond the genuine ones are the latest.
    Source: a compromised terminal, in scenario 2 of Le Borgne et al., Fraud Detection Handbook, ULB (2022), Transaction
        data simulator: from one payment on nearly all are fraud.
    """
    age, known = window.frame.age, window.others & frauds
    genuine = np.where(window.others & ~known, age, NEVER_MS)
    latest = np.minimum.reduceat(genuine, window.frame.starts)
    return window.counted(known & (age < window.frame.spread_out(latest))).astype(np.float64)


def fraud_latest(window: Window, frauds: Flags) -> Floats:
    """Tell whether the latest of the others is a known fraud.

    Formula: 1 if `fraud_run` > 0, else 0.
    Edges: undefined if there is no other; otherwise as `fraud_run`.
    Source: as `fraud_run`.
    """
    latest = (fraud_run(window, frauds) > 0).astype(np.float64)
    latest[window.counted(window.others) == 0] = np.nan
    return latest


def fraud_share_of_last_5(window: Window, frauds: Flags) -> Floats:
    """Divide the known frauds among the five latest of the others by their number.

    Formula: |{i : i is a known fraud}| / |L|, over the at most five latest others L of the window.
    Edges: undefined if there is no other; an unlabelled transaction counts as genuine. Of one millisecond the genuine
        ones are the latest.
    Source: as `fraud_run`; the share of few is that of a change of late, where `fraud_share` has that of a time.
    """
    frame, others = window.frame, window.others
    counts, places = window.counted(others), np.flatnonzero(others)
    keys = 2 * frame.age[places] + frauds[places]
    if len(counts) == 1:  # a long history is alone in its frame, and takes too long to sort
        latest = np.partition(keys, LATEST - 1)[:LATEST] if len(keys) > LATEST else keys
        found = np.array([np.count_nonzero(latest & 1)])
    else:
        number = frame.number[places]
        order = np.lexsort((keys, number))
        rank = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        found = np.bincount(number[order], (keys[order] & 1) * (rank < LATEST), len(counts))
    below = np.minimum(counts, LATEST).astype(np.float64)
    below[counts == 0] = np.nan
    share: Floats = found / below
    return share


def days_since_first_fraud(window: Window, frauds: Flags) -> Floats:
    """Return the days since the first known fraud of the window.

    Formula: max(t - t(i)) / 86400000, over the known frauds i among the others of the window.
    Edges: undefined if there is none.
    Source: as `fraud_run`; there a terminal is compromised for 28 days, so that the days tell when it ends.
    """
    ages = np.where(window.others & frauds, window.frame.age, -1)
    first = np.maximum.reduceat(ages, window.frame.starts)
    return np.where(first < 0, np.nan, first / DAY_MS)


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

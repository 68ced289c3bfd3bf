"""Long histories, whose rows the transactions of a batch share: the same bits as from copies, and from a recount."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from features.declaration import SLACK_MS, FeatureSet, load
from features.history import append, frames, records
from features.history.append import fitting
from features.history.displaced import ALL_DISPLACED, NONE_DISPLACED, Displaced
from features.history.frames import Frame
from features.history.history import History
from features.history.retention import UNCOMPACTED_MS
from features.history.store import Entity, Ints, Label, LongHistory
from features.memory_store import MemoryStore
from features.rows import card, device, merchant
from features.vector import vectorise as vectorise_module
from features.vector.sets import FeatureSets, Vectors
from features.vector.vectorise import vectorise
from features.vector.window_kernel import WindowKernel
from support.examples import examples
from support.features.paned_sets import FINER, HOURLY
from support.features.recount import everything, label, transaction, transactions
from support.features.streams import START_MS, Stream, dense_streams, journeys, outcomes, recounted, streams

EVERYTHING = everything()
DEFAULT = load("features.default_set_2")
SHORTER = FeatureSet(
    (card("count", "1d"), card("seconds_since_last"), merchant("amount_mean", "7d"), device("count", "1h"))
)
WIDER = FeatureSet((*DEFAULT.rows, merchant("seconds_since_last"), merchant("cards", "30d"), device("count", "30d")))
SETS = FeatureSets((SHORTER, WIDER))
"""Horizons that the streams reach exactly, and shorter ones beside them."""
LIMIT = append.NO_LIMIT - 1
"""A store without a limit shares nothing."""
LEAST = ((1, True), (3, True), (1, False), (3, False))
"""All histories are long, or those of three rows; and the kernel computes them, or numpy."""
ANY_STREAM = st.one_of(streams, journeys, dense_streams)
BELOW = Displaced({records.source(0, of_labels=of_labels): 20 for of_labels in (False, True)})

after_ms = vectorise_module._after_ms


@pytest.fixture(params=LEAST, ids=lambda param: f"{param[0]} {'kernel' if param[1] else 'numpy'}")
def least(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, by_the_kernel = request.param
    monkeypatch.setattr(append, "LONG", rows)
    monkeypatch.setattr(frames, "MANY", 0)
    if not by_the_kernel:
        monkeypatch.setattr(vectorise_module, "KERNEL", None)


@pytest.mark.usefixtures("least")
@pytest.mark.parametrize("feature_set", [EVERYTHING, HOURLY, FINER], ids=["exact", "hourly panes", "finer panes"])
def test_every_feature_of_a_long_history_equals_a_recount(feature_set: FeatureSet) -> None:
    exact_for_ms = SLACK_MS if feature_set is EVERYTHING else UNCOMPACTED_MS

    @given(stream=ANY_STREAM)
    @settings(max_examples=examples(60), deadline=None)
    def equal(stream: list) -> None:
        of = Stream(stream, exact_for_ms)
        store = MemoryStore(feature_set, most_bytes=LIMIT)
        assert asyncio.run(outcomes(of, feature_set, lambda: store)) == recounted(of, feature_set)

    equal()


def vectors_of(stream: Stream, displaced: Displaced, most_bytes: int) -> list[bytes]:
    """Return the vectors of both sets, batch by batch."""
    store = MemoryStore(SETS, most_bytes=most_bytes)
    store._displaced = displaced
    found = []
    for part in stream.parts:
        if isinstance(part, Label):
            store.label_now([part])
        elif part is None:
            asyncio.run(store.compact())
        else:
            batch = transactions(part)
            observed = store.observe_now(batch)
            matrices = Vectors(SETS, batch, observed, np.ones(len(batch), np.bool_)).all()
            found += [matrix.tobytes() for matrix in matrices.values()]
    return found


@pytest.mark.usefixtures("least")
@pytest.mark.parametrize("displaced", [NONE_DISPLACED, BELOW, ALL_DISPLACED], ids=["none", "some", "all"])
def test_a_shared_history_gives_the_same_bits_as_copies_for_several_sets_and_displaced_records(
    displaced: Displaced,
) -> None:
    @given(stream=ANY_STREAM)
    @settings(max_examples=examples(60), deadline=None)
    def equal(stream: list) -> None:
        copied = vectors_of(Stream(stream), displaced, append.NO_LIMIT)
        assert vectors_of(Stream(stream), displaced, LIMIT) == copied

    equal()


@pytest.mark.parametrize("kernel", [vectorise_module.KERNEL, None], ids=["kernel", "numpy"])
def test_a_merchant_of_many_records_gives_the_same_bits_as_copies(
    kernel: WindowKernel | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append, "LONG", 250)
    monkeypatch.setattr(frames, "MANY", 500)
    monkeypatch.setattr(vectorise_module, "KERNEL", kernel)
    rng = np.random.default_rng(7)
    rows = [
        transaction(
            number,
            card=f"c{rng.integers(200)}",
            merchant="hot" if rng.random() < 0.9 else "m",
            ms=START_MS + number * 4_800_000 - int(rng.integers(0, 10**9)),
            amount=int(rng.integers(0, 10**12)),
            exponent=int(rng.choice((0, 2, 2, 2, 4))),
            device=f"phone-{rng.integers(3)}",
        )
        for number in range(1_000)
    ]
    found = []
    for limit in (append.NO_LIMIT, LIMIT):
        store = MemoryStore(EVERYTHING, most_bytes=limit)
        for first in range(0, len(rows), 250):
            batch = transactions(rows[first : first + 250])
            observed = store.observe_now(batch)
            found.append(vectorise(EVERYTHING, batch, observed).tobytes())
            about = rows[first : first + 250 : 5]
            store.label_now(
                [
                    label(first + at, row, fraud=at % 3 == 0, at_ms=row["ms"] + at * 10**7)
                    for at, row in enumerate(about)
                ]
            )
        assert bool(observed.merchants.long) == (limit == LIMIT)
    assert found[: len(found) // 2] == found[len(found) // 2 :]


def hot(count: int, first: int = 0) -> list:
    return [transaction(first + i, card=f"c{first + i}", ms=START_MS + first + i) for i in range(count)]


def test_what_is_appended_labelled_and_compacted_later_does_not_change_what_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(append, "LONG", 1)
    store = MemoryStore(DEFAULT, most_bytes=LIMIT)
    rows = hot(7)
    batch = transactions(rows)
    seen = store.observe_now(batch)
    kept = replace(
        seen,
        histories={
            kind: replace(one, long=[replace(each, rows=each.rows.copy()) for each in one.long])
            for kind, one in seen.histories.items()
        },
    )
    store.label_now([label(i, row, fraud=True, at_ms=row["ms"]) for i, row in enumerate(rows)])
    far = [transaction(100 + i, card="c0", ms=START_MS + 10**11 + i) for i in range(40)]
    store.observe_now(transactions(far))
    asyncio.run(store.compact())
    assert vectorise(DEFAULT, batch, seen).tobytes() == vectorise(DEFAULT, batch, kept).tobytes()


def history(length: int) -> History:
    found = History(1, "m", 6)
    found.replace(0, np.zeros((length, 6), np.int64))
    return found


@pytest.mark.parametrize(
    ("length", "kibibytes", "fit"),
    [
        (8_191 - 100, 380 * 20, 20),  # each counts all of a short one
        (16_000, 749, 1),
        (16_000, 750 + 47 * 9, 10),  # a sixteenth of a long one for each but the first
        (16_000, 750 + 47 * 100, 100),
    ],
)
def test_a_batch_counts_a_long_history_once_and_a_sixteenth_for_each_further_transaction(
    length: int, kibibytes: int, fit: int
) -> None:
    shared: Sequence[History] = [history(length)] * 512
    assert fitting({Entity.MERCHANT: shared}, kibibytes * 1024) == pytest.approx(fit, abs=max(1, fit // 50))
    assert fitting({Entity.MERCHANT: [history(length) for _ in range(30)]}, 30 * length * 48) in (29, 30)


def seen_a_millisecond_longer(long: LongHistory, columns: object) -> Ints:
    return after_ms(long, columns) - 1  # type: ignore[arg-type]


def everything_is_seen(frame: Frame, _expired: object) -> None:
    """Hide no expired record."""


BUGS = {
    "the horizon shows too much": (vectorise_module, "_after_ms", seen_a_millisecond_longer),
    "expired records are seen": (Frame, "_hide", everything_is_seen),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "LONG", 1)
    monkeypatch.setattr(vectorise_module, "KERNEL", None)
    monkeypatch.setattr(*BUGS[bug])

    @given(stream=st.one_of(streams, dense_streams), displaced=st.sampled_from((NONE_DISPLACED, BELOW, ALL_DISPLACED)))
    @settings(max_examples=400, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    def equal(stream: list, displaced: Displaced) -> None:
        copied = vectors_of(Stream(stream), displaced, append.NO_LIMIT)
        assert vectors_of(Stream(stream), displaced, LIMIT) == copied

    with pytest.raises(AssertionError):
        equal()

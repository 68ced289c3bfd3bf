"""Streams of acts that once were not explained, too long to stand beside their tests."""

from support.rescoring.faults import DAY_MS, Act

PAY = Act("pay", 0, 0, None, 0, 0, 0, fraud=False, partitions=(0, 1, 2))
DISPLACED_BESIDE_A_PAYMENT_ON_TWO_PARTITIONS = [
    PAY._replace(fraud=True, partitions=(0, 2, 1)),
    PAY,
    PAY._replace(fraud=True, partitions=(0, 2, 1)),
    PAY._replace(what="away", pause_ms=7 * DAY_MS, partitions=(0, 2, 1)),
    PAY._replace(what="again", partitions=(2, 0, 1)),
    PAY._replace(what="lose", card=3, device=1, pause_ms=20 * DAY_MS, late_ms=1, fraud=True, partitions=(1, 0, 2)),
    PAY._replace(
        what="conflict", card=1, merchant=1, device=0, pause_ms=60000, back=2, fraud=True, partitions=(2, 1, 0)
    ),
    PAY._replace(
        card=2, merchant=1, device=1, pause_ms=DAY_MS, late_ms=38 * DAY_MS, back=4, fraud=True, partitions=(1, 2, 0)
    ),
    PAY._replace(what="decide elsewhere", card=1, pause_ms=7 * DAY_MS, back=4, partitions=(1, 2, 0)),
    PAY._replace(card=1, merchant=1, late_ms=38 * DAY_MS, back=2, fraud=True),
    PAY._replace(card=2, device=0, late_ms=DAY_MS, back=4, fraud=True, partitions=(2, 1, 0)),
    PAY._replace(card=1, merchant=1, device=1, late_ms=DAY_MS, back=1, partitions=(0, 2, 1)),
    PAY._replace(device=1, pause_ms=1, back=3, partitions=(1, 2, 0)),
    PAY._replace(what="decide elsewhere", device=0, pause_ms=7 * DAY_MS, back=2, partitions=(1, 0, 2)),
    PAY._replace(
        what="conflict",
        card=3,
        merchant=1,
        device=1,
        pause_ms=7 * DAY_MS,
        late_ms=DAY_MS,
        fraud=True,
        partitions=(0, 2, 1),
    ),
    PAY._replace(card=1, merchant=1, pause_ms=7 * DAY_MS, late_ms=DAY_MS, partitions=(1, 2, 0)),
    PAY._replace(what="again", card=1, pause_ms=7 * DAY_MS, late_ms=38 * DAY_MS, back=1, partitions=(0, 2, 1)),
    PAY._replace(card=2, merchant=1, device=1, pause_ms=1, late_ms=38 * DAY_MS, partitions=(0, 2, 1)),
    PAY._replace(merchant=1, pause_ms=DAY_MS, back=3, fraud=True, partitions=(1, 2, 0)),
    PAY._replace(card=2, merchant=1, late_ms=1),
    PAY._replace(device=1, pause_ms=7 * DAY_MS, back=1, partitions=(2, 1, 0)),
    PAY._replace(card=3, merchant=1, device=1, pause_ms=DAY_MS, back=2, partitions=(1, 2, 0)),
    PAY._replace(
        card=3, merchant=1, device=0, pause_ms=7 * DAY_MS, late_ms=DAY_MS, back=2, fraud=True, partitions=(1, 0, 2)
    ),
    PAY._replace(merchant=1, device=1, pause_ms=20 * DAY_MS, back=1, partitions=(1, 0, 2)),
    PAY._replace(card=3, merchant=1, device=0, back=4, partitions=(2, 1, 0)),
    PAY._replace(card=2, pause_ms=DAY_MS, late_ms=DAY_MS, back=4, fraud=True, partitions=(2, 0, 1)),
    PAY._replace(card=1, merchant=1, device=0, pause_ms=1, back=1, fraud=True, partitions=(1, 0, 2)),
    PAY._replace(card=2, merchant=1, pause_ms=20 * DAY_MS, late_ms=38 * DAY_MS, back=4, partitions=(2, 1, 0)),
    PAY._replace(what="decide", card=1, device=1, late_ms=1, back=1, fraud=True, partitions=(2, 0, 1)),
    PAY._replace(merchant=1, device=1, pause_ms=60000, back=2, fraud=True, partitions=(0, 2, 1)),
    PAY._replace(card=2, device=1, pause_ms=20 * DAY_MS, fraud=True, partitions=(0, 2, 1)),
    PAY._replace(card=1, pause_ms=7 * DAY_MS, fraud=True, partitions=(0, 2, 1)),
    PAY._replace(what="repair", merchant=1, pause_ms=1, late_ms=1, back=3, partitions=(2, 1, 0)),
]
"""A displaced decision saw a payment of its own batch, and in its window one whose place a repair had taken away."""
APPENDED_LONG_BEFORE_ITS_DECISION = [
    PAY._replace(merchant=1, partitions=(0, 2, 1)),
    PAY._replace(what="lose", pause_ms=DAY_MS, fraud=True),
    PAY._replace(card=2, merchant=1, pause_ms=60000, late_ms=38 * DAY_MS, partitions=(0, 2, 1)),
    PAY._replace(what="crash", back=2),
    PAY._replace(what="repair"),
    PAY._replace(what="decide elsewhere", card=3, device=1, pause_ms=60000, back=3, partitions=(0, 2, 1)),
    PAY._replace(what="decide elsewhere", card=2, device=0, pause_ms=DAY_MS, back=1, fraud=True, partitions=(2, 0, 1)),
]
"""A repair displaces a payment, and finds one that a worker had appended before it ended, decided only a day later."""

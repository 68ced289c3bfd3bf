"""What is decided, for people who watch: a line for each payment that is not approved, and one for every ten seconds.

It reads the topic of scores as any consumer would, by the rule that says which count. Nothing here decides.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence

import click
import numpy as np
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord

from stream.consumer import ValidScores
from stream.contract.iso import CURRENCY_DECIMALS
from stream.contract.outputs import Score
from stream.kafka.client import connection_options
from stream.kafka.topics import SCORES
from stream.settings import Settings, read_settings

SECONDS = 10.0


async def watch(settings: Settings) -> None:
    """Say what is decided from now on, until the process ends."""
    consumer = AIOKafkaConsumer(settings.topic(SCORES.name), **connection_options(settings))
    await consumer.start()
    try:
        valid: ValidScores[ConsumerRecord[bytes, bytes]] = ValidScores()
        seen: list[Score] = []
        quiet = False
        loop = asyncio.get_running_loop()
        due = loop.time() + SECONDS
        while True:
            batches = await consumer.getmany(timeout_ms=500)
            new = [score for _, score in valid.of(record for batch in batches.values() for record in batch)]
            for score in new:
                if score.decision != "approve":
                    click.echo(one(score))
            seen += new
            if loop.time() >= due:
                due += SECONDS
                if seen or not quiet:
                    click.echo(several(seen, valid.void))
                quiet = not seen
                seen = []
    finally:
        await consumer.stop()


def one(score: Score) -> str:
    """Write one decision."""
    model = f"{score.model.name} {score.model.digest[:8]}" if score.model else score.decided_by
    decimals = CURRENCY_DECIMALS.get(score.currency, 2)
    amount = f"{score.amount_minor / 10**decimals:,.{decimals}f} {score.currency}"
    return f"{score.decision:8} {score.transaction_id} {amount:>14} band {score.band} by {model}"


def several(scores: Sequence[Score], void: int) -> str:
    """Sum up the decisions of the last seconds."""
    if not scores:
        return f"{SECONDS:.0f} s: nothing was decided"
    counts = Counter(score.decision for score in scores)
    kinds = ", ".join(f"{count} {decision}" for decision, count in counts.most_common())
    half, most = np.percentile([score.latency_ms for score in scores], [50, 99])
    return f"{SECONDS:.0f} s: {len(scores)} decided ({kinds}); latency {half:.0f} ms, p99 {most:.0f} ms; {void} void"


if __name__ == "__main__":
    asyncio.run(watch(read_settings(os.environ)))

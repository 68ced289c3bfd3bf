"""Prints a line for each decision other than approve, and a summary of all decisions every ten seconds.

It reads the scores topic as any consumer would, and skips void scores by the rule of `ValidScores`.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence

import click
import numpy as np
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord

from fraudstream_client.outputs import Score
from fraudstream_client.validity import ValidScores
from stream.contract.iso import CURRENCY_DECIMALS
from stream.kafka.client import connection_options
from stream.kafka.topics import SCORES
from stream.settings import Settings, read_settings

SUMMARY_SECONDS = 10.0


async def watch(settings: Settings) -> None:
    """Print decisions made from now on, until the process ends."""
    consumer = AIOKafkaConsumer(settings.topic(SCORES.name), **connection_options(settings))
    await consumer.start()
    try:
        valid: ValidScores[ConsumerRecord[bytes, bytes]] = ValidScores()
        pending: list[Score] = []
        was_idle = False
        loop = asyncio.get_running_loop()
        due = loop.time() + SUMMARY_SECONDS
        while True:
            batches = await consumer.getmany(timeout_ms=500)
            new = [score for _, score in valid.of(record for batch in batches.values() for record in batch)]
            for score in new:
                if score.decision != "approve":
                    click.echo(decision_line(score))
            pending += new
            if loop.time() >= due:
                due += SUMMARY_SECONDS
                if pending or not was_idle:
                    click.echo(summary_line(pending, valid.void))
                was_idle = not pending
                pending = []
    finally:
        await consumer.stop()


def decision_line(score: Score) -> str:
    """Return the line for one decision."""
    model = f"{score.model.name} {score.model.digest[:8]}" if score.model else score.decided_by
    decimals = CURRENCY_DECIMALS.get(score.currency, 2)
    amount = f"{score.amount_minor / 10**decimals:,.{decimals}f} {score.currency}"
    return f"{score.decision:8} {score.transaction_id} {amount:>14} band {score.band} by {model}"


def summary_line(scores: Sequence[Score], void: int) -> str:
    """Return the summary of the last seconds' decisions."""
    if not scores:
        return f"{SUMMARY_SECONDS:.0f} s: nothing was decided"
    counts = Counter(score.decision for score in scores)
    kinds = ", ".join(f"{count} {decision}" for decision, count in counts.most_common())
    half, most = np.percentile([score.latency_ms for score in scores], [50, 99])
    latency = f"latency {half:.0f} ms, p99 {most:.0f} ms"
    return f"{SUMMARY_SECONDS:.0f} s: {len(scores)} decided ({kinds}); {latency}; {void} void"


if __name__ == "__main__":
    asyncio.run(watch(read_settings(os.environ)))

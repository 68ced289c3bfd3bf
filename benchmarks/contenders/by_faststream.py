"""FastStream as its documentation teaches: a batch subscriber whose results are published; on aiokafka or confluent."""

import asyncio
import sys
from typing import Any

from redis.asyncio import Redis

from benchmarks.contenders.scorers import Payment, open_scorer
from benchmarks.contenders.task import read_task

MOST = 256


async def _as_it_came(message: Any) -> object:  # noqa: ANN401 - FastStream's message
    """Return the body without decoding it: the features do that."""
    return message.body


async def main(client_library: str) -> None:
    """Run until the process is ended."""
    from faststream import AckPolicy, FastStream  # noqa: PLC0415 - beside the broker that is asked for

    if client_library == "confluent":
        from faststream.confluent import KafkaBroker  # noqa: PLC0415
        from faststream.confluent.annotations import KafkaMessage  # noqa: PLC0415
    else:
        from faststream.kafka import KafkaBroker  # noqa: PLC0415
        from faststream.kafka.annotations import KafkaMessage  # noqa: PLC0415

    task = read_task()
    scorer, client, broker = open_scorer(task), Redis.from_url(task.redis_url), KafkaBroker(task.brokers, logger=None)
    waits = {"polling_interval": 0.005} if client_library == "confluent" else {"batch_timeout_ms": 5}

    async def decide(values: list[bytes], message: KafkaMessage) -> None:
        keys = [raw.key() if callable(raw.key) else raw.key for raw in message.raw_message]
        pipeline = client.pipeline(transaction=False)
        asked = scorer.ask(pipeline, list(map(Payment, keys, values)))
        scores = scorer.answer(asked, await pipeline.execute())
        sending = (broker.publish(score, task.outputs, key=key) for key, score in zip(keys, scores, strict=True))
        await asyncio.gather(*sending)

    broker.subscriber(
        task.inputs,
        group_id=task.group,
        auto_offset_reset="earliest",
        batch=True,
        max_records=MOST,
        fetch_max_wait_ms=5,
        ack_policy=AckPolicy.ACK,
        decoder=_as_it_came,
        **waits,
    )(decide)
    await FastStream(broker).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

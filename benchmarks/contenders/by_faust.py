"""Faust as its documentation teaches: an agent over a stream, that sends each result to another topic.

Without `take`: it was measured to change nothing here, and loses events where an agent raises.
"""

import tempfile

import faust
from redis.asyncio import Redis

from benchmarks.contenders.scorers import Payment, open_scorer
from benchmarks.contenders.task import read_task

TASK = read_task()
app = faust.App(
    TASK.group,
    broker=f"kafka://{TASK.brokers}",
    value_serializer="raw",
    key_serializer="raw",
    topic_disable_leader=True,
    topic_allow_declare=False,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
    stream_wait_empty=False,
    datadir=tempfile.mkdtemp(prefix="contender-faust-"),
)
payments = app.topic(TASK.inputs, value_type=bytes, key_type=bytes)
scores = app.topic(TASK.outputs, value_type=bytes, key_type=bytes)
scorer = open_scorer(TASK)
client = Redis.from_url(TASK.redis_url)


@app.agent(payments)
async def decide(stream: faust.StreamT[bytes]) -> None:
    """Score each payment."""
    async for key, value in stream.items():
        pipeline = client.pipeline(transaction=False)
        asked = scorer.ask(pipeline, [Payment(key, value)])
        (score,) = scorer.answer(asked, await pipeline.execute())
        await scores.send(key=key, value=score)


if __name__ == "__main__":
    app.main()

"""Quix Streams as its documentation teaches: a streaming data frame whose rows are scored and written to a topic."""

import tempfile

from quixstreams import Application
from redis import Redis

from benchmarks.contenders.scorers import Payment, open_scorer
from benchmarks.contenders.task import read_task


def main() -> None:
    """Run until the process is ended."""
    task = read_task()
    scorer, client = open_scorer(task), Redis.from_url(task.redis_url)

    def decide(value: bytes, key: bytes, _timestamp: int, _headers: object) -> bytes:
        pipeline = client.pipeline(transaction=False)
        asked = scorer.ask(pipeline, [Payment(key, value)])
        (score,) = scorer.answer(asked, pipeline.execute())
        return score

    app = Application(
        broker_address=task.brokers,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="WARNING",
        state_dir=tempfile.mkdtemp(prefix="contender-quix-"),
        consumer_extra_config={"fetch.wait.max.ms": 5},
        producer_extra_config={"linger.ms": 1},
    )
    inputs = app.topic(task.inputs, key_deserializer="bytes", value_deserializer="bytes")
    outputs = app.topic(task.outputs, key_serializer="bytes", value_serializer="bytes")
    frame = app.dataframe(inputs)
    frame = frame.apply(decide, metadata=True)
    frame.to_topic(outputs)
    app.run()


if __name__ == "__main__":
    main()

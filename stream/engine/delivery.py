"""Puts a batch into the queues of the agents that read its topic, in the form that Faust's streams expect."""

from collections.abc import Iterable

from faust.events import Event
from faust.transport.conductor import Conductor
from faust.types import TP, AppT, ChannelT, ConsumerMessage

from stream.engine.batches import Batch


def give_to_agents(app: AppT, batch: Batch) -> None:
    """Put a batch into the queues of its topic's agents: one each, since a lane polls only after its last batch."""
    event = Event(app, None, batch, None, _envelope(batch))
    for channel in _channels(app, TP(batch.topic, next(iter(batch.records)))):
        channel.queue.put_nowait_enhanced(event, on_pressure_high=_ignore, on_pressure_drop=_ignore)


def _channels(app: AppT, tp: TP) -> Iterable[ChannelT[Batch]]:
    """Return the channels of the agents that read this topic."""
    conductor = app.topics
    assert isinstance(conductor, Conductor)  # noqa: S101 - a wiring error, not an input
    return conductor._tp_index[tp]  # noqa: SLF001 - there is no public access


def _envelope(batch: Batch) -> ConsumerMessage:
    """Return the message that Faust's stream expects around a batch; only its generation is used."""
    partition, records = next(iter(batch.records.items()))
    message = ConsumerMessage(
        batch.topic,
        partition,
        records[-1].offset,
        records[-1].timestamp / 1000.0,
        records[-1].timestamp_type,
        None,
        None,
        None,
        None,
        0,
        0,
        TP(batch.topic, partition),
        generation_id=batch.generation,
    )
    message.incref(1)
    return message


def _ignore() -> None:
    """Ignore Faust's pressure marks: a topic is polled only when its queue is empty."""

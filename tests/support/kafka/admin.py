"""What other tooling does: records removed, topics deleted and made anew, settings changed, offsets moved."""

import time
from collections.abc import Mapping
from contextlib import suppress

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

_SECONDS = 30.0
_BRIEF_SECONDS = 3.0


def remove_before(brokers: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Remove the records before these offsets, by partition, as retention does."""
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    admin = AdminClient({"bootstrap.servers": brokers})  # it must live until the results are there
    for done in admin.delete_records(wanted).values():
        done.result(_SECONDS)


def set_on_topic(brokers: str, topic: str, seconds: float = _SECONDS, **settings: str) -> None:
    """Set a topic's settings within some seconds; underscores in their names stand for dots."""
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    for name, value in settings.items():
        entry = ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        resource.add_incremental_config(entry)
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(seconds)


def delete_topics(brokers: str, prefix: str) -> None:
    """Delete the topics that begin with a prefix, if brokers answer; return before their files are gone."""
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    try:
        found = [topic for topic in admin.list_topics(timeout=_BRIEF_SECONDS).topics if topic.startswith(prefix)]
    except KafkaException:
        return  # the test has stopped them
    for deleted in (admin.delete_topics(found) if found else {}).values():
        with suppress(KafkaException):  # the test has deleted it itself
            deleted.result(_SECONDS)


def make_anew(brokers: str, topic: str, partitions: int) -> None:
    """Delete a topic, and make it again under its name."""
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.delete_topics([topic])[topic].result(_SECONDS)
    deadline = time.monotonic() + _SECONDS
    while True:  # the brokers remove it in the background
        try:
            admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(_SECONDS)
        except KafkaException:
            assert time.monotonic() < deadline, f"{topic} cannot be made anew"
            time.sleep(0.1)
        else:
            return


def move_offsets(brokers: str, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Move the committed offsets of a group without members, as `kafka-consumer-groups --reset-offsets` does."""
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    admin = AdminClient({"bootstrap.servers": brokers})
    request = [ConsumerGroupTopicPartitions(group, wanted)]
    for done in admin.alter_consumer_group_offsets(request).values():
        done.result(_SECONDS)

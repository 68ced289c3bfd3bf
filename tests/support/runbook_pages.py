"""The pages of the runbooks, and the commands that stand in them."""

from support.page_blocks import console_lines
from support.paths import HOUSE

OPERATE = HOUSE / "docs/how-to/operate"
PROCEDURES = {"add-partitions.md", "downgrade.md", "move-redis.md", "restore-after-a-loss.md"}
JAVA_TOOLS = {
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-get-offsets.sh": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-log-dirs.sh": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-transactions.sh": "org.apache.kafka.tools.TransactionsCommand",
}
TOOLS = {"fraudstream", "curl", "grep", "redis-cli", *JAVA_TOOLS}


def console_commands(page: str) -> list[str]:
    """Return the commands of a page of `docs/how-to/operate`, in their order, each in one line."""
    return [line[2:] for line in console_lines((OPERATE / page).read_text()) if line.startswith("$ ")]

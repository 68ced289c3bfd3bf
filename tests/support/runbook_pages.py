"""The pages of the runbooks, and the commands that stand in them."""

import re

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
    text = (OPERATE / page).read_text()
    found = []
    for indent, block in re.findall(r"^( *)```console\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        lines = re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)
        found += re.findall(r"^\$ (.+)$", re.sub(r"\\\n\s*", "", lines), re.MULTILINE)
    return found

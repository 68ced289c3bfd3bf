"""The page of common mistakes shows what is printed beside real servers: the mistakes that need Kafka and Redis."""

from pathlib import Path

import pytest

from support.kafka.cluster import Cluster
from support.mistakes.making import make
from support.mistakes.mistake import Answer, Mistake, Stage
from support.mistakes.page import ALL, HINT, recorded
from support.mistakes.servers import Servers, servers

WITH_SERVERS = [one for one in ALL if one.stage is not Stage.NO_SERVER]


@pytest.mark.acceptance
def test_every_mistake_beside_servers_ends_as_the_page_says(
    kafka: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    if kafka.kind == "embedded":
        pytest.skip("the page shows the messages of Apache Kafka")
    with servers(kafka, redis_url, topic_prefix, tmp_path) as places:
        answers = {one.title: made(one, places, tmp_path) for one in WITH_SERVERS}
    for mistake in WITH_SERVERS:
        assert answers[mistake.title] == recorded(mistake), HINT


def made(mistake: Mistake, places: Servers, folder: Path) -> Answer:
    (here := folder / mistake.title).mkdir()
    return make(mistake, places.place(mistake.stage, here))

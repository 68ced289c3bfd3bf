"""The estate is the declared name, or the id of the cluster."""

from typing import Any

import pytest

from models.signing import SealScope
from stream.control.estate import Estate
from stream.settings import Settings


class Admin:
    """A broker that answers with an id; a new one has none."""

    def __init__(self, cluster_id: str | None) -> None:
        self.cluster_id = cluster_id
        self.asked: list[list[str]] = []

    async def _get_cluster_metadata(self, topics: list[str]) -> Any:
        self.asked.append(topics)
        return self


@pytest.mark.parametrize(
    ("cluster_id", "name"), [("J6hEZ2dTRkuPWqTXp3o_Pg", "J6hEZ2dTRkuPWqTXp3o_Pg"), (None, "unnamed")]
)
async def test_without_a_name_it_is_the_clusters_id(cluster_id: str | None, name: str) -> None:
    estate, admin = Estate(Settings(topic_prefix="p1.", deployment="cards")), Admin(cluster_id)
    await estate.find(admin)  # type: ignore[arg-type]
    assert estate.scope == SealScope(name, "p1.", "cards")
    assert admin.asked == [[]], "no topic is described for it"


async def test_a_declared_name_asks_nobody() -> None:
    estate, admin = Estate(Settings(estate="production")), Admin("x")
    await estate.find(admin)  # type: ignore[arg-type]
    assert (estate.name, admin.asked) == ("production", [])

"""Mistakes that need Kafka and Redis: missing topics, no worker, wrong models, and workers that wait."""

from fraudstream.demo.services.processes import free_port
from support.mistakes.alone import a_file
from support.mistakes.mistake import ADDRESS, DIGEST, Mistake, Place, Stage

MODEL = DIGEST[:8]
UNKNOWN = "0123abcd"
EVICTING = "127.0.0.1:6380"
"""Stands for the address of a Redis that may evict keys."""
OTHER_DEPLOYMENT = "cards-2"

MISSING = (
    Mistake(
        title="No topic to publish to",
        command="publish payments.csv",
        prepare=a_file,
        stage=Stage.NO_TOPICS,
    ),
    Mistake(title="No topics for a promotion", command=f"model promote {MODEL}", stage=Stage.NO_TOPICS),
    Mistake(
        title="No topics for a worker",
        command="worker",
        stage=Stage.NO_TOPICS,
        reason="missing: ",
    ),
    Mistake(
        title="Another number of partitions than the topics have",
        command="topics apply --partitions 8",
        stage=Stage.NO_WORKER,
    ),
    Mistake(
        title="More replicas than brokers",
        command="topics apply --partitions 4 --replication 3",
        stage=Stage.NO_TOPICS,
    ),
)

COMMANDS = (
    Mistake(
        title="A promotion while no worker runs",
        command=f"model promote {MODEL} --wait 5",
        stage=Stage.NO_WORKER,
    ),
    Mistake(title="A report without a challenger", command="shadow report", stage=Stage.NO_WORKER),
    Mistake(title="A replay of a payment without a decision", command="replay pay-1", stage=Stage.NO_WORKER),
    Mistake(title="A dead letter that does not exist", command="dead-letters show pay-1", stage=Stage.NO_WORKER),
    Mistake(title="A promotion of an unknown model", command=f"model promote {UNKNOWN}", stage=Stage.DECIDING),
    Mistake(title="A promotion of the live model", command=f"model promote {MODEL}", stage=Stage.DECIDING),
    Mistake(title="A roll-back with no model before", command="model rollback", stage=Stage.DECIDING),
    Mistake(title="A withdrawal without a challenger", command="model withdraw", stage=Stage.DECIDING),
    Mistake(
        title="A command for a revision that is over",
        command=f"model challenge {MODEL} --expected-revision 0",
        stage=Stage.DECIDING,
    ),
)


def a_free_address(_place: Place) -> dict[str, str]:
    """Name an address at which no Redis listens."""
    return {"127.0.0.1:6379": f"127.0.0.1:{free_port()}"}


WORKERS = (
    Mistake(
        title="The port of a second worker is taken",
        command="worker",
        settings={"HTTP": ADDRESS},
        stage=Stage.DECIDING,
    ),
    Mistake(title="A worker without a live model", command="worker", stage=Stage.NO_WORKER, reason="no model is live"),
    Mistake(
        title="Redis does not answer",
        command="worker",
        settings={"REDIS_URL": "redis://127.0.0.1:6379/0"},
        prepare=a_free_address,
        stage=Stage.NO_WORKER,
        reason="127.0.0.1",
    ),
    Mistake(
        title="A Redis that evicts keys",
        command="worker",
        settings={"REDIS_URL": f"redis://{EVICTING}/0"},
        stage=Stage.NO_WORKER,
        reason="noeviction",
    ),
    Mistake(
        title="Another deployment in the same group",
        command="worker",
        settings={"DEPLOYMENT": OTHER_DEPLOYMENT},
        stage=Stage.DECIDING,
        reason="member",
    ),
)

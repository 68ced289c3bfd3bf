"""The root command, and where each command is defined."""

from typing import Any

import click

from fraudstream.cli.import_path import hidden_packages, put_working_folder_last
from fraudstream.cli.lazy import CommandSource, LazyGroup
from fraudstream.terminal import echo

COMMANDS = {
    "demo": CommandSource(
        "fraudstream.cli.demo:demo",
        "Show the main job: live decisions, a challenger, a promotion, a roll-back, and a guard that ends a canary.",
        "Try it",
    ),
    "bench": CommandSource(
        "fraudstream.cli.bench:bench",
        "Measure what workers do on this machine.",
        "Try it",
    ),
    "topics": CommandSource(
        "fraudstream.cli.topics:topics",
        "Create and check the topics of the contract, and accept what Kafka lost of the input.",
        "Run a fleet",
    ),
    "worker": CommandSource(
        "fraudstream.cli.worker:worker",
        "Run one worker until SIGTERM; /health/ready says whether it decides, and if not, why.",
        "Run a fleet",
    ),
    "config": CommandSource(
        "fraudstream.cli.config:config",
        "See the settings that can change a decision.",
        "Run a fleet",
    ),
    "keys": CommandSource(
        "fraudstream.cli.keys:keys",
        "Make keys that sign commands.",
        "Run a fleet",
    ),
    "schema": CommandSource(
        "fraudstream.cli.schema:schema",
        "Print the JSON Schema of a record, or one object with all of them.",
        "Run a fleet",
    ),
    "contract": CommandSource(
        "fraudstream.cli.contract:contract",
        "Print what your programs and your cluster may rely on: topics, records, headers, keys and rights.",
        "Run a fleet",
    ),
    "publish": CommandSource(
        "fraudstream.cli.publish:publish",
        "Publish a transactions FILE (parquet, CSV) in the order of time, each record with its card as key.",
        "Send and read",
    ),
    "decisions": CommandSource(
        "fraudstream.cli.decisions:decisions",
        "Show the newest decisions, or follow them as they are made.",
        "Send and read",
    ),
    "backfill": CommandSource(
        "fraudstream.cli.backfill:backfill",
        "Fill the histories with past payments and their labels, from FILEs (parquet, CSV) or from topics of yours.",
        "Send and read",
    ),
    "predictions": CommandSource(
        "fraudstream.cli.predictions:predictions",
        "Publish predictions from storage, of a batch job or of a model that is too slow for the stream.",
        "Send and read",
    ),
    "features": CommandSource(
        "fraudstream.cli.features:features",
        "Draft, check and list the features that are computed here, compute them, and rebuild their histories.",
        "Train and judge",
    ),
    "train": CommandSource(
        "fraudstream.cli.train:train",
        "Train a model on a transactions FILE (parquet, CSV), and store it in the repository.",
        "Train and judge",
    ),
    "distill": CommandSource(
        "fraudstream.cli.distil:distill",
        "Train a small model, the student, on the scores that a teacher gives the payments of a transactions FILE.",
        "Train and judge",
    ),
    "evaluate": CommandSource(
        "fraudstream.cli.evaluate:evaluate",
        "Evaluate MODEL on the payments of a transactions FILE (parquet, CSV) that it was not trained on.",
        "Train and judge",
    ),
    "score": CommandSource(
        "fraudstream.cli.score:score",
        "Rescore a transactions FILE (parquet, CSV), or a range of the topic.",
        "Train and judge",
    ),
    "replay": CommandSource(
        "fraudstream.cli.replay:replay",
        "Replay the decision about a transaction, from its own record and from the logs.",
        "Train and judge",
    ),
    "model": CommandSource(
        "fraudstream.cli.model:model",
        "Choose the live model and the challenger; models are named by digest, or an unambiguous prefix of 8 or more.",
        "Roll out",
    ),
    "shadow": CommandSource(
        "fraudstream.cli.shadow:shadow",
        "See what the challenger would have decided.",
        "Roll out",
    ),
    "rollout": CommandSource(
        "fraudstream.cli.rollout:rollout",
        "Raise a model's share by a ladder that `fraudstream guard` climbs, and that it leaves if harm shows.",
        "Roll out",
    ),
    "split": CommandSource(
        "fraudstream.cli.split_report:split",
        "See what became of the cards of an experiment, and which arm wins.",
        "Roll out",
    ),
    "limits": CommandSource(
        "fraudstream.cli.limits:limits",
        "Set and show what overrules decisions, and whether a promotion needs a verdict.",
        "Roll out",
    ),
    "deployment": CommandSource(
        "fraudstream.cli.deployment:deployment",
        "Compare two deployments on the same topics, and let one take over from the other.",
        "Roll out",
    ),
    "status": CommandSource(
        "fraudstream.cli.status:status",
        "Show who decides, what a guard does next, how far behind each partition is, and what to look at first.",
        "Watch",
    ),
    "guard": CommandSource(
        "fraudstream.cli.guard:guard",
        "Watch canaries, splits and promotions until SIGTERM: climb a rollout's ladder, and end what harms.",
        "Watch",
    ),
    "explain": CommandSource(
        "fraudstream.cli.explain:explain",
        "Write the reasons for every alert to `explanations` until SIGTERM.",
        "Watch",
    ),
    "incident": CommandSource(
        "fraudstream.cli.incident:incident",
        "See what went wrong: stand-ins in use, halted partitions, missed deadlines, what guards did, and more.",
        "Watch",
    ),
    "dead-letters": CommandSource(
        "fraudstream.cli.dead_letters:dead_letters",
        "List refused records, send them again, and pass over those that no worker can read.",
        "Repair",
    ),
    "erase": CommandSource(
        "fraudstream.cli.erase:erase",
        "Erase a card, on the record, and say what is left of it, where and until when.",
        "Repair",
    ),
}


class _Program(LazyGroup):
    """The root command: before a command is imported, it makes sure that its modules are those of fraudstream."""

    def main(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - click's own
        """Run as click does; exit with 2 if another package on the import path hides one of ours."""
        put_working_folder_last()
        hidden = next(hidden_packages(), None)
        if hidden is not None:
            echo(hidden, err=True)
            raise SystemExit(2)
        return super().main(*args, **options)


def _print_version(context: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:  # noqa: FBT001 - click's
    from stream.code_version import code_version  # noqa: PLC0415 - it reads files

    if is_asked and not context.resilient_parsing:
        echo(f"fraudstream, version {code_version()}")
        context.exit()


@click.group(cls=_Program, sources=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version, which tells commits apart, and exit.",
)
def main() -> None:
    """Decide card payments on a Kafka stream, each exactly once, with the model that is live."""

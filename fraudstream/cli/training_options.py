"""Options of `fraudstream train`: how the data is split, how trees grow, and which of the parts decides on what."""

from collections.abc import Callable
from typing import Any

import click

from fraudstream.cli.arguments import Duration, ModelParam
from fraudstream.cli.policy_options import accept_weak_option, calibration_option, maturity_option, policy_options
from fraudstream.lab.training.request import DEFAULT_SIZES, PartSize, SplitSizes
from fraudstream_client.arms import WHOLE_BP
from models.arms import parse_share
from models.errors import InvalidShareError
from stream.setting_types import read_seconds

_PARTS = {
    "calibrate": "The part for calibration and thresholds.",
    "validate": "The part by which the trees are chosen.",
    "test": "The part that is measured, and that chooses nothing.",
}


class PartSizeParam(click.ParamType):
    """Reads `15%` as a share of the time, and `14d` as a length."""

    name = "share or duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> PartSize:
        """Return the size, or fail with what was expected."""
        text = str(value)
        try:
            return PartSize(share=parse_share(text) / WHOLE_BP)
        except InvalidShareError:
            seconds = read_seconds(text)
        if isinstance(seconds, str) or seconds <= 0:
            self.fail(f"{text!r} is neither a share of the time such as 15%, nor a length such as 14d", param, ctx)
        return PartSize(length_ms=round(seconds * 1_000))


def _default_text(size: PartSize) -> str:
    return f"{size.share:.0%}, at most {(size.length_ms or 0) // 86_400_000}d"


_OUTCOMES = (maturity_option, accept_weak_option)
_SPLIT = (
    click.option(
        "--gap",
        type=Duration(),
        metavar="DURATION",
        help="Between the parts of the split.  [default: what labels take; less where a file is short]",
    ),
    *(
        click.option(
            f"--{name}",
            type=PartSizeParam(),
            metavar="SIZE",
            help=f"{text}  [default: {_default_text(getattr(DEFAULT_SIZES, name))}]",
        )
        for name, text in _PARTS.items()
    ),
)
_GROWTH = (
    click.option("--seed", type=int, default=1, show_default=True),
    click.option("--trees", type=int, default=150, show_default=True, help="At most; see --patience."),
    click.option("--leaves", type=int, default=31, show_default=True),
    click.option(
        "--max-depth",
        type=int,
        help="Splits on the way to a leaf, at most: explanations become faster. Default: no limit.",
    ),
    click.option("--learning-rate", type=float, default=0.05, show_default=True),
    click.option(
        "--patience",
        type=int,
        default=50,
        show_default=True,
        help="End when so many trees have not raised the average precision on `validate`; 0: grow all of them.",
    ),
    click.option(
        "--fraud-weight",
        type=float,
        default=1.0,
        show_default=True,
        help="How often a fraud counts while trees grow; probabilities stay calibrated.",
    ),
)
accept_option = click.option(
    "--accept",
    "accepted",
    multiple=True,
    metavar="FEATURE",
    help="A feature that looks like a leak and is known at the decision; repeatable.",
)
_REFIT = click.option(
    "--refit/--no-refit",
    default=True,
    show_default=True,
    help="Store the model fitted again to all that is known, or the measured one, which has not seen the test.",
)
_SEARCH = (
    click.option("--trials", type=int, help="Search better parameters with Optuna, in so many trials."),
    click.option(
        "--search",
        "search_seconds",
        type=Duration(),
        metavar="DURATION",
        help="Search until then, e.g. 20min; only --trials gives the same model each time.",
    ),
    click.option("--monotone", is_flag=True, help="Keep to what rows of features declare: a risk that rises or falls."),
    click.option(
        "--live", type=ModelParam(), metavar="MODEL", help="Compare with it.  [default: the newest of that --name]"
    ),
)
_THRESHOLDS = (
    click.option(
        "--review-share", type=float, default=0.005, show_default=True, help="Of `calibrate`, at least reviewed."
    ),
    click.option("--decline-share", type=float, default=0.001, show_default=True, help="Of `calibrate`, declined."),
    click.option("--threads", type=int, default=2, show_default=True, help="Changes the time, not the result."),
    accept_option,
)


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; `sizes_of` takes those of the split, `policy_wish` those of the policy."""
    for option in reversed(
        (*_GROWTH, *_SEARCH, *_SPLIT, *_OUTCOMES, _REFIT, calibration_option, *_THRESHOLDS, policy_options)
    ):
        command = option(command)
    return command


def student_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that a student shares with a model of its own; `sizes_of` takes those of the split."""
    for option in reversed((*_SPLIT, *_OUTCOMES, calibration_option)):
        command = option(command)
    return command


def sizes_of(options: dict[str, Any]) -> SplitSizes:
    """Take the sizes of the split out of the options; what is not given is the default."""
    gap = options.pop("gap")
    given = {name: options.pop(name) for name in _PARTS}
    sizes = DEFAULT_SIZES._replace(**{name: size for name, size in given.items() if size is not None})
    return sizes if gap is None else sizes._replace(gap_ms=round(gap * 1_000))

"""Types of arguments and options: how each is read from its text, and how an invalid one is refused."""

import re
from typing import Any

import click
import msgspec

from fraudstream_client.arms import WHOLE_BP
from models.arms import parse_share
from models.commands import ModelName
from models.decline_cap import NO_CAP
from models.errors import InvalidShareError, InvalidTimeError
from models.let_through import LARGEST_CAP_MINOR
from models.times import parse_time_ms
from stream.contract.money import parse_daily_amount
from stream.setting_types import Name, read_seconds

_OFFSETS = re.compile(r"(\d+):(\d+)-(\d+)")
OFF = "off"
_NOTHING = re.compile(r"0+(\.0+)?\s*%?")
_LONGEST_SHOWN = 80


class ModelParam(click.ParamType):
    """Reads the name of a model: its digest or a prefix of it. What can be none is refused before it is sent."""

    name = "model"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with what was expected."""
        try:
            return msgspec.convert(value, ModelName)
        except msgspec.ValidationError:
            self.fail(
                f"{str(value)[:_LONGEST_SHOWN]!r} cannot be a model: give its digest, or the first 8 or more of its "
                "64 digits (0-9 a-f); `fraudstream model list` lists them",
                param,
                ctx,
            )


class Duration(click.ParamType):
    """Reads `30min`, `90 s` or `0` as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds, or fail with what was expected."""
        seconds = read_seconds(str(value))
        if isinstance(seconds, str):
            self.fail(f"{value!r} is not a duration such as 90, 30min or 2h", param, ctx)
        return seconds


class ShareParam(click.ParamType):
    """Reads `1%` or `0.25 %` as basis points."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return basis points, or fail with what was expected."""
        try:
            share_bp = parse_share(str(value))
        except InvalidShareError as error:
            self.fail(str(error), param, ctx)
        if share_bp == WHOLE_BP:
            self.fail("all cards are no share: promote the model instead", param, ctx)
        return share_bp


class CapParam(click.ParamType):
    """Reads `2%` as a share, 0.02, and `off` as 1: no cap."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return a share above 0 and at most 1, or fail with what was expected."""
        if value == OFF:
            return NO_CAP
        try:
            return parse_share(str(value)) / WHOLE_BP
        except InvalidShareError as error:
            self.fail(f"{error}; `off` removes the cap", param, ctx)


class LetThroughParam(click.ParamType):
    """Reads `0.5%` as basis points, and `off` as 0: nothing is let through."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return basis points, or fail with what was expected."""
        if value == OFF:
            return 0
        try:
            return parse_share(str(value))
        except InvalidShareError as error:
            self.fail(f"{error}; `off` lets nothing through", param, ctx)


class DailyAmountParam(click.ParamType):
    """Reads `EUR 500 a day` as a currency and minor units."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return both, or fail with what was expected."""
        try:
            currency, amount_minor = parse_daily_amount(str(value))
        except ValueError as error:
            self.fail(f"{error}; expected a currency and an amount a day, such as 'EUR 500 a day'", param, ctx)
        if not 0 < amount_minor <= LARGEST_CAP_MINOR:
            self.fail(
                f"{value}: expected an amount above 0 and of at most {LARGEST_CAP_MINOR:,} minor units", param, ctx
            )
        return currency, amount_minor


class BudgetParam(click.ParamType):
    """Reads `1%` as a share, 0.01; `0%` is none at all."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return a share of 0 to 1, or fail with what was expected."""
        text = str(value)
        try:
            return 0.0 if _NOTHING.fullmatch(text) else parse_share(text) / WHOLE_BP
        except InvalidShareError as error:
            self.fail(str(error), param, ctx)


class AlertBudgetParam(BudgetParam):
    """Reads `0.6%` as a share, 0.006; `off` stays, and ends a budget."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - a share, or OFF
        """Return a share of 0 to 1, or `OFF`, or fail with what was expected."""
        return OFF if value == OFF else super().convert(value, param, ctx)


class GroupParam(click.ParamType):
    """Reads `green=payments-green` as a deployment and its consumer group."""

    name = "deployment=group"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return both names, or fail with what was expected."""
        deployment, _, group = str(value).partition("=")
        if not deployment or not group:
            self.fail(f"{value!r} is not DEPLOYMENT=GROUP, such as green=payments-green", param, ctx)
        return deployment, group


class DeploymentParam(click.ParamType):
    """Reads the name of a deployment."""

    name = "deployment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with what was expected."""
        try:
            return msgspec.convert(value, Name)
        except msgspec.ValidationError:
            self.fail(
                f"{str(value)[:_LONGEST_SHOWN]!r} cannot be a deployment: 1 to 64 letters, digits, . _ -", param, ctx
            )


class MomentParam(click.ParamType):
    """Reads RFC 3339 text with a zone, or epoch milliseconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return epoch milliseconds, or fail with what was expected."""
        text = str(value)
        try:
            return parse_time_ms(int(text) if text.isdecimal() else text).epoch_ms
        except InvalidTimeError as error:
            self.fail(str(error), param, ctx)


class Offsets(click.ParamType):
    """Reads a partition and a range of its offsets, such as `0:100-200`, which includes 100 and excludes 200."""

    name = "partition:from-to"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        """Return partition, first offset and end offset, or fail with what was expected."""
        found = _OFFSETS.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is not PARTITION:FROM-TO, such as 0:100-200", param, ctx)
        return int(found[1]), int(found[2]), int(found[3])

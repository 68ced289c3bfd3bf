"""What comes from elsewhere moves no cursor, begins no line of a log, and is no markup, wherever it is shown."""

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fraudstream.console import Terminal, terminal
from fraudstream.terminal import echo, echo_json
from stream.logs import CleanFormatter
from stream.printing import printable, printable_lines
from support.paths import HOUSE

FOREIGN = "a\x1b[2J\rb\x07\x9b31m[/bold][red]:smile:\u202egnp\ttail"
SHOWN = r"a\x1b[2J\rb\x07\x9b31m[/bold][red]:smile:\u202egnp"
OWN = {"fraudstream/terminal.py", "fraudstream/console.py"}
THE_DEMOS = "fraudstream/demo/", "fraudstream/cli/demo.py"
"""The demo shows a stream of its own making, with styles."""
PRINTS = {"click.echo", "click.secho", "click.echo_via_pager", "rich.print", "Console", "print"}


@given(st.text())
def test_a_printable_text_is_one_line_of_glyphs(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert (shown == text) is text.isprintable()
    assert all(line.replace("\t", "").isprintable() for line in printable_lines(text).split("\n"))


def test_lines_are_printed_with_their_ends_and_nothing_else_that_is_no_glyph(
    capsys: pytest.CaptureFixture[str],
) -> None:
    echo(f"{FOREIGN}\nnext")
    echo("wrong\x1b", err=True, nl=False)
    echo()
    echo_json(b'{"a":"\\u001b"}')
    captured = capsys.readouterr()
    assert captured.out == f'{SHOWN}\ttail\nnext\n\n{{"a":"\\u001b"}}\n'
    assert captured.err == "wrong\\x1b"


def test_a_console_shows_cells_and_texts_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title=FOREIGN, box=None)
    table.add_column(FOREIGN, no_wrap=True)
    table.add_row(FOREIGN)
    console = terminal()
    console.width = 200
    console.print(FOREIGN, table, Text(FOREIGN), Panel(FOREIGN))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert shown.count(SHOWN) == 5  # a `Text` drops some control characters itself
    assert all(one.isprintable() for one in shown.replace("\n", ""))


def test_a_consoles_own_styles_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    console = Terminal(force_terminal=True, color_system="standard", markup=False, width=80)
    console.print(Text("bold", style="bold"), Text("\x1b[31m"))
    shown = capsys.readouterr().out
    assert "\x1b[1mbold\x1b[0m" in shown
    assert "\x1b[31m" not in shown


def test_an_id_in_a_message_begins_no_line_of_a_log_and_a_traceback_keeps_its_lines() -> None:
    formatter = CleanFormatter("%(levelname)s %(message)s")
    record = logging.makeLogRecord({"levelname": "INFO", "msg": "id %s", "args": ("x\n2026 ERROR y\x1b[2J",)})
    assert formatter.format(record) == r"INFO id x\n2026 ERROR y\x1b[2J"
    try:
        raise ValueError("z\x1b[2J")  # noqa: TRY301 - it is formatted
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    lines = formatter.format(record).splitlines()
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == r"ValueError: z\x1b[2J"


def prints(path: Path) -> Iterator[str]:
    """Yield the ways by which a module prints that are not of `fraudstream.terminal` or `fraudstream.console`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in PRINTS or name in {"sys.stdout.write", "sys.stderr.write"}:
                yield f"{path.relative_to(HOUSE)}:{node.lineno}: {name}"


def test_nothing_is_printed_in_another_way() -> None:
    modules = [
        path
        for room in ("fraudstream", "stream", "models", "features", "guards", "metrics", "shadow")
        for path in (HOUSE / room).rglob("*.py")
    ]
    assert len(modules) > 500
    others = [
        one
        for path in modules
        if (name := str(path.relative_to(HOUSE))) not in OWN and not name.startswith(THE_DEMOS)
        for one in prints(path)
    ]
    assert others == []
    assert list(prints(HOUSE / "fraudstream/terminal.py")) != [], "the search finds nothing"

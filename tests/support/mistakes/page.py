"""docs/reference/mistakes.md: what each mistake printed when the page was last written, by `command.py` beside this."""

import re
from collections.abc import Mapping

from support.mistakes.alone import FILES, MODELS, SETTINGS, USAGE
from support.mistakes.mistake import Answer, Mistake
from support.mistakes.with_servers import COMMANDS, MISSING, WORKERS
from support.paths import HOUSE

PAGE = HOUSE / "docs" / "reference" / "mistakes.md"
SECTIONS: Mapping[str, tuple[Mistake, ...]] = {
    "Settings": SETTINGS,
    "Files": FILES,
    "Models and the repository": MODELS,
    "What is typed": USAGE,
    "Topics": MISSING,
    "Commands to the workers": COMMANDS,
    "Workers": WORKERS,
}
ALL = tuple(mistake for group in SECTIONS.values() for mistake in group)
GOES_ON = "No exit code: the worker waits until it is mended, and then goes on."
BEGIN, END = "<!-- written by tests/support/mistakes/command.py -->\n", "<!-- end of what is written -->\n"
HINT = "write the page anew: python tests/support/mistakes/command.py, and again with --servers"


def written(answers: Mapping[str, Answer]) -> str:
    """Return the written part of the page; `answers` are by title."""
    parts = [_overview(answers)]
    for heading, group in SECTIONS.items():
        parts += [f"## {heading}\n", *(_entry(mistake, answers[mistake.title]) for mistake in group)]
    return "\n".join(parts)


def _overview(answers: Mapping[str, Answer]) -> str:
    rows = [f"| [{one.title}](#{anchor(one.title)}) | {_code(answers[one.title])} |" for one in ALL]
    return "\n".join(["| mistake | exit code |", "| --- | --- |", *rows, ""])


def _code(answer: Answer) -> str:
    return "" if answer.code is None else str(answer.code)


def _entry(mistake: Mistake, answer: Answer) -> str:
    end = GOES_ON if answer.code is None else f"Exit code {answer.code}."
    note = f"{mistake.note}\n\n" if mistake.note else ""
    return f"### {mistake.title}\n\n{note}```text\n{mistake.typed}{answer.printed}```\n\n{end}\n"


def anchor(title: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def on_page() -> str:
    """Return the written part of the page as it is."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def recorded(mistake: Mistake) -> Answer | None:
    """Return the answer to a mistake that the page shows; None if it shows none."""
    entry = on_page().partition(f"### {mistake.title}\n")[2]
    found = re.match(r".*?```text\n(.*?)```\n\n(?:Exit code (\d+)\.|No exit code)", entry, re.DOTALL)
    if found is None or not found[1].startswith(mistake.typed):
        return None
    return Answer(None if found[2] is None else int(found[2]), found[1].removeprefix(mistake.typed))


def write(answers: Mapping[str, Answer]) -> None:
    """Write the page anew; of mistakes without an answer the old one stays."""
    kept = {one.title: recorded(one) or Answer(None, "") for one in ALL}
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{written({**kept, **answers})}\n{END}{rest.partition(END)[2]}")

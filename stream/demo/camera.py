"""A picture of the demo's terminal, as an SVG that needs nothing from anywhere: no font is fetched."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console, RenderableType
from rich.terminal_theme import DIMMED_MONOKAI

COLUMNS = 116
FONTS = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
# rich's own format, without the typeface that it would fetch
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: %FONTS%; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
""".replace("%FONTS%", FONTS)


class Camera:
    """Keeps what it is shown, in order, as a terminal would have it; `title` is the window's."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(
            record=True,
            width=COLUMNS,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
            highlight=False,
        )

    def take(self, what: RenderableType) -> None:
        """Draw something now: what it shows may change later."""
        self._console.print(what)

    def save(self, path: Path) -> None:
        """Write all that was taken."""
        drawn = self._console.export_svg(title=self._title, theme=DIMMED_MONOKAI, code_format=FORMAT, unique_id="demo")
        path.write_text(drawn, encoding="utf-8")

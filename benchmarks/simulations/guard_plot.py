"""A picture of the simulated effects as SVG: by effect size, the canary's first declines before the rollback.

Both axes are logarithmic. It is written by hand, since no library that draws is a dependency.
"""

import math
from collections.abc import Iterator, Sequence

from benchmarks.simulations.guards import EffectLine

WIDTH, HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 130, 50, 60
_X_TICKS: Sequence[float] = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
_Y_TICKS: Sequence[int] = (2, 5, 10, 20, 50, 100, 200)
_TITLE = "First declines by the canary before the guard is breached (alpha 0.01, f = 1)"
_COLOURS = ("#6b4fa0", "#2f7d4f", "#1f5fa8", "#b5541c")
AIMS = ((2.0, 40), (10.0, 10))
"""Ratio, and the most first declines in the median at a share of 10 %."""
AIMED_SHARE_BP = 1_000


def plot(effects: Sequence[EffectLine]) -> str:
    """Return the picture: a line of medians for each share, the 90th percentiles at 10 %, and the aims."""
    body = "\n".join((*_axes(), *_lines(effects), *_aims()))
    sizes = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {sizes} font-family="Helvetica, Arial, sans-serif" font-size="13">\n'
        f'<title>{_TITLE}</title>\n<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _axes() -> Iterator[str]:
    yield _text(_LEFT, 26, _TITLE, "start")
    for count in _Y_TICKS:
        y = _y(count)
        yield f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="#ddd"/>'
        yield _text(_LEFT - 8, y + 4, f"{count}", "end")
    for tick in _X_TICKS:
        yield f'<path d="M{_x(tick):.1f} {_TOP}V{HEIGHT - _BOTTOM}" stroke="#eee"/>'
        yield _text(_x(tick), HEIGHT - _BOTTOM + 20, f"{tick:g}")
    yield _text(
        (_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 16, "the canary declines so many times as often as the live model"
    )


def _lines(effects: Sequence[EffectLine]) -> Iterator[str]:
    shares = sorted({line.share_bp for line in effects})
    for colour, share_bp in zip(_COLOURS, shares, strict=True):
        of_share = [line for line in effects if line.share_bp == share_bp]
        medians = [(line.ratio, line.canary_median) for line in of_share if line.canary_median]
        yield _path(medians, colour)
        yield from (f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="3" fill="{colour}"/>' for x, y in medians)
        row = _TOP + 20 + 22 * shares.index(share_bp)
        yield f'<path d="M{WIDTH - _RIGHT + 12} {row - 4}h22" stroke="{colour}" stroke-width="2"/>'
        yield _text(WIDTH - _RIGHT + 40, row, f"{share_bp / 100:g} % canary", "start")
        if share_bp == AIMED_SHARE_BP:
            tails = [(line.ratio, line.canary_p90) for line in of_share if line.canary_p90]
            yield _path(tails, colour, ' stroke-dasharray="5 4"')
    row = _TOP + 20 + 22 * len(shares)
    dashed = _COLOURS[shares.index(AIMED_SHARE_BP)]
    yield f'<path d="M{WIDTH - _RIGHT + 12} {row - 4}h22" stroke="{dashed}" stroke-width="2" stroke-dasharray="5 4"/>'
    yield _text(WIDTH - _RIGHT + 40, row, "10 %, p90", "start")
    yield f'<path d="M{WIDTH - _RIGHT + 17} {row + 18}h12M{WIDTH - _RIGHT + 23} {row + 12}v12" stroke="#222"/>'
    yield _text(WIDTH - _RIGHT + 40, row + 22, "aim at 10 %", "start")


def _aims() -> Iterator[str]:
    for ratio, most in AIMS:
        x, y = _x(ratio), _y(most)
        yield f'<path d="M{x - 7:.1f} {y:.1f}h14M{x:.1f} {y - 7:.1f}v14" stroke="#222" stroke-width="1.5"/>'


def _path(points: Sequence[tuple[float, float]], colour: str, style: str = "") -> str:
    places = "L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)
    return f'<path d="M{places}" fill="none" stroke="{colour}" stroke-width="2"{style}/>'


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _x(ratio: float) -> float:
    part = math.log(ratio / _X_TICKS[0]) / math.log(_X_TICKS[-1] / _X_TICKS[0])
    return _LEFT + 15 + part * (WIDTH - _LEFT - _RIGHT - 30)


def _y(count: float) -> float:
    part = math.log(count / _Y_TICKS[0]) / math.log(_Y_TICKS[-1] / _Y_TICKS[0])
    return HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM)

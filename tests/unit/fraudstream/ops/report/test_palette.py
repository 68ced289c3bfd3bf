"""Colours of reports have the contrasts of WCAG 2.2, and remain apart for people with a colour vision deficiency."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from fraudstream.ops.report import palette
from fraudstream.ops.report.palette import (
    FILL_COLOURS,
    INK,
    LINE_COLOURS,
    PAPER,
    SHADE,
    STYLES,
    TEXT_COLOURS,
)

TEXT_CONTRAST, GRAPHICS_CONTRAST = 4.5, 3.0
JUST_NOTICEABLE = 2.3
"""CIE76 distance (Mahy et al. 1994); series must be several times as far apart."""
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Matrices on linear RGB at severity 1.0: Machado, Oliveira and Fernandes, A physiologically-based model for simulation
of color vision deficiency (2009), table 1."""
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = XYZ @ np.ones(3)

Vector = NDArray[np.float64]


def linear(colour: str) -> Vector:
    """Return linear RGB, each from 0 to 1, of a colour in sRGB."""
    parts = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2."""
    lights = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def lab(rgb: Vector) -> Vector:
    """Return CIELAB of linear RGB."""
    shares = (XYZ @ np.clip(rgb, 0, 1)) / WHITE
    roots = np.where(shares > (6 / 29) ** 3, np.cbrt(shares), shares / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])])


def distance(one: str, other: str, matrix: Vector) -> float:
    """Return how far apart two colours are for eyes that a matrix stands for."""
    return float(np.linalg.norm(lab(matrix @ linear(one)) - lab(matrix @ linear(other))))


@pytest.mark.parametrize("colour", TEXT_COLOURS)
@pytest.mark.parametrize("behind", [PAPER, SHADE])
def test_text_can_be_read_on_paper_and_on_shade(colour: str, behind: str) -> None:
    assert contrast(colour, behind) >= TEXT_CONTRAST


@pytest.mark.parametrize("name", ["ink", "muted", "good", "wait", "bad"])
@pytest.mark.parametrize("behind", ["paper", "shade"])
def test_text_can_be_read_on_a_dark_screen(name: str, behind: str) -> None:
    assert contrast(palette.DARK[name], palette.DARK[behind]) >= TEXT_CONTRAST


@pytest.mark.parametrize("colour", sorted({style.colour for style in STYLES} | {palette.BLUE, palette.MUTED}))
def test_lines_and_markers_can_be_seen_on_paper(colour: str) -> None:
    assert contrast(colour, PAPER) >= GRAPHICS_CONTRAST


@pytest.mark.parametrize("colour", FILL_COLOURS)
def test_outlines_and_hatches_can_be_seen_on_fills(colour: str) -> None:
    assert contrast(INK, colour) >= GRAPHICS_CONTRAST


@pytest.mark.parametrize("colours", [LINE_COLOURS, FILL_COLOURS], ids=["lines", "fills"])
@pytest.mark.parametrize("deficiency", ["none", *DEFICIENCIES])
def test_colours_of_series_remain_apart_for_eyes_with_a_deficiency(deficiency: str, colours: tuple[str, ...]) -> None:
    matrix = np.array(DEFICIENCIES.get(deficiency, np.eye(3)))
    nearest = min(distance(one, other, matrix) for one, other in combinations(colours, 2))
    assert nearest > 5 * JUST_NOTICEABLE


def test_no_two_series_share_a_marker_a_dash_or_a_hatch() -> None:
    for form in ("marker", "dash", "hatch"):
        assert len({getattr(style, form) for style in STYLES}) == len(STYLES) == 8

"""The plot: what grows, each on axes of its own; SVG written by hand, for it is a few lines and circles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import log10

from benchmarks.figures import WAYS, Figure

_WIDTH, _HEIGHT, _MARGIN = 420, 260, 50
_FRAME = 'fill="none" stroke="#cccccc"'
_COLOURS = dict(zip(WAYS, ("#888888", "#b07aa1", "#59a14f", "#4e79a7", "#e15759", "#f28e2b"), strict=True))


def _place(value: float, low: float, high: float, length: float) -> float:
    """Where a value lies on a logarithmic axis."""
    span = log10(high) - log10(low) or 1.0
    return (log10(value) - log10(low)) / span * length


def _panel(title: str, figures: Sequence[Figure], left: int, top: int) -> list[str]:
    across = [float(one.at or 1) for one in figures]
    values = [value for one in figures for value in one.best.values()]
    low, high = 10 ** int(log10(min(values)) - (min(values) < 1)), 10 ** (int(log10(max(values))) + 1)
    inner_width, inner_height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN

    def point(figure: Figure, value: float) -> tuple[float, float]:
        x = left + _MARGIN + _place(float(figure.at or 1), min(across), max(across), inner_width)
        return x, top + _HEIGHT - _MARGIN - _place(value, low, high, inner_height)

    base = top + _HEIGHT - _MARGIN
    lines = [
        f'<text x="{left + _WIDTH / 2:g}" y="{top + 24}" text-anchor="middle" font-weight="bold">{title}</text>',
        f'<rect x="{left + _MARGIN}" y="{top + _MARGIN}" width="{inner_width}" height="{inner_height}" {_FRAME}/>',
        f'<text x="{left + _MARGIN - 4}" y="{base}" text-anchor="end">{low:g}</text>',
        f'<text x="{left + _MARGIN - 4}" y="{top + _MARGIN + 8}" text-anchor="end">{high:g} {figures[0].unit}</text>',
    ]
    for figure in figures:
        x, _ = point(figure, low)
        lines.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{figure.at:,}</text>')
    for way in (way for way in WAYS if way in figures[0].best):
        points = [point(one, one.best[way]) for one in figures]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{_COLOURS[way]}" stroke-width="2"/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLOURS[way]}"/>' for x, y in points]
        x, y = points[-1]
        if len(figures[0].best) > 1:
            lines.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="end" fill="{_COLOURS[way]}">{way}</text>')
    return lines


def draw(figures: Sequence[Figure]) -> str:
    """Return the plot of everything that has a place on an axis; both axes are logarithmic."""
    growing = [one for one in figures if one.at is not None and one.best]
    groups = [(title, list(some)) for title, some in groupby(growing, key=lambda one: one.section)]
    lines: list[str] = []
    for number, (title, some) in enumerate(groups):
        lines += _panel(title, some, number % 2 * _WIDTH, number // 2 * _HEIGHT)
    height = (len(groups) + 1) // 2 * _HEIGHT
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * _WIDTH}" height="{height}" font-family="sans-serif"'
    return "\n".join(
        [f'{head} font-size="11">', '<rect width="100%" height="100%" fill="white"/>', *lines, "</svg>", ""]
    )

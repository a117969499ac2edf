"""Figures without a display: matplotlib's objects, its files, and a clear word where it is not installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours that people with any colour vision tell apart (Okabe and Ito 2008), in the order of use.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#F0E442')
FORMATS = ('pdf', 'png', 'svg')


class PlottingUnavailableError(ValueError):
    """Matplotlib is not installed."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches. It belongs to no window, so it needs neither a display nor closing.

    Raises:
        PlottingUnavailableError: Matplotlib is absent; the message says how to get it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlottingUnavailableError("figures need matplotlib: pip install 'mirage-ir[plots]'") from error
    return Figure(figsize=(width, height), layout='constrained')


def colour(index: int) -> str:
    """The colour of the `index`-th curve."""
    return COLOURS[index % len(COLOURS)]


def save(figure: Figure, path: str | Path, formats: Sequence[str] = ('png',), dpi: int = 150) -> list[Path]:
    """Write a figure as `path` with each of the endings; returns the files.

    Raises:
        ValueError: An unknown format.
    """
    unknown = [form for form in formats if form not in FORMATS]
    if unknown or not formats:
        raise ValueError(f'format {", ".join(unknown) or "(none)"}: allowed are {", ".join(FORMATS)}')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f'{path.name}.{form}') for form in formats]
    for file in files:
        # Type 42 keeps text of a PDF selectable, which several publishers ask for.
        from matplotlib import rc_context

        with rc_context({'pdf.fonttype': 42, 'svg.fonttype': 'none'}):
            figure.savefig(file, dpi=dpi)
    return files

"""Draw the parameters of a degradation within its ranges, and apply it by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .depth import WHOLE
from .table import TABLE, Degradation

Window = tuple[float, float, float, float]


def lookup(name: str) -> Degradation:
    """The row called ``name``.

    Raises:
        ValueError: There is none.
    """
    try:
        return TABLE[name]
    except (KeyError, TypeError):
        raise ValueError(f'unknown degradation {name!r}; known are {", ".join(sorted(TABLE))}') from None


def check_range(name: str, key: str, asked: Any) -> tuple[float, float]:
    """Check what a recipe asks for one parameter; returns ``(low, high)``.

    Args:
        name: Degradation.
        key: Its parameter.
        asked: A number or ``[low, high]``.

    Raises:
        ValueError: No such parameter, not a number or pair of numbers, or outside what is allowed.
    """
    parameters = lookup(name).parameters
    if key not in parameters:
        raise ValueError(f'{name}: unknown parameter {key!r}; allowed are {", ".join(parameters) or "none"}')
    pair = list(asked) if isinstance(asked, (list, tuple)) else [asked, asked]
    if len(pair) != 2 or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in pair):
        raise ValueError(f'{name}: {key} must be a number or [low, high], found {asked!r}')
    low, high = pair
    row = parameters[key]
    if not row.least <= low <= high <= row.most:
        raise ValueError(f'{name}: {key} must lie in [{row.least:g}, {row.most:g}] with low <= high, found {asked!r}')
    return low, high


def reach_of(name: str, ranges: Mapping[str, Any]) -> int:
    """Pixels around a crop that the result inside it may depend on, for the largest value a recipe allows."""
    row = lookup(name)
    if row.reach is None:
        return row.margin
    key, factor = row.reach
    largest = check_range(name, key, ranges[key])[1] if key in ranges else row.parameters[key].high
    return row.margin + math.ceil(factor * largest)


def draw(name: str, rng: np.random.Generator, ranges: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Draw one value for every parameter of a degradation.

    A parameter takes one number of the generator whether or not its range is a single value, so narrowing one range
    leaves the values of the others as they were.

    Args:
        name: Row of the table.
        rng: Source of the values.
        ranges: Parameter -> number or ``[low, high]``; the table's own ranges where absent.

    Returns:
        parameter -> Python float or int, in the table's order.

    Raises:
        ValueError: Unknown name or parameter, or a range outside what is allowed.
    """
    ranges = ranges or {}
    asked = {key: check_range(name, key, value) for key, value in ranges.items()}
    values: dict[str, float] = {}
    for key, row in lookup(name).parameters.items():
        low, high = asked.get(key, (row.low, row.high))
        share = rng.random()
        values[key] = int(low + share * (high - low + 1)) if row.whole else float(low + share * (high - low))
    return values


def apply(
    name: str, image: np.ndarray, params: Mapping[str, Any], rng: np.random.Generator, window: Window = WHOLE
) -> np.ndarray:
    """Degrade an image with given parameters.

    Args:
        name: Row of the table.
        image: ``(h, w, 3)`` float32 RGB in [0, 1]; not changed.
        params: Every parameter of the row.
        rng: Source of whatever the parameters leave open (the noise, the place of each streak).
        window: Top, bottom, left, right of the image within its photograph, as shares.

    Returns:
        ``(h, w, 3)`` float32.

    Raises:
        ValueError: An unknown name, or parameters that are not exactly those of the row.
    """
    row = lookup(name)
    if params.keys() != row.parameters.keys():
        raise ValueError(f'{name}: the parameters are {", ".join(row.parameters)}; found {", ".join(params) or "none"}')
    place = {'window': window} if row.windowed else {}
    return row.function(image, **params, **place, rng=rng)

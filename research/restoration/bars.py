"""Flat bars around test pictures: letterboxes, pillars, frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mirage_data.files.crops import Window

SIDES = ('letterbox', 'pillars', 'frame', 'left')
#: What a list says of bars, in words.
BARS = (
    '{share, sides: letterbox | pillars | frame | left, colour: 0 to 255 or [r, g, b], degraded: true}; '
    'around the picture, after or before it is degraded'
)


def between_bars(
    image: np.ndarray, *, share: float, sides: str = 'letterbox', colour: Sequence[int] = (0, 0, 0)
) -> tuple[np.ndarray, Window]:
    """The image with flat bars around it, and where it lies in the result.

    Args:
        image: (h, w, 3) float32 in [0, 1].
        share: Of the result that the bars cover, about: they have whole pixels.
        sides: 'letterbox' (above and below), 'pillars', 'frame' or 'left'.
        colour: Of the bars, 8-bit RGB.
    """
    height, width = image.shape[:2]
    grown = 1 / (1 - share)
    down = right = 0
    if sides == 'frame':
        # a rim as wide on all sides: (h + 2 r)(w + 2 r) = h w / (1 - share)
        total = height + width
        down = right = round((np.sqrt(total**2 + 4 * height * width * (grown - 1)) - total) / 4)
    elif sides == 'letterbox':
        down = round(height * (grown - 1) / 2)
    else:
        right = round(width * (grown - 1) / (1 if sides == 'left' else 2))
    shape = height + 2 * down, width + (right if sides == 'left' else 2 * right), 3
    result = np.empty(shape, np.float32)
    result[:] = np.asarray(colour, np.float32) / np.float32(255)
    inside = Window(down, right, height, width)
    inside.of(result)[:] = image
    return result, inside


def parse_bars(value: Any) -> tuple[dict[str, Any] | None, bool]:
    """Arguments of `between_bars` from a line of a list, None without bars, and whether they are degraded, too.

    Raises:
        ValueError: Another value than `BARS` says.
    """
    if value is None:
        return None, False
    given = value if isinstance(value, Mapping) else {'share': value}
    unknown = set(given) - {'share', 'sides', 'colour', 'degraded'}
    share, sides, colour = given.get('share', 0.25), given.get('sides', 'letterbox'), given.get('colour', 0)
    colour = [colour] * 3 if isinstance(colour, int) else colour
    degraded = given.get('degraded', False)
    unknown = unknown or not isinstance(degraded, bool)
    fits = isinstance(share, (int, float)) and 0 < share < 0.9 and sides in SIDES and not unknown
    if not fits or len(colour) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in colour):
        raise ValueError(f'bars: {value!r}; needed is {BARS}, with a share above 0 and below 0.9')
    return {'share': float(share), 'sides': sides, 'colour': tuple(colour)}, degraded

"""Pictures that were never photographed: documents, screens, charts and drawings, drawn on the fly."""

from __future__ import annotations

import cv2
import numpy as np

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)
_LETTERS = np.array(list(2 * 'abcdefghijklmnopqrstuvwxyz ' + 'aeioetn ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789.,:;-+()/%'))
KINDS = ('document', 'screen', 'chart', 'drawing', 'gradient')


def graphics(image: np.ndarray, *, keep: float, rng: np.random.Generator) -> np.ndarray:
    """A drawn picture in place of a photograph.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1]; only its size counts unless some of it is kept.
        keep: Probability that a part of the photograph stays in it, as a picture on a page or in a window.
        rng: Source of everything that is drawn.

    Returns:
        ``(h, w, 3)`` float32 in [0, 1] of whole 8-bit steps.
    """
    height, width = image.shape[:2]
    kind = KINDS[int(rng.integers(len(KINDS)))]
    canvas = _ground(height, width, kind, rng)
    {'document': _text, 'screen': _screen, 'chart': _chart, 'drawing': _drawing, 'gradient': _label}[kind](canvas, rng)
    if rng.random() < keep and kind != 'gradient':
        tall, broad = (max(1, int(side * rng.uniform(0.3, 0.7))) for side in (height, width))
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - broad + 1))
        place = np.s_[top : top + tall, left : left + broad]
        canvas[place] = np.rint(image[place] * 255)
    out = canvas.astype(np.float32)
    out *= np.float32(1 / 255)
    return out


def _ground(height: int, width: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Paper, a plain colour, or a gradient between two or three colours: uint8."""
    if kind == 'gradient' or (kind in ('screen', 'drawing') and rng.random() < 0.3):
        knots = rng.integers(0, 256, (int(rng.integers(1, 4)), int(rng.integers(2, 4)), 3)).astype(np.float32)
        flags = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC
        smooth = np.clip(cv2.resize(knots, (width, height), interpolation=flags), 0, 255)
        return np.rint(smooth).astype(np.uint8).reshape(height, width, 3)
    share = rng.random()
    colour = (
        rng.integers(0, 256, 3)
        if share < 0.3
        else np.full(3, rng.integers(0, 40))
        if share < 0.5
        else (np.full(3, 255) - rng.integers(0, 25, 3) * (share < 0.8))
    )
    return np.full((height, width, 3), colour, np.uint8)


def _ink(canvas: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int]:
    """A colour that is seen on the canvas: the other end of the range, or any."""
    if rng.random() < 0.6:
        value = int(rng.integers(0, 70))
        value = value if canvas[::8, ::8].mean() > 127 else 255 - value
        return (value, value, value)
    red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
    return red, green, blue


def _words(rng: np.random.Generator, count: int) -> str:
    return ''.join(_LETTERS[rng.integers(len(_LETTERS), size=count)])


def _text(canvas: np.ndarray, rng: np.random.Generator, top: int = 0, ink: tuple | None = None) -> None:
    """Lines of letters over the canvas from `top` down, cut off at its edges."""
    height, width = canvas.shape[:2]
    size, font = float(rng.uniform(0.25, 0.9)), _FONTS[int(rng.integers(len(_FONTS)))]
    ink, step = ink or _ink(canvas, rng), max(6, int(34 * size))
    left, thick = int(rng.integers(-20, max(2, width // 3))), 1 if size < 0.6 else int(rng.integers(1, 3))
    edge = cv2.LINE_AA if rng.random() < 0.8 else cv2.LINE_8
    for row in range(top + int(rng.integers(step)) + 4, height + step, step):
        if rng.random() < 0.9:
            cv2.putText(canvas, _words(rng, int(width / (16 * size)) + 4), (left, row), font, size, ink, thick, edge)


def _screen(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Windows, buttons and bars with lettering."""
    height, width = canvas.shape[:2]
    for _ in range(int(rng.integers(2, 6))):
        left, top = int(rng.integers(-width // 4, width)), int(rng.integers(-height // 4, height))
        right, bottom = left + int(rng.integers(8, width + 9)), top + int(rng.integers(6, height // 2 + 7))
        fill = tuple(int(v) for v in (rng.integers(0, 256, 3) if rng.random() < 0.5 else [rng.integers(256)] * 3))
        cv2.rectangle(canvas, (left, top), (right, bottom), fill, -1)
        if rng.random() < 0.6:
            cv2.rectangle(canvas, (left, top), (right, bottom), _ink(canvas, rng), 1)
        size = float(rng.uniform(0.3, 0.7))
        cv2.putText(
            canvas,
            _words(rng, 12),
            (left + 4, top + int(26 * size)),
            _FONTS[int(rng.integers(3))],
            size,
            _ink(canvas, rng),
            1,
            cv2.LINE_AA,
        )
    if rng.random() < 0.4:
        _text(canvas, rng, top=int(rng.integers(height)))


def _chart(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """A grid, and curves, bars or points over it."""
    height, width = canvas.shape[:2]
    step, faint = int(rng.integers(6, 40)), _ink(canvas, rng)
    first = int(rng.integers(step))
    canvas[first::step] = faint
    if rng.random() < 0.8:
        canvas[:, first::step] = faint
    for _ in range(int(rng.integers(1, 4))):
        ink = tuple(int(v) for v in rng.integers(0, 256, 3))
        across = np.linspace(-5, width + 5, 12)
        along = height * (0.5 + 0.25 * np.cumsum(rng.normal(0, 0.5, 12)))
        points = np.clip(np.stack([across, along], axis=1), -1e4, 1e4).astype(np.int32)
        kind = rng.random()
        if kind < 0.5:
            cv2.polylines(canvas, [points], False, ink, int(rng.integers(1, 4)), cv2.LINE_AA)
        elif kind < 0.8:
            for x, y in points:
                cv2.rectangle(canvas, (int(x), int(y)), (int(x) + max(2, width // 24), height), ink, -1)
        else:
            for x, y in points:
                cv2.circle(canvas, (int(x), int(y)), int(rng.integers(2, 6)), ink, -1, cv2.LINE_AA)
    _label(canvas, rng)


def _drawing(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Plain shapes, filled and outlined, and strokes of a pen."""
    height, width = canvas.shape[:2]
    for _ in range(int(rng.integers(3, 9))):
        ink = tuple(int(v) for v in rng.integers(0, 256, 3))
        thick = -1 if rng.random() < 0.6 else int(rng.integers(1, 5))
        x, y = int(rng.integers(-10, width + 10)), int(rng.integers(-10, height + 10))
        kind = rng.random()
        if kind < 0.35:
            axes = int(rng.integers(2, width // 2 + 4)), int(rng.integers(2, height // 2 + 4))
            cv2.ellipse(canvas, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, ink, thick, cv2.LINE_AA)
        else:
            corners = rng.uniform(-0.5, 0.5, (int(rng.integers(2, 6)), 2)) * (width, height) + (x, y)
            corners = corners.astype(np.int32)
            if thick < 0 and len(corners) > 2 and kind < 0.75:
                cv2.fillPoly(canvas, [corners], ink, cv2.LINE_AA)
            else:
                cv2.polylines(canvas, [corners], kind < 0.75, ink, max(1, thick), cv2.LINE_AA)
    if rng.random() < 0.3:
        _label(canvas, rng)


def _label(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """One large or small word somewhere."""
    height, width = canvas.shape[:2]
    size = float(rng.uniform(0.3, 2.5))
    place = int(rng.integers(-width // 4, max(1, width // 2) + 1)), int(rng.integers(4, height + 5))
    cv2.putText(
        canvas,
        _words(rng, 9),
        place,
        _FONTS[int(rng.integers(len(_FONTS)))],
        size,
        _ink(canvas, rng),
        max(1, int(size * rng.uniform(1, 3))),
        cv2.LINE_AA,
    )

"""What photographs differ in besides their faults: size, tone, colour, and what surrounds the picture.

Training options that change both sides of a sample, all off unless asked for:

- ``resize: [0.4, 1]``: the crop is taken from a part of the photograph that is larger by the drawn factor and then
  made smaller by averaging, so that one photograph is seen as one of fewer pixels.
- ``tone: {probability: 0.3, gamma: [0.7, 1.4], contrast: [0.8, 1.2], saturation: [0.5, 1.4]}``
- ``grey: 0.05``: the share of samples made black-and-white.
- ``sepia: 0.02``: the share made brown like an old print: grey times one warm colour, blacks a little lifted.
- ``surround: {probability: 0.1, cover: [0.05, 0.5], under: 0.3}``: bars, frames, cut-outs and flat areas laid over both
  sides; the share ``under`` (0 unless given) of them lies in the scene already when it is degraded, like the margin of
  a noisy scan. Pairs are degraded as they come: they know only the other kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mirage_data.files.image import to_float

OPTIONS = ('resize', 'tone', 'grey', 'sepia', 'surround')

TONE_RANGES = {'gamma': (0.7, 1.4), 'contrast': (0.8, 1.2), 'saturation': (0.5, 1.4)}
TONE_LIMITS = {'gamma': (0.2, 5), 'contrast': (0, 3), 'saturation': (0, 3)}
SHAPES = ('bars', 'pillars', 'side', 'frame', 'straightened', 'oval', 'patches')


@dataclass(frozen=True)
class Variation:
    """The drawn variations of one data set; see the module.

    Attributes:
        resize: Lowest and highest share of the size that is left, None for none.
        tone: Probability and the three ranges.
        grey: Probability.
        sepia: Probability.
        surround: Probability, lowest and highest share of the crop that is covered, and the share of those that are
            degraded with it.
    """

    resize: tuple[float, float] | None = None
    tone: Mapping[str, Any] | None = None
    grey: float = 0.0
    sepia: float = 0.0
    surround: Mapping[str, Any] | None = None

    @classmethod
    def of_options(cls, opt: Mapping[str, Any]) -> Variation:
        """Read these options of a data set.

        Raises:
            ValueError: A value that is not allowed; the message begins with the option's name.
        """
        resize = opt.get('resize')
        if resize is not None:
            resize = _pair('resize', resize, 0.05, 1)
        return cls(
            resize=resize,
            tone=_mapping('tone', opt.get('tone'), TONE_RANGES, TONE_LIMITS),
            grey=_probability('grey', opt.get('grey') or 0),
            sepia=_probability('sepia', opt.get('sepia') or 0),
            surround=_mapping('surround', opt.get('surround'), {'cover': (0.05, 0.5)}, {'cover': (0, 1)}, ('under',)),
        )

    def source_side(self, side: int, shorter: int, rng: np.random.Generator) -> int:
        """The side of the square of the photograph that becomes a crop of ``side`` pixels.

        Args:
            side: Of the crop.
            shorter: The photograph's shorter side, which bounds the result unless it is below ``side`` itself.
            rng: One number is drawn, none without ``resize``.
        """
        if self.resize is None:
            return side
        share = rng.uniform(*self.resize)
        return max(side, min(round(side / share), shorter))

    def toned(self, images: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """The images in another tone or in grey, all by the same drawn values; 8-bit images stay 8-bit."""
        images = list(images)
        if self.tone is not None and rng.random() < self.tone['probability']:
            drawn = {key: rng.uniform(*self.tone[key]) for key in TONE_RANGES}
            images = [_as(retoned(to_float(image), **drawn), image.dtype) for image in images]
        if self.grey and rng.random() < self.grey:
            images = [_as(retoned(to_float(image), saturation=0), image.dtype) for image in images]
        if self.sepia and rng.random() < self.sepia:
            colour = rng.uniform((0.9, 0.78, 0.55), (1.0, 0.9, 0.78)).astype(np.float32)
            lift = np.float32(rng.uniform(0, 0.06))
            images = [_as(browned(to_float(image), colour, lift), image.dtype) for image in images]
        return images

    def surrounded(self, images: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """The images with the same drawn flat areas over all of them, in the same values."""
        return self._covered(images, rng, 1 - self.surround['under']) if self.surround else list(images)

    def surrounded_scene(self, scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The clean side with flat areas that are degraded with it; no number is drawn where there are none."""
        if not self.surround or not self.surround['under']:
            return scene
        return self._covered([scene], rng, self.surround['under'])[0]

    def _covered(self, images: Sequence[np.ndarray], rng: np.random.Generator, share: float) -> list[np.ndarray]:
        images = list(images)
        assert self.surround is not None
        if rng.random() >= self.surround['probability'] * share:
            return images
        layers = draw_surround(images[0].shape[:2], rng.uniform(*self.surround['cover']), rng)
        return [_covered(image, layers) for image in images]


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image at another size by averaging, in its own dtype; the image itself where the size is that already."""
    if image.shape[:2] == (height, width):
        return image
    image = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA)
    return image.reshape(height, width, 3)


def retoned(image: np.ndarray, *, gamma: float = 1, contrast: float = 1, saturation: float = 1) -> np.ndarray:
    """Another development of the same picture.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        gamma: Power of the values; above 1 is darker.
        contrast: Factor around the middle of the range.
        saturation: Factor around each pixel's grey (Rec. 601); 0 is black-and-white, with three equal channels.

    Returns:
        float32 image clipped to [0, 1].
    """
    out = cv2.pow(np.ascontiguousarray(image), gamma) if gamma != 1 else image
    if contrast != 1:
        out = (out - np.float32(0.5)) * np.float32(contrast) + np.float32(0.5)
    if saturation != 1:
        grey = cv2.cvtColor(np.ascontiguousarray(out), cv2.COLOR_RGB2GRAY).reshape(*out.shape[:2], 1)
        out = grey + (out - grey) * np.float32(saturation)
    return np.clip(out, 0, 1)


def browned(image: np.ndarray, colour: np.ndarray, lift: float = 0) -> np.ndarray:
    """A picture like an old print.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        colour: RGB of white, in [0, 1].
        lift: What black becomes, before the colour.

    Returns:
        float32 image in [0, 1].
    """
    return (lift + retoned(image, saturation=0) * (1 - lift)) * colour


def draw_surround(
    shape: tuple[int, int], cover: float, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Flat areas over a crop: bars, pillars, one side, a frame, a straightened picture's corner, an oval, patches.

    Args:
        shape: Height and width in pixels.
        cover: About which share of the area is covered.
        rng: Source of the kind, its place and its colour.

    Returns:
        pairs of a boolean ``(h, w)`` mask and an 8-bit RGB colour, in the order in which they are laid over.
    """
    height, width = shape
    kind = SHAPES[int(rng.integers(len(SHAPES)))]
    mask = np.zeros(shape, bool)
    split = rng.uniform(0.2, 0.8)
    if kind == 'bars':
        mask[: round(height * cover * split)] = mask[height - round(height * cover * (1 - split)) :] = True
    elif kind == 'pillars':
        mask[:, : round(width * cover * split)] = mask[:, width - round(width * cover * (1 - split)) :] = True
    elif kind == 'side':
        mask[: max(1, round(height * cover))] = True
        mask = np.rot90(mask, int(rng.integers(4))) if height == width else mask
    elif kind == 'frame':
        rim = (1 - np.sqrt(1 - min(cover, 0.99))) / 2
        down, right = round(height * rim), round(width * rim)
        mask[:] = True
        mask[down : height - down, right : width - right] = False
    elif kind == 'straightened':
        turn = rng.uniform(0, 2 * np.pi)
        ramp = np.arange(width) * np.cos(turn) + np.arange(height)[:, None] * np.sin(turn)
        mask = ramp <= np.quantile(ramp, cover)
    elif kind == 'oval':
        stretch, (y, x) = rng.uniform(0.7, 1.4), rng.uniform(0.35, 0.65, 2)
        ramp = ((np.arange(width) / width - x) * stretch) ** 2 + ((np.arange(height) / height - y) ** 2)[:, None]
        mask = ramp >= np.quantile(ramp, 1 - cover)
    else:
        return [_patch(shape, cover / 2, rng) for _ in range(2)]
    return [(mask, _colour(rng))]


def _patch(shape: tuple[int, int], cover: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    aspect = rng.uniform(0.4, 2.5)
    sides = [
        min(side, max(1, round(side * np.sqrt(cover) * factor)))
        for side, factor in zip(shape, (np.sqrt(aspect), 1 / np.sqrt(aspect)))
    ]
    top, left = (int(rng.integers(side - own + 1)) for side, own in zip(shape, sides))
    mask = np.zeros(shape, bool)
    mask[top : top + sides[0], left : left + sides[1]] = True
    return mask, _colour(rng)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Mostly black, often white or grey, else any colour."""
    share, colour = rng.random(), rng.integers(0, 256, 3)
    if share < 0.4:
        colour[:] = 0
    elif share < 0.6:
        colour[:] = 255
    elif share < 0.75:
        colour[:] = colour[0]
    return colour.astype(np.uint8)


def _covered(image: np.ndarray, layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    image = image.copy()
    for mask, colour in layers:
        image[mask] = _as(to_float(colour), image.dtype)
    return image


def _as(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in [0, 1] in the dtype of an image."""
    if dtype.kind != 'u':
        return image
    return np.rint(image * np.float32(np.iinfo(dtype).max)).astype(dtype)


def _probability(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f'{name}: {value!r}; allowed is a probability from 0 to 1')
    return float(value)


def _pair(name: str, value: Any, least: float, most: float) -> tuple[float, float]:
    pair = list(value) if isinstance(value, (list, tuple)) else [value, value]
    fits = len(pair) == 2 and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in pair)
    if not fits or not least <= pair[0] <= pair[1] <= most:
        raise ValueError(f'{name}: {value!r}; allowed is a number or [low, high] within [{least:g}, {most:g}]')
    return float(pair[0]), float(pair[1])


def _mapping(
    name: str,
    value: Any,
    defaults: Mapping[str, tuple[float, float]],
    limits: Mapping[str, tuple[float, float]],
    shares: tuple[str, ...] = (),
) -> dict[str, Any] | None:
    """`{probability, <ranges>}` with the defaults filled in; None where absent or never drawn."""
    if value is None:
        return None
    keys = ('probability', *defaults, *shares)
    if not isinstance(value, Mapping) or 'probability' not in value or not set(value) <= set(keys):
        raise ValueError(f'{name}: {value!r}; needed is a mapping with probability, and allowed are {", ".join(keys)}')
    probability = _probability(f'{name}: probability', value['probability'])
    ranges = {key: _pair(f'{name}: {key}', value.get(key, defaults[key]), *limits[key]) for key in defaults}
    parts = {key: _probability(f'{name}: {key}', value.get(key, 0)) for key in shares}
    return {'probability': probability, **ranges, **parts} if probability else None

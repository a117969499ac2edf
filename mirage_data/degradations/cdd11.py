"""The composite degradations of CDD11 by its published recipe.

Order: low light, rain, snow, haze (Guo et al., "OneRestore", ECCV 2024, and the data set's published generator). The
four formulas take their maps as arguments and keep the dtype of the image; nothing is clipped but low light and haze,
as published. Without the data set's maps, `synthesise` generates plausible ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from .depth import WHOLE, generate_depth, guided_filter
from .rain import streak_mask
from .snow import snow_mask

TYPES = (
    'low',
    'haze',
    'rain',
    'snow',
    'low_haze',
    'low_rain',
    'low_snow',
    'haze_rain',
    'haze_snow',
    'low_haze_rain',
    'low_haze_snow',
)
"""The published types, each named after its parts; other combinations of :data:`PARTS` are made just as well."""

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey image (ITU-R BT.601)."""


def fit(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resize a map to the height and width of ``shape`` (bilinear), if they differ."""
    if array.shape[:2] == tuple(shape[:2]):
        return array
    return cv2.resize(array, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def as_layer(array: np.ndarray) -> np.ndarray:
    """``(h, w)`` or ``(h, w, c)`` -> something that broadcasts over colour."""
    return array[:, :, None] if array.ndim == 2 else array


def illumination_of(
    image: np.ndarray, illumination: np.ndarray, grey_weights: tuple[float, float, float] = GREY
) -> np.ndarray:
    """L of the recipe: the grey image through a 3x3 guided filter (epsilon 0.01) with the illumination map as guide.

    Args:
        image: ``(h, w, 3)`` RGB in [0, 1].
        illumination: ``(h, w)`` in [0, 1].
        grey_weights: How grey is made. The published generator reads its files as BGR and converts them as RGB, which
            comes to ``(0.114, 0.587, 0.299)`` here.

    Returns:
        ``(h, w)`` float64. At least 1e-7, where the formula would divide by zero.
    """
    grey = image.astype(np.float64) @ np.asarray(grey_weights)
    # float64: the filter subtracts nearly equal squares, and L is divided by afterwards
    light = guided_filter(fit(illumination, image.shape).astype(np.float64), grey, size=3, epsilon=0.01)
    return np.maximum(light, 1e-7)


def add_low_light(
    image: np.ndarray,
    illumination: np.ndarray,
    *,
    gamma: float,
    noise: float,
    rng: np.random.Generator,
    grey_weights: tuple[float, float, float] = GREY,
) -> np.ndarray:
    """``clip(R L^gamma + N(0, noise))`` with ``R = I / L``.

    Args:
        image: ``(h, w, 3)`` RGB in [0, 1].
        illumination: ``(h, w)`` map in [0, 1].
        gamma: 2 to 3 in the data set.
        noise: Deviation of the noise, 0.03 to 0.08 in the data set.
        rng: Source of the noise: one ``standard_normal(image.shape, float32)``.
        grey_weights: See `illumination_of`.
    """
    light = illumination_of(image, illumination, grey_weights)
    dark = image * (light ** (gamma - 1)).astype(image.dtype)[:, :, None]  # R L^gamma = I L^(gamma - 1)
    dark += noise * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(dark, 0, 1, out=dark)


def add_rain(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``I + mask``, not clipped. The mask is ``(h, w)`` or ``(h, w, 3)`` and is resized to the image."""
    return image + as_layer(fit(mask, image.shape)).astype(image.dtype)


def add_snow(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``I (1 - m) + m``, not clipped. The mask is ``(h, w)`` or ``(h, w, 3)`` and is resized to the image."""
    mask = as_layer(fit(mask, image.shape)).astype(image.dtype)
    return image * (1 - mask) + mask


def add_haze(image: np.ndarray, depth: np.ndarray, *, beta: float, airlight: float) -> np.ndarray:
    """``clip(I t + A (1 - t))`` with ``t = exp(-min(1 - blur(depth), 0.7) beta)``, the blur being a 22x22 box.

    Args:
        image: ``(h, w, 3)`` RGB.
        depth: ``(h, w)`` in [0, 1], bright for near.
        beta: 1 to 2 in the data set.
        airlight: 0.6 to 0.9 in the data set.
    """
    depth = fit(depth, image.shape).astype(image.dtype)
    far = 1 - cv2.blur(depth, (22, 22)).reshape(depth.shape)
    transmission = as_layer(np.exp(np.minimum(far, 0.7) * -beta))
    hazy = image * transmission + airlight * (1 - transmission)
    return np.clip(hazy, 0, 1, out=hazy)


@dataclass(frozen=True)
class Part:
    """What one word of a type's name stands for.

    Attributes:
        needs: Name of its map.
        add: ``add(image, map, values, rng)`` -> image.
        make: ``make(image, values, rng, window)`` -> its map.
    """

    needs: str
    add: Callable[[np.ndarray, np.ndarray, Mapping[str, float], np.random.Generator], np.ndarray]
    make: Callable[..., np.ndarray]


def _own(values: Mapping[str, float], part: str) -> dict[str, float]:
    """The values that belong to one part: ``rain_density`` -> ``density``."""
    return {key.removeprefix(f'{part}_'): value for key, value in values.items() if key.startswith(f'{part}_')}


PARTS = {
    'low': Part(
        'illumination',
        lambda image, layer, v, rng: add_low_light(image, layer, gamma=v['gamma'], noise=v['noise'], rng=rng),
        lambda image, v, rng, window: generate_illumination(image, size=15),
    ),
    'rain': Part(
        'rain',
        lambda image, layer, v, rng: add_rain(image, layer),
        lambda image, v, rng, window: streak_mask(image.shape[:2], rng=rng, **_own(v, 'rain')),
    ),
    'snow': Part(
        'snow',
        lambda image, layer, v, rng: add_snow(image, layer),
        lambda image, v, rng, window: snow_mask(image.shape[:2], rng=rng, **_own(v, 'snow')),
    ),
    'haze': Part(
        'depth',
        lambda image, layer, v, rng: add_haze(image, layer, beta=v['beta'], airlight=v['airlight']),
        lambda image, v, rng, window: generate_depth(
            image, horizon=v['horizon'], relief=v['relief'], rng=rng, window=window
        ),
    ),
}
"""The parts in the order in which they happen. A new one is a line here, and types with its word can be made."""


def parts_of(kind: str) -> list[str]:
    """The parts of a type, in the order in which they happen.

    Raises:
        ValueError: A word that is no part, or one that occurs twice.
    """
    words = kind.split('_')
    if set(words) - set(PARTS) or len(set(words)) < len(words):
        raise ValueError(
            f'unknown CDD11 type {kind!r}; known are {", ".join(TYPES)}, and any combination of {", ".join(PARTS)}'
        )
    return [part for part in PARTS if part in words]


def composite(
    image: np.ndarray,
    kind: str,
    maps: Mapping[str, np.ndarray],
    *,
    rng: np.random.Generator,
    gamma: float = 2.5,
    noise: float = 0.05,
    beta: float = 1.5,
    airlight: float = 0.75,
) -> np.ndarray:
    """One of the eleven types with given maps and parameters.

    Args:
        image: ``(h, w, 3)`` RGB in [0, 1], float32 or float64.
        kind: One of :data:`TYPES`, or another combination of :data:`PARTS`.
        maps: Those of ``illumination``, ``rain``, ``snow``, ``depth`` that the type needs; any size.
        rng: Source of the noise of low light.
        gamma, noise: See `add_low_light`.
        beta, airlight: See `add_haze`.

    Returns:
        array of the image's shape and dtype; types that end in rain or snow may exceed 1 until they are stored.

    Raises:
        ValueError: An unknown type or a missing map.
    """
    given = {'gamma': gamma, 'noise': noise, 'beta': beta, 'airlight': airlight}
    for part in parts_of(kind):
        needed = PARTS[part].needs
        if needed not in maps:
            raise ValueError(f'CDD11 type {kind} needs the map {needed!r}; given are {", ".join(maps) or "none"}')
        image = PARTS[part].add(image, maps[needed], given, rng)
    return image


def generate_illumination(image: np.ndarray, *, size: int) -> np.ndarray:
    """An illumination map as Retinex methods estimate it: the brightest channel, smoothed up to the edges.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        size: Side of the smoothing window in pixels.

    Returns:
        ``(h, w)`` float32 in [0, 1].
    """
    brightest = image.max(axis=2)
    return np.clip(guided_filter(brightest, brightest, size=size, epsilon=0.02), 0, 1)


def synthesise(
    image: np.ndarray,
    *,
    kind: str,
    rng: np.random.Generator,
    window: tuple[float, float, float, float] = WHOLE,
    **values: float,
) -> np.ndarray:
    """One of the eleven types with generated maps.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        kind: One of :data:`TYPES`, or another combination of :data:`PARTS`.
        rng: Source of the maps and the noise.
        window: Where in the whole photograph the image lies.
        **values: Of the type's parts: ``gamma``, ``noise``; ``rain_*`` and ``snow_*``, the arguments of
            `streak_mask` and `snow_mask`; ``beta``, ``airlight``, ``horizon``, ``relief``.

    Returns:
        float32 image; see `composite`.
    """
    maps = {PARTS[part].needs: PARTS[part].make(image, values, rng, window) for part in parts_of(kind)}
    given = {key: values[key] for key in ('gamma', 'noise', 'beta', 'airlight') if key in values}
    return composite(image, kind, maps, rng=rng, **given)

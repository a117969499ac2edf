"""Noise of real cameras: its strength from measured profiles, its grain from demosaicing, then a tone curve."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np

_GREY = np.array([0.299, 0.587, 0.114], np.float32)
# bilinear demosaicing: how the samples of a mosaic spread over the pixels between them
_SPREAD_GREEN = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]], np.float32)
_SPREAD_OTHER = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]], np.float32)


@cache
def profiles() -> dict[str, np.ndarray]:
    """The distilled table (see `camera_noise.json`), as arrays."""
    table = json.loads(Path(__file__).with_name('camera_noise.json').read_text(encoding='utf-8'))
    return {key: np.array(value) for key, value in table.items() if isinstance(value, list)}


def profile(*, stops: float, camera: float, readout: float, warmth: float) -> tuple[np.ndarray, np.ndarray]:
    """Shot and read noise of a camera as they were measured.

    Args:
        stops: sensitivity in stops above ISO 100, 0 to 9.
        camera: rank of its photon noise among cameras at that sensitivity, 0 (least noise) to 1.
        readout: rank of its read noise among cameras with about that photon noise, 0 to 1.
        warmth: 0 (the light needs little amplification of red and much of blue) to 1 (the reverse).

    Returns:
        shot and read, ``(3,)`` each: the variance of channel c at x is ``shot[c] * x + read[c] ** 2`` in
        white-balanced linear light.
    """
    table = profiles()
    below = min(int(stops), len(table['iso']) - 2)
    share, shots, reads = stops - below, [], []
    for row in (below, below + 1):
        shots.append(np.interp(camera, table['shot_levels'], np.log(table['shot'][row])))
        by_rank = [np.interp(readout, table['read_levels'], values) for values in table['read'][row]]
        reads.append(np.interp(camera, table['shot_levels'], by_rank))
    shot = np.exp(shots[0] * (1 - share) + shots[1] * share)
    read = reads[0] * (1 - share) + reads[1] * share
    red = np.interp(warmth, table['read_levels'], table['red'][::-1])
    blue = np.interp(warmth, table['read_levels'], table['blue'])
    gains = np.array([red, 1, blue])  # of the white balance: it multiplies variances of photons by itself
    return (shot * gains).astype(np.float32), (read * gains).astype(np.float32)


def mosaic_grain(shape: tuple[int, int], *, smear: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit variance as bilinear demosaicing of an RGGB mosaic leaves it.

    Args:
        shape: height and width.
        smear: standard deviation in pixels of the smoothing after it; 0 for none.
        rng: source of the mosaic's noise and of its phase.

    Returns:
        ``(h, w, 3)`` float32; neighbours are correlated, channels are not.
    """
    height, width = shape
    down, right = (int(place) for place in rng.integers(2, size=2))
    mosaic = rng.standard_normal((height + 5, width + 5), dtype=np.float32)
    planes = np.zeros((3, *mosaic.shape), np.float32)
    for channel, row, column in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1)):
        place = np.s_[(row + down) % 2 :: 2, (column + right) % 2 :: 2]
        planes[channel][place] = mosaic[place]
    grain = np.empty((height, width, 3), np.float32)
    for channel, plane in enumerate(planes):
        full = cv2.filter2D(plane, -1, _SPREAD_GREEN if channel == 1 else _SPREAD_OTHER)
        if smear > 0.1:
            full = cv2.GaussianBlur(full, (0, 0), smear)
        full *= np.float32(1 / (full.std() + 1e-6))
        grain[..., channel] = full[2 : 2 + height, 2 : 2 + width]
    return grain


def raw_noise(
    image: np.ndarray,
    *,
    stops: float,
    camera: float,
    readout: float,
    warmth: float,
    push: float,
    shoulder: float,
    smear: float,
    colour: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """A picture developed from a noisy sensor.

    The picture is taken back to the light on the sensor (a power of 2.2, then ``y = u (1 + s) / (1 + s u)``, which
    brightens shadows and rolls highlights off as cameras' curves do), gets the measured noise with the grain of
    demosaicing, loses a part of the noise's colour, and is developed again. A file's compression is `jpeg`'s task.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        stops, camera, readout, warmth: see :func:`profile`.
        push: stops by which the exposure was brightened afterwards.
        shoulder: s of the tone curve.
        smear: see :func:`mosaic_grain`.
        colour: share of the noise's colour that the camera's own noise reduction leaves.
        rng: source of the noise.

    Returns:
        float32 image in [0, 1].
    """
    shot, read = profile(stops=stops, camera=camera, readout=readout, warmth=warmth)
    gain, bend = np.float32(2.0**push), np.float32(shoulder)
    light = cv2.pow(np.maximum(image, 0), 2.2).reshape(image.shape)
    light /= 1 + bend - bend * light
    noise = mosaic_grain(image.shape[:2], smear=smear, rng=rng)
    noise *= cv2.sqrt(light * (shot * gain) + (read * gain) ** 2).reshape(image.shape)
    grey = (noise @ _GREY)[..., None]
    noise = grey + (noise - grey) * np.float32(colour)
    light += noise
    np.maximum(light, 0, out=light)
    light *= (1 + bend) / (1 + bend * light)
    np.minimum(light, 1, out=light)
    return cv2.pow(light, 1 / 2.2).reshape(image.shape)

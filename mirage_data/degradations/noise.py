"""What a camera and its file add: the paper's Gaussian noise on 8-bit values, photon noise, noise of cameras, JPEG.

The noise of real cameras has its strength from measured profiles, its grain from demosaicing, then a tone curve.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np


def gaussian_noise_uint8(image_u8: np.ndarray, *, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add white Gaussian noise to an 8-bit image, clip to 0..255 and truncate, as the paper's experiments do.

    Args:
        image_u8: ``(h, w)`` or ``(h, w, c)``, uint8.
        sigma: Standard deviation in 8-bit steps (15, 25 and 50 in the paper's tables).
        rng: Source of the noise.

    Returns:
        uint8 array of the same shape. Truncation (not rounding) darkens the image by half a step on average; networks
        trained and tested this way know it, so it is part of the definition.

    Raises:
        ValueError: The image is not uint8.
    """
    if image_u8.dtype != np.uint8:
        raise ValueError(f'gaussian_noise_uint8 needs a uint8 image, found {image_u8.dtype}')
    noisy = rng.standard_normal(image_u8.shape, dtype=np.float32)
    noisy *= sigma
    noisy += image_u8
    np.clip(noisy, 0, 255, out=noisy)
    return noisy.astype(np.uint8)


def unclipped_noise(image_u8: np.ndarray, *, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """The same noise, neither clipped nor rounded, as many denoising papers add it: float32 around [0, 1].

    The same generator gives the same noise as `gaussian_noise_uint8`.
    """
    noisy = rng.standard_normal(image_u8.shape, dtype=np.float32)
    noisy *= sigma
    noisy += image_u8
    noisy *= np.float32(1 / 255)
    return noisy


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Round values in [0, 1] to 8 bits. Values outside are clipped."""
    scaled = image * np.float32(255)
    np.clip(scaled, 0, 255, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def gaussian_noise(image: np.ndarray, *, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """The paper's Gaussian noise for an image in [0, 1], which is taken as an 8-bit photograph.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        sigma: Standard deviation in 8-bit steps.
        rng: Source of the noise.

    Returns:
        float32 image of the same shape whose values are whole 8-bit steps.
    """
    noisy = gaussian_noise_uint8(to_uint8(image), sigma=sigma, rng=rng).astype(np.float32)
    noisy *= np.float32(1 / 255)
    return noisy


def poisson_noise(image: np.ndarray, *, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Photon (shot) noise: every value becomes a Poisson count with mean ``value * photons``, divided by ``photons``.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        photons: Photons that a white pixel receives; fewer is noisier. The deviation at value v is sqrt(v / photons).
        rng: Source of the noise.

    Returns:
        float32 image clipped to [0, 1].
    """
    counts = rng.poisson(np.maximum(image, 0) * np.float32(photons)).astype(np.float32)
    counts *= np.float32(1 / photons)
    return np.minimum(counts, 1, out=counts)


def camera_noise(image: np.ndarray, *, shot: float, read: float, grain: float, rng: np.random.Generator) -> np.ndarray:
    """Noise as it leaves a camera: signal-dependent, made in linear light, smeared by demosaicing, then tone-mapped.

    In linear light x the variance is ``shot * x + read ** 2``, the usual Poisson-Gaussian sensor model (Foi et al.,
    "Practical Poissonian-Gaussian noise modeling", 2008). The tone curve is a power of 2.2.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        shot: Variance of the photon noise at white, in linear light.
        read: Deviation of the read-out noise, in linear light.
        grain: Correlation of neighbouring pixels in pixels (standard deviation of the smear); 0 leaves white noise.
        rng: Source of the noise.

    Returns:
        float32 image in [0, 1].
    """
    linear = cv2.pow(np.maximum(image, 0), 2.2)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    if grain > 0.1:
        energy = noise.std() + 1e-12
        noise = cv2.GaussianBlur(noise, (0, 0), grain, borderType=cv2.BORDER_REFLECT).reshape(image.shape)
        noise *= np.float32(energy / (noise.std() + 1e-12))  # smearing must not make the noise weaker, only coarser
    noise *= cv2.sqrt(linear * np.float32(shot) + np.float32(read * read))
    linear += noise
    np.clip(linear, 0, 1, out=linear)
    return cv2.pow(linear, 1 / 2.2)


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
        stops: Sensitivity in stops above ISO 100, 0 to 9.
        camera: Rank of its photon noise among cameras at that sensitivity, 0 (least noise) to 1.
        readout: Rank of its read noise among cameras with about that photon noise, 0 to 1.
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
        shape: Height and width.
        smear: Standard deviation in pixels of the smoothing after it; 0 for none.
        rng: Source of the mosaic's noise and of its phase.

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
        stops, camera, readout, warmth: See `profile`.
        push: Stops by which the exposure was brightened afterwards.
        shoulder: S of the tone curve.
        smear: See `mosaic_grain`.
        colour: Share of the noise's colour that the camera's own noise reduction leaves.
        rng: Source of the noise.

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


def jpeg(image: np.ndarray, *, quality: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Write the image as JPEG (baseline, 4:2:0 colour) and read it again; nothing about it is random.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        quality: libjpeg's quality, 1 to 100.
        rng: Not used; accepted because every degradation takes one.

    Returns:
        float32 image in [0, 1] of whole 8-bit steps.
    """
    bgr = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not done:
        raise ValueError(f'OpenCV could not write a JPEG of quality {quality} and shape {image.shape}')
    decoded = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.float32)
    decoded *= np.float32(1 / 255)
    return decoded

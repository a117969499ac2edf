"""Noise: the paper's Gaussian noise on 8-bit values, photon noise, and the noise of a small camera."""

from __future__ import annotations

import cv2
import numpy as np


def gaussian_noise_uint8(image_u8: np.ndarray, *, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add white Gaussian noise to an 8-bit image, clip to 0..255 and truncate, as the paper's experiments do.

    Args:
        image_u8: ``(h, w)`` or ``(h, w, c)``, uint8.
        sigma: standard deviation in 8-bit steps (15, 25 and 50 in the paper's tables).
        rng: source of the noise.

    Returns:
        uint8 array of the same shape. Truncation (not rounding) darkens the image by half a step on average; networks
        trained and tested this way know it, so it is part of the definition.

    Raises:
        ValueError: the image is not uint8.
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
        sigma: standard deviation in 8-bit steps.
        rng: source of the noise.

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
        photons: photons that a white pixel receives; fewer is noisier. The deviation at value v is sqrt(v / photons).
        rng: source of the noise.

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
        shot: variance of the photon noise at white, in linear light.
        read: deviation of the read-out noise, in linear light.
        grain: correlation of neighbouring pixels in pixels (standard deviation of the smear); 0 leaves white noise.
        rng: source of the noise.

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

"""Light and air: gamma, equalised brightness, and haze taken off by the dark channel.

Images are (h, w, 3) float32 RGB in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np

from mirage_data.degradations.depth import guided_filter

_STEPS = 255  # of the lightness: with 16 bits OpenCV's histogram is too fine for tiles of usual size
_DARKEST = 1e-3  # mean below which a picture is taken for black


def gain(image: np.ndarray, *, target: float) -> np.ndarray:
    """Multiply by the factor that brings the mean to `target`, before values above 1 are clipped; never darken."""
    return np.clip(image * max(1.0, target / max(float(image.mean()), _DARKEST)), 0, 1)


def gamma(image: np.ndarray, *, target: float) -> np.ndarray:
    """Raise to the power that brings the mean value itself to `target`; never darken."""
    mean = float(np.clip(image.mean(), _DARKEST, 1 - _DARKEST))
    return cv2.pow(image, min(1.0, float(np.log(target) / np.log(mean))))


def clahe(image: np.ndarray, *, clip: float, tiles: int = 8) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation of the lightness (CIE Lab).

    Args:
        image: (h, w, 3) float32 in [0, 1].
        clip: limit of the contrast, in units of a flat histogram.
        tiles: number of tiles along each side.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lightness = np.rint(lab[..., 0] * (_STEPS / 100)).astype(np.uint8)
    lab[..., 0] = cv2.createCLAHE(clip, (tiles, tiles)).apply(lightness) * np.float32(100 / _STEPS)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1)


_HAZIEST = 0.001  # share of the pixels that the airlight is read from


def dark_channel(image: np.ndarray, patch: int) -> np.ndarray:
    """Smallest value of any channel in the patch around each pixel: (h, w, 3) -> (h, w); equation 5."""
    return cv2.erode(image.min(axis=2), np.ones((patch, patch), np.uint8))


def airlight(image: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Colour of the haze: mean of the pixels whose dark channel is among the brightest 0.1 %; (3,) float32.

    The mean instead of the paper's single brightest pixel: a white shirt must not decide.
    """
    count = max(1, round(_HAZIEST * dark.size))
    places = np.argpartition(dark, -count, axis=None)[-count:]
    return image.reshape(-1, 3)[places].mean(axis=0)


def transmission(image: np.ndarray, light: np.ndarray, *, omega: float, patch: int) -> np.ndarray:
    """Share of the scene's light that reaches the camera, before refinement: (h, w); equation 12."""
    return 1 - omega * dark_channel(image / np.maximum(light, 1e-3), patch)


def dark_channel_prior(
    image: np.ndarray, *, omega: float = 0.95, patch: int = 15, floor: float = 0.1, radius: int = 30, eps: float = 1e-3
) -> np.ndarray:
    """Remove haze; the transmission is refined by a guided filter on the grey image.

    Args:
        image: (h, w, 3) float32 in [0, 1].
        omega: share of the haze that is removed.
        patch: side of the dark channel's patches in pixels, odd.
        floor: least transmission.
        radius: of the guided filter, in pixels.
        eps: of the guided filter.

    Source: equation 16 (recovering the scene); the guided filter in place of matting: He et al., TPAMI 2013.
    """
    light = airlight(image, dark_channel(image, patch))
    rough = transmission(image, light, omega=omega, patch=patch)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    refined = guided_filter(grey, rough, size=2 * radius + 1, epsilon=eps, border=cv2.BORDER_REFLECT)
    scene = (image - light) / np.maximum(refined, floor)[..., None] + light
    return np.clip(scene, 0, 1).astype(np.float32)

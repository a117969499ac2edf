"""JPEG compression."""

from __future__ import annotations

import cv2
import numpy as np

from .noise import to_uint8


def jpeg(image: np.ndarray, *, quality: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Write the image as JPEG (baseline, 4:2:0 colour) and read it again; nothing about it is random.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        quality: libjpeg's quality, 1 to 100.
        rng: not used; accepted because every degradation takes one.

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

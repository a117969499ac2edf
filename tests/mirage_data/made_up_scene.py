"""A made-up photograph with what degradations look at: a sky, texture, edges."""

import numpy as np
from scipy import ndimage


def scene(height: int = 72, width: int = 96) -> np.ndarray:
    """A made-up landscape: bright sky, a textured ground, a few boxes. float32 RGB in [0, 1]."""
    rng = np.random.default_rng(3)
    image = np.empty((height, width, 3), np.float32)
    image[: height // 3] = (0.6, 0.75, 0.9)
    image[height // 3 :] = (0.35, 0.4, 0.2)
    image += ndimage.gaussian_filter(rng.standard_normal(image.shape), (1, 1, 0)).astype(np.float32) * 0.15
    image[height // 4 : height // 2, width // 5 : width // 3] = (0.7, 0.2, 0.15)
    image[height // 2 : -4, width // 2 : width // 2 + 12] = (0.1, 0.12, 0.3)
    return np.clip(image, 0, 1)


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)

"""Images made of random numbers, and how tests write them."""

from pathlib import Path

import cv2
import numpy as np


def random_image(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode('.png', image[..., ::-1])[1].tobytes())

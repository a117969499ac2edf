"""Small folders of made-up images."""

import numpy as np
import pytest
from made_up_images import random_image, write_png


@pytest.fixture
def image_folder(tmp_path):
    """`image_folder('clean', ['a.png', 'b.png'], seed=0)` writes distinct images and returns {name: pixels}."""

    def make(folder: str, names: list[str], seed: int = 0, size: tuple[int, int] = (48, 64)) -> dict[str, np.ndarray]:
        images = {name: random_image(seed + number, *size) for number, name in enumerate(names)}
        for name, image in images.items():
            write_png(tmp_path / folder / name, image)
        return images

    return make


@pytest.fixture
def rain_pairs(tmp_path, image_folder):
    """Options of six training pairs in Rain100L's naming, 48x64 pixels."""
    image_folder('rainy', [f'rain-{number}.png' for number in range(1, 7)], seed=100)
    image_folder('gt', [f'norain-{number}.png' for number in range(1, 7)], seed=200)
    return {
        'task': 'derain',
        'dataroot_lq': str(tmp_path / 'rainy'),
        'dataroot_gt': str(tmp_path / 'gt'),
        'pairing': 'rain100l',
        'phase': 'train',
        'gt_size': 16,
    }

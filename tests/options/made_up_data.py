"""Every data set of the table, in its layout, with a few small made-up pictures under names of its kind."""

from pathlib import Path

import cv2
import numpy as np

from mirage_data.sets.table import all_data_sets

# pairing rule: (degraded name, clean name) of picture n
NAMES = {
    'same_name': ('{n}.png', '{n}.png'),
    'rain100l': ('rain-{n}.png', 'norain-{n}.png'),
    'ots': ('part{n}/000{n}_0.8_0.04.jpg', '000{n}.jpg'),
    'sots': ('000{n}_0.8_0.04.jpg', '000{n}.png'),
    'raindrop': ('{n}_rain.png', '{n}_clean.png'),
    'outdoor_rain': ('im_000{n}_s80_a04.png', 'im_000{n}.png'),
}
NOISE_NAMES = {'bsd400': '10007{n}.jpg', 'wed': '0000{n}.bmp'}


def make_all(root: Path, count: int = 2, size: tuple[int, int] = (50, 66)) -> None:
    """Fill `root`/datasets; a folder that two sets share gets the pictures of both."""
    rng = np.random.default_rng(0)
    for row in all_data_sets().values():
        for part in row.parts:
            lq_name, gt_name = NAMES[part.pairing]
            if part.lq is None:
                gt_name = NOISE_NAMES.get(row.name, '{n}.png')
            for number in range(1, count + 1):
                clean = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
                _write(root / 'datasets' / part.gt / gt_name.format(n=number), clean)
                if part.lq is not None:
                    degraded = np.clip(clean * 0.7 + rng.normal(0, 8, clean.shape), 0, 255).astype(np.uint8)
                    _write(root / 'datasets' / part.lq / lq_name.format(n=number), degraded)


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        assert cv2.imwrite(str(path), image)

"""Renew what docs/degradations.md shows: the sheet of examples and the table of parameters.

    python research/figures/degradation_sheet.py

The photographs ship with scikit-learn and scikit-image: china (danielbuechele, CC BY 2.0); astronaut (NASA), coffee
(Rachel Michetti) and chelsea (Stefan van der Walt), in the public domain or CC0.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_data.degradations import TABLE, apply, draw
from mirage_ir.measuring.tables import markdown_table

ROOT = Path(__file__).resolve().parents[2]
PAGE, SHEET = ROOT / 'docs' / 'degradations.md', ROOT / 'docs' / 'degradations.jpg'
BEGIN, END = '<!-- parameters: written by research/figures/degradation_sheet.py -->', '<!-- end of parameters -->'
WIDTH, HEIGHT, COLUMNS, CAPTION = 320, 240, 4, 22
# one seed for each example, chosen so that its strength is in the middle of the range
SEEDS = {'raindrops': 5, 'snow': 4, 'haze': 6, 'rain': 2, 'underwater': 1, 'motion_blur': 3}


def photographs() -> list[np.ndarray]:
    """Crops of four photographs, ``(HEIGHT, WIDTH, 3)`` float32 in [0, 1], at full size."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    places = (
        (load_sample_image('china.jpg'), 110, 150),
        (data.astronaut(), 0, 60),
        (data.coffee(), 60, 150),
        (data.chelsea(), 20, 70),
    )
    return [image[top : top + HEIGHT, left : left + WIDTH].astype(np.float32) / 255 for image, top, left in places]


def sheet() -> np.ndarray:
    """Every degradation once, with its name below: uint8 RGB."""
    scenes, tiles = photographs(), []
    for number, name in enumerate(TABLE):
        row = TABLE[name]
        scene = scenes[0 if row.windowed or row.stage < 30 else number % len(scenes)]
        rng = np.random.default_rng(SEEDS.get(name, 0))
        degraded = np.clip(apply(name, scene, draw(name, rng), rng), 0, 1)
        tile = np.full((HEIGHT + CAPTION, WIDTH, 3), 255, np.uint8)
        tile[:HEIGHT] = np.rint(degraded * 255)
        cv2.putText(tile, name, (4, HEIGHT + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[first : first + COLUMNS], axis=1) for first in range(0, len(tiles), COLUMNS)]
    return np.concatenate(rows, axis=0)


def parameter_table() -> str:
    """The table of degradations as Markdown; the eleven CDD11 types by the parts they are made of."""
    rows = []
    for name, row in TABLE.items():
        if name.count('_') > 1:  # a CDD11 type of several parts
            continue
        drawn = '<br>'.join(f'`{key}` {p.low:g} to {p.high:g}' for key, p in row.parameters.items())
        allowed = '<br>'.join(f'{p.least:g} to {p.most:g}' for p in row.parameters.values())
        rows.append([f'`{name}`', row.task, drawn or '-', allowed or '-'])
    return markdown_table(['name', 'task', 'drawn from', 'allowed'], rows)


def main() -> int:
    """Writes both and returns 0."""
    cv2.imwrite(str(SHEET), sheet()[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    text = PAGE.read_text(encoding='utf-8')
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f'{before}{BEGIN}\n\n{parameter_table()}\n\n{END}{after}', encoding='utf-8')
    print(f'{SHEET.relative_to(ROOT)} and the table in {PAGE.relative_to(ROOT)} renewed')
    return 0


if __name__ == '__main__':
    sys.exit(main())

"""Renew the sheets of pictures in the documentation: every degradation, and photographs degraded and restored.

    python research/figures/sheets.py degradations
    python research/figures/sheets.py gallery --packages UNPACKED [--weights W] [--out docs/gallery.jpg]

degradations: docs/degradations.jpg and the table of parameters in docs/degradations.md. Photographs: scikit-learn's
china (danielbuechele, CC BY 2.0) and scikit-image's astronaut (NASA), coffee (Rachel Michetti) and chelsea (Stefan van
der Walt), in the public domain or CC0.

gallery: what the README shows. Photographs: coffee, chelsea and china as above, scikit-learn's flower (vultilion, CC BY
2.0), and four of the Debian package lomiri-wallpapers-16.04 (all CC BY 4.0), unpacked below --packages. The weights in
the package have seen none of them in training.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_data.degradations import TABLE, apply, degrade, draw
from mirage_ir.measuring.metrics import psnr_float
from mirage_ir.measuring.tables import markdown_table
from mirage_restore import Restorer
from research.common import ROOT, ended, parser_of

PAGE, SHEET = ROOT / 'docs' / 'degradations.md', ROOT / 'docs' / 'degradations.jpg'
BEGIN, END = '<!-- parameters: written by research/figures/sheets.py -->', '<!-- end of parameters -->'
WIDTH, HEIGHT, COLUMNS, CAPTION = 320, 240, 4, 22
# one seed for each example, chosen so that its strength is in the middle of the range
SEEDS = {'raindrops': 5, 'snow': 4, 'haze': 6, 'rain': 2, 'underwater': 1, 'motion_blur': 3}
SIDE, SHOWN = 512, 330  # of the gallery's photographs, and of their pictures in it
# Photograph, caption, recipe, seed.
ROWS = (
    ('life_by_Aitzol_Berasategi', 'noise', {'degradation': 'gaussian_noise', 'sigma': 35}, 0),
    ('Wine_by_Jakkub_Mede', 'rain', {'degradation': 'rain'}, 2),
    ('china', 'haze', {'degradation': 'haze'}, 6),
    ('friends_by_Aitzol_Berasategi', 'snow', {'degradation': 'snow'}, 4),
    ('coffee', 'low light', {'degradation': 'low_light'}, 1),
    ('Picture_1A_by_freespace', 'motion blur', {'degradation': 'motion_blur'}, 3),
    ('chelsea', 'JPEG', {'degradation': 'jpeg', 'quality': [12, 15]}, 0),
    ('flower', 'low light, haze and snow', {'degradation': 'cdd11_low_haze_snow'}, 3),
)


def packaged(name: str) -> np.ndarray:
    """A photograph that scikit-image or scikit-learn brings, uint8 RGB."""
    if name in ('china', 'flower'):
        from sklearn.datasets import load_sample_image

        return load_sample_image(f'{name}.jpg')
    from skimage import data

    return getattr(data, name)()


def captioned(picture: np.ndarray, text: str, *, above: bool) -> np.ndarray:
    """A picture in [0, 1] with a line of text above or below it, uint8 RGB."""
    band = np.full((CAPTION, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(band, text, (4, CAPTION - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    shown = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return np.concatenate([band, shown] if above else [shown, band])


def write_sheet(path: Path, tiles: list[np.ndarray], quality: int) -> None:
    """Writes tiles of one size in rows of `COLUMNS`, the last one filled up with white."""
    tiles = tiles + [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[first : first + COLUMNS], axis=1) for first in range(0, len(tiles), COLUMNS)]
    cv2.imwrite(str(path), np.concatenate(rows)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


# ---- degradations ---------------------------------------------------------------------------------------------------
def degraded_tiles() -> list[np.ndarray]:
    """Every degradation once, with its name below."""
    places = (('china', 110, 150), ('astronaut', 0, 60), ('coffee', 60, 150), ('chelsea', 20, 70))
    scenes = [
        packaged(name)[top : top + HEIGHT, left : left + WIDTH].astype(np.float32) / 255 for name, top, left in places
    ]
    tiles = []
    for number, name in enumerate(TABLE):
        row = TABLE[name]
        scene = scenes[0 if row.windowed or row.stage < 30 else number % len(scenes)]
        rng = np.random.default_rng(SEEDS.get(name, 0))
        tiles.append(captioned(apply(name, scene, draw(name, rng), rng), name, above=False))
    return tiles


def parameter_table() -> str:
    """The table of degradations as Markdown; the eleven CDD11 types by the parts they are made of."""
    rows = []
    for name, row in TABLE.items():
        if name.startswith('cdd11_') and name.count('_') > 1:  # of several parts
            continue
        drawn = '<br>'.join(f'`{key}` {p.low:g} to {p.high:g}' for key, p in row.parameters.items())
        allowed = '<br>'.join(f'{p.least:g} to {p.most:g}' for p in row.parameters.values())
        rows.append([f'`{name}`', row.task, drawn or '-', allowed or '-'])
    return markdown_table(['name', 'task', 'drawn from', 'allowed'], rows)


def degradations() -> None:
    """Writes the sheet and the table."""
    write_sheet(SHEET, degraded_tiles(), quality=88)
    text = PAGE.read_text(encoding='utf-8')
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f'{before}{BEGIN}\n\n{parameter_table()}\n\n{END}{after}', encoding='utf-8')
    print(f'{SHEET.relative_to(ROOT)} and the table in {PAGE.relative_to(ROOT)} renewed')


# ---- gallery --------------------------------------------------------------------------------------------------------
def photograph(name: str, packages: Path) -> np.ndarray:
    """A photograph by name, its middle square at `SIDE` pixels, float32 RGB in [0, 1].

    Raises:
        FileNotFoundError: It is not below ``packages``.
    """
    if name in ('coffee', 'chelsea', 'china', 'flower'):
        image = packaged(name)
    else:
        found = sorted(packages.rglob(f'{name}.*'))
        if not found:
            raise FileNotFoundError(f'{packages}: {name} of lomiri-wallpapers-16.04 is not there')
        image = cv2.cvtColor(cv2.imread(str(found[0])), cv2.COLOR_BGR2RGB)
    h, w = image.shape[:2]
    side = min(h, w)
    image = image[(h - side) // 2 : (h + side) // 2, (w - side) // 2 : (w + side) // 2]
    size = min(side, SIDE) // 16 * 16
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def tile(caption: str, degraded: np.ndarray, restored: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """The degraded picture above the restored one, with PSNR."""
    before, after = (psnr_float(x, clean) for x in (degraded, restored))
    pictures = [cv2.resize(x, (SHOWN, SHOWN), interpolation=cv2.INTER_AREA) for x in (degraded, restored)]
    shown = captioned(np.concatenate(pictures), f'{caption}: {before:.1f} -> {after:.1f} dB', above=True)
    return np.pad(shown, ((0, 8), (0, 8), (0, 0)), constant_values=255)


def gallery(args: argparse.Namespace) -> None:
    """Writes the gallery."""
    restore, tiles = Restorer(args.weights), []
    for name, caption, recipe, seed in tqdm(ROWS, desc='photographs', unit='image'):
        clean = photograph(name, args.packages)
        degraded = np.clip(degrade(clean, [recipe], np.random.default_rng(seed))[0], 0, 1).astype(np.float32)
        tiles.append(tile(caption, degraded, restore(degraded), clean))
    write_sheet(args.out, tiles, quality=82)
    print(args.out)


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    kinds.add_parser('degradations', help='of docs/degradations.md')
    shown = kinds.add_parser('gallery', help='of the README')
    shown.add_argument('--packages', type=Path, required=True, help='folder of the unpacked Debian package')
    shown.add_argument('--weights', help='default: those in the package')
    shown.add_argument('--out', type=Path, default=ROOT / 'docs' / 'gallery.jpg')
    args = parser.parse_args(argv)
    return ended(lambda: gallery(args) if args.kind == 'gallery' else degradations())


if __name__ == '__main__':
    sys.exit(main())

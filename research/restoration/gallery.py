"""Make the sheet of degraded and restored photographs that the README shows.

    python research/restoration/gallery.py --packages UNPACKED [--weights W] [--out docs/gallery.jpg]

Photographs: scikit-image's coffee (Rachel Michetti, CC0) and chelsea (Stefan van der Walt, CC0), scikit-learn's china
(danielbuechele, CC BY 2.0) and flower (vultilion, CC BY 2.0), and four of the Debian package lomiri-wallpapers-16.04
(all CC BY 4.0), unpacked below --packages. The weights in the package have seen none of them in training.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mirage_data.degradations import degrade
from mirage_ir.measuring.metrics import psnr_float
from mirage_restore import Restorer

ROOT = Path(__file__).resolve().parents[2]
SIDE, SHOWN, COLUMNS, BAND = 512, 330, 4, 22
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


def photograph(name: str, packages: Path) -> np.ndarray:
    """A photograph by name, its middle square at `SIDE` pixels, float32 RGB in [0, 1].

    Raises:
        FileNotFoundError: It is not below ``packages``.
    """
    import sklearn.datasets
    from skimage import data

    if name in ('coffee', 'chelsea'):
        image = getattr(data, name)()
    elif name in ('china', 'flower'):
        image = sklearn.datasets.load_sample_image(f'{name}.jpg')
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
    """The degraded picture above the restored one, with PSNR: uint8 BGR."""
    before, after = (psnr_float(x, clean) for x in (degraded, restored))
    pictures = [cv2.resize(x, (SHOWN, SHOWN), interpolation=cv2.INTER_AREA) for x in (degraded, restored)]
    image = np.rint(np.clip(np.concatenate(pictures), 0, 1) * 255).astype(np.uint8)[:, :, ::-1]
    image = np.pad(image, ((BAND, 8), (0, 8), (0, 0)), constant_values=255)
    text = f'{caption}: {before:.1f} -> {after:.1f} dB'
    return cv2.putText(image, text, (2, BAND - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--packages', type=Path, required=True, help='folder of the unpacked Debian package')
    parser.add_argument('--weights', help='default: those in the package')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'gallery.jpg')
    args = parser.parse_args()
    try:
        restore, tiles = Restorer(args.weights), []
        for name, caption, recipe, seed in tqdm(ROWS, desc='photographs', unit='image'):
            clean = photograph(name, args.packages)
            degraded = np.clip(degrade(clean, [recipe], np.random.default_rng(seed))[0], 0, 1).astype(np.float32)
            tiles.append(tile(caption, degraded, restore(degraded), clean))
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    rows = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    cv2.imwrite(str(args.out), np.concatenate(rows), [cv2.IMWRITE_JPEG_QUALITY, 82])
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())

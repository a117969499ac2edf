"""Collect the clean photographs that the bundled weights are trained and measured on.

    python research/restoration/photographs.py --bsds BSDS500 --list leak_free.txt --packages UNPACKED

``--bsds`` is a folder with the images of BSDS500 (searched with its subfolders), ``--list`` a text file with the names
to use: those whose scene is in neither CBSD68 nor Rain100L. ``--packages`` holds the unpacked Debian packages
lomiri-wallpapers-16.04, lomiri-wallpapers-20.04, mate-backgrounds and plasma-workspace-wallpapers
(``apt-get download NAME``, ``dpkg -x FILE UNPACKED/NAME``). Of each only photographs are taken, scaled down to about a
megapixel. Every 21st of BSDS500 and eight of the others go to ``heldout``, everything else to ``train``. What is larger
goes there twice more, scaled down to a shorter side of 160 (``train_160``) and 320 pixels (``train_320``, which the
photographs of BSDS500 have as they are), so that a crop of that size shows most of a scene.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

MEGAPIXEL = 1_000_000
OVERVIEWS = (160, 320)  # pixels of the shorter side
LARGER = 1.25  # a photograph is scaled down if its shorter side is so many times longer
EVERY = 21

# Photographs among the packages' pictures, by file name or, for KDE's, by folder name.
TRAIN = (
    'Aqua',
    'Blinds',
    'Bridge_by_Sander_Klootwijk',
    'BytheWater',
    'ColdRipple',
    'DarkestHour',
    'Dragonfly_by_Bolly',
    'Dune',
    'EveningGlow',
    'FreshFlower',
    'GreenMeadow',
    'Grey',
    'Kite',
    'Kleiber_by_Lukas_Baubkus',
    'OneStandsOut',
    'Path',
    'Picture_0B_by_freespace',
    'RainDrops',
    'Storm',
    'TwoWings',
    'Wood',
    'YellowFlower',
    'aitzgorri_by_Aitzol_Berasategi',
    'free_by_Peter_Nerlich',
    'greentock_by_Peter_Nerlich',
    'seeding_by_Clements_Engelhardt',
    'summer_1am',
    'sunset_by_Aitzol_Berasategi',
)
HELD_OUT = (
    'ColorfulCups',
    'FallenLeaf',
    'Garden',
    'LadyBird',
    'Picture_1A_by_freespace',
    'Wine_by_Jakkub_Mede',
    'friends_by_Aitzol_Berasategi',
    'life_by_Aitzol_Berasategi',
)


def images_below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg', '.png'))


def find_photograph(name: str, images: list[Path]) -> Path:
    """The picture called ``name``, or the widest one in a folder of that name.

    Raises:
        FileNotFoundError: None is there.
    """
    found = [p for p in images if p.stem == name] or [
        p for p in images if name in p.parts and p.parent.name == 'images' and p.stem.split('x')[0].isdigit()
    ]
    if not found:
        raise FileNotFoundError(f'{name}: no picture or folder of that name; are all packages unpacked?')
    return max(found, key=lambda p: int(p.stem.split('x')[0]) if p.stem.split('x')[0].isdigit() else 0)


def read_scaled(source: Path) -> np.ndarray:
    """A picture (h, w, 3), uint8 BGR, scaled down so that it has about a megapixel at most.

    Raises:
        ValueError: The file is not a readable image.
    """
    image = cv2.imread(str(source))
    if image is None:
        raise ValueError(f'{source}: not a readable image')
    scale = (MEGAPIXEL / (image.shape[0] * image.shape[1])) ** 0.5
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image


def overview(image: np.ndarray, shorter: int) -> np.ndarray:
    """The picture with a shorter side of ``shorter`` pixels."""
    height, width = image.shape[:2]
    size = (round(side * shorter / min(height, width)) for side in (width, height))
    return cv2.resize(image, tuple(size), interpolation=cv2.INTER_AREA)


def write_png(target: Path, image: np.ndarray) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), image)


def collect(bsds: Path, names: Path, packages: Path) -> list[tuple[Path, str, str]]:
    """Every photograph: its file, ``train`` or ``heldout``, and its name in there.

    Raises:
        ValueError: No names, or images that are named and absent.
        OSError: The list is not readable, or a photograph of the packages is absent.
    """
    by_stem = {p.stem: p for p in images_below(bsds)}
    wanted = sorted(Path(line.strip()).stem for line in names.read_text().splitlines() if line.strip())
    absent = [name for name in wanted if name not in by_stem]
    if absent or not wanted:
        raise ValueError(f'{bsds}: {len(absent)} of the {len(wanted)} images of {names} are missing {absent[:3]}')
    found = [(by_stem[name], 'train' if i % EVERY else 'heldout', f'bsds500/{name}') for i, name in enumerate(wanted)]
    packaged = images_below(packages)
    for photographs, part in ((TRAIN, 'train'), (HELD_OUT, 'heldout')):
        found += [(find_photograph(name, packaged), part, f'packages/{name}') for name in photographs]
    return found


def prepare(photographs: list[tuple[Path, str, str]], out: Path) -> None:
    for source, part, name in tqdm(photographs, desc='photographs', unit='image'):
        image = read_scaled(source)
        write_png(out / part / f'{name}.png', image)
        for side in OVERVIEWS:
            if part == 'train' and min(image.shape[:2]) >= LARGER * side:
                write_png(out / f'train_{side}' / f'{name}.png', overview(image, side))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bsds', type=Path, required=True)
    parser.add_argument('--list', type=Path, required=True, help='names of the images of BSDS500 to use, one a line')
    parser.add_argument('--packages', type=Path, required=True)
    parser.add_argument('--out', type=Path, default=Path('datasets/Bundled'))
    args = parser.parse_args()
    try:
        photographs = collect(args.bsds, args.list, args.packages)
        prepare(photographs, args.out)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    parts = [part for _, part, _ in photographs]
    print(f'{args.out}: {parts.count("train")} photographs to train on, {parts.count("heldout")} held out')
    return 0


if __name__ == '__main__':
    sys.exit(main())

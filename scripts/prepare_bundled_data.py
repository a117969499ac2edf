"""Collect the clean photographs that the bundled weights are trained and measured on.

    python scripts/prepare_bundled_data.py --bsds BSDS500 --list leak_free.txt --packages UNPACKED

``--bsds`` is a folder with the images of BSDS500 (searched with its subfolders), ``--list`` a text file with the names
to use: those whose scene is in neither CBSD68 nor Rain100L. ``--packages`` holds the unpacked Debian packages
lomiri-wallpapers-16.04, lomiri-wallpapers-20.04, mate-backgrounds and plasma-workspace-wallpapers
(``apt-get download NAME``, ``dpkg -x FILE UNPACKED/NAME``). Of each only photographs are taken, scaled down to about a
megapixel. Every 21st of BSDS500 and eight of the others go to ``heldout``, everything else to ``train``.
"""
import argparse
import sys
from pathlib import Path

import cv2
from tqdm import tqdm

MEGAPIXEL = 1_000_000
EVERY = 21

# Photographs among the packages' pictures, by file name or, for KDE's, by folder name.
TRAIN = (
    'Aqua', 'Blinds', 'Bridge_by_Sander_Klootwijk', 'BytheWater', 'ColdRipple', 'DarkestHour', 'Dragonfly_by_Bolly',
    'Dune', 'EveningGlow', 'FreshFlower', 'GreenMeadow', 'Grey', 'Kite', 'Kleiber_by_Lukas_Baubkus', 'OneStandsOut',
    'Path', 'Picture_0B_by_freespace', 'RainDrops', 'Storm', 'TwoWings', 'Wood', 'YellowFlower',
    'aitzgorri_by_Aitzol_Berasategi', 'free_by_Peter_Nerlich', 'greentock_by_Peter_Nerlich',
    'seeding_by_Clements_Engelhardt', 'summer_1am', 'sunset_by_Aitzol_Berasategi',
)  # fmt: skip
HELD_OUT = (
    'ColorfulCups', 'FallenLeaf', 'Garden', 'LadyBird', 'Picture_1A_by_freespace', 'Wine_by_Jakkub_Mede',
    'friends_by_Aitzol_Berasategi', 'life_by_Aitzol_Berasategi',
)  # fmt: skip


def images_below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg', '.png'))


def find_photograph(name: str, images: list[Path]) -> Path:
    """The picture called ``name``, or the widest one in a folder of that name.

    Raises:
        FileNotFoundError: None is there.
    """
    found = [p for p in images if p.stem == name] or [
        p for p in images if name in p.parts and p.parent.name == 'images' and p.stem.split('x')[0].isdigit()]
    if not found:
        raise FileNotFoundError(f'{name}: no picture or folder of that name; are all packages unpacked?')
    return max(found, key=lambda p: int(p.stem.split('x')[0]) if p.stem.split('x')[0].isdigit() else 0)


def copy_scaled(source: Path, target: Path) -> None:
    """Write ``source`` as PNG, scaled down so that it has about a megapixel at most.

    Raises:
        ValueError: The file is not a readable image.
    """
    image = cv2.imread(str(source))
    if image is None:
        raise ValueError(f'{source}: not a readable image')
    scale = (MEGAPIXEL / (image.shape[0] * image.shape[1])) ** 0.5
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), image)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bsds', type=Path, required=True)
    parser.add_argument('--list', type=Path, required=True, help='names of the images of BSDS500 to use, one a line')
    parser.add_argument('--packages', type=Path, required=True)
    parser.add_argument('--out', type=Path, default=Path('datasets/Bundled'))
    args = parser.parse_args()

    by_stem = {p.stem: p for p in images_below(args.bsds)}
    wanted = sorted(Path(line.strip()).stem for line in args.list.read_text().splitlines() if line.strip())
    absent = [name for name in wanted if name not in by_stem]
    if absent or not wanted:
        sys.exit(f'{args.bsds}: {len(absent)} of {len(wanted)} listed images are missing, e.g. {absent[:3]}')
    jobs = [(by_stem[name], 'train' if i % EVERY else 'heldout', f'bsds500/{name}') for i, name in enumerate(wanted)]
    packaged = images_below(args.packages)
    for names, part in ((TRAIN, 'train'), (HELD_OUT, 'heldout')):
        jobs += [(find_photograph(name, packaged), part, f'packages/{name}') for name in names]
    for source, part, name in tqdm(jobs, desc='photographs', unit='image'):
        copy_scaled(source, args.out / part / f'{name}.png')
    counts = {part: sum(job[1] == part for job in jobs) for part in ('train', 'heldout')}
    print(f'{args.out}: {counts["train"]} photographs to train on, {counts["heldout"]} held out')
    return 0


if __name__ == '__main__':
    sys.exit(main())

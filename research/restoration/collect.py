"""Collect what the bundled weights are trained and measured on: clean photographs, and real pairs.

    python research/restoration/collect.py photographs --bsds BSDS500 --list leak_free.txt --packages UNPACKED
    python research/restoration/collect.py pairs --bsds BSDS500 --list leak_free.txt --photographs PHOTOGRAPHS \
        --rain100l Rain100L/train --lol LOL-v1/our485 --sots SOTS-indoor --rain800 Rain800 --polyu PolyU

``--bsds`` is a folder with the images of BSDS500 (searched with its subfolders), ``--list`` a text file with the names
to use: those whose scene is in neither CBSD68 nor Rain100L's test set.

photographs: ``--packages`` holds the unpacked Debian packages lomiri-wallpapers-16.04, lomiri-wallpapers-20.04,
mate-backgrounds and plasma-workspace-wallpapers (``apt-get download NAME``, ``dpkg -x FILE UNPACKED/NAME``). Of each
only photographs are taken, scaled down to about a megapixel. Every 21st of BSDS500 and eight of the others go to
``heldout``, everything else to ``train``. What is larger goes there twice more, scaled down to a shorter side of 160
(``train_160``) and 320 pixels (``train_320``, which the photographs of BSDS500 have as they are), so that a crop of
that size shows most of a scene.

pairs: the sets are folders with ``input`` and ``target`` (or ``low``/``high``, ``hazy``/``clear``); instead of
``target`` Rain100L may have ``targets.txt``, which names for each degraded file its clean photograph of BSDS500. Each
set may be left out. Written are links:

    OUT/train/{bsds500,photographs}          clean photographs
    OUT/pairs/SET/{input,target}             real pairs, the clean side under its own name
    OUT/heldout/{bsds500,photographs}        every 21st of BSDS500, every 7th of the photographs
    OUT/heldout/SET/{input,target}           whole scenes: every 5th of SOTS-indoor, every 6th of Rain800 and PolyU

Pairs whose clean side is held out are left out, and of LOL those named in ``our485_same_scene_as_eval15.txt``, since
their scene is in LOL's test set. Of Rain800 what is smaller than the largest crops of the training is left out.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from research.common import ended, parser_of

ENDINGS = ('.jpg', '.jpeg', '.png', '.webp')
EVERY = {'bsds500': 21, 'photographs': 7, 'sots_indoor': 5, 'rain800': 6, 'polyu': 6}  # is held out
MEGAPIXEL = 1_000_000
OVERVIEWS = (160, 320)  # pixels of the shorter side
LARGER = 1.25  # a photograph is scaled down if its shorter side is so many times longer
SIDES = (('input', 'target'), ('low', 'high'), ('hazy', 'clear'))
TWINS = 'our485_same_scene_as_eval15.txt'
LEAST = 256  # pixels of the shorter side of a pair

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


class DataError(ValueError):
    """A set that is not as it should be."""


def images_below(folder: Path) -> list[Path]:
    """The image files below a folder, sorted by name.

    Raises:
        DataError: There is none.
    """
    found = sorted((p for p in folder.rglob('*') if p.suffix.lower() in ENDINGS), key=lambda p: p.name)
    if not found:
        raise DataError(f'{folder}: no images (endings {", ".join(ENDINGS)})')
    return found


def named_images(bsds: Path, names: Path) -> list[Path]:
    """The images of BSDS500 that a list names, sorted by name.

    Raises:
        DataError: No names, or images that are named and absent.
        OSError: The list is not readable.
    """
    by_stem = {p.stem: p for p in images_below(bsds)}
    wanted = sorted(Path(line.strip()).stem for line in names.read_text().splitlines() if line.strip())
    absent = [name for name in wanted if name not in by_stem]
    if absent or not wanted:
        raise DataError(f'{bsds}: {len(absent)} of the {len(wanted)} images of {names} are missing {absent[:3]}')
    return [by_stem[name] for name in wanted]


# ---- clean photographs ----------------------------------------------------------------------------------------------
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


def find_photographs(bsds: Path, names: Path, packages: Path) -> list[tuple[Path, str, str]]:
    """Every photograph: its file, ``train`` or ``heldout``, and its name in there.

    Raises:
        DataError: As `named_images`.
        OSError: The list is not readable, or a photograph of the packages is absent.
    """
    found = [
        (file, 'train' if i % EVERY['bsds500'] else 'heldout', f'bsds500/{file.stem}')
        for i, file in enumerate(named_images(bsds, names))
    ]
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


# ---- real pairs -----------------------------------------------------------------------------------------------------
def scene_of(kind: str, name: str) -> str:
    """What pictures of one scene have in common in their names: ``1400_5`` and ``1400_9``, ``toy_3`` and ``toy_8``."""
    if kind == 'sots_indoor':
        return name.partition('_')[0]
    return re.sub(r'_*\d*$', '', name) if kind == 'polyu' else name


def split(kind: str, names: list[str]) -> set[str]:
    """The names that are held out: those of every n-th scene."""
    if kind not in EVERY:
        return set()
    scenes = sorted({scene_of(kind, name) for name in names})
    kept_back = set(scenes[:: EVERY[kind]])
    return {name for name in names if scene_of(kind, name) in kept_back}


def clean_photographs(args: argparse.Namespace) -> Iterator[tuple[Path, str]]:
    """Every clean photograph and where it goes."""
    if args.bsds:
        yield from placed('bsds500', named_images(args.bsds, args.list))
    if args.photographs:
        yield from placed('photographs', images_below(args.photographs))


def placed(kind: str, files: list[Path]) -> Iterator[tuple[Path, str]]:
    held = set(sorted(p.stem for p in files)[:: EVERY[kind]])
    for file in files:
        yield file, f'{"heldout" if file.stem in held else "train"}/{kind}/{file.name}'


def sides_of(folder: Path) -> tuple[Path, Path | None]:
    for degraded, clean in SIDES:
        if (folder / degraded).is_dir():
            return folder / degraded, folder / clean if (folder / clean).is_dir() else None
    raise DataError(f'{folder}: none of the folders {", ".join(a for a, _ in SIDES)} is in it')


def partner(name: str, clean: dict[str, Path]) -> Path | None:
    """The clean file of a degraded one: the same name, or the part before ``_`` (RESIDE), or a marked twin."""
    for candidate in (name, name.partition('_')[0], name.replace('rain-', 'norain-'), f'norain-{name}'):
        if candidate in clean:
            return clean[candidate]
    return None


def pairs(kind: str, folder: Path, bsds: Path | None) -> Iterator[tuple[Path, str]]:
    """Both files of every pair of a set, and where they go.

    Raises:
        DataError: A degraded image has no clean one, or the set has no pairs.
    """
    degraded_folder, clean_folder = sides_of(folder)
    degraded = images_below(degraded_folder)
    if clean_folder:
        clean = {p.stem: p for p in images_below(clean_folder)}
        partners = {p: partner(p.stem, clean) for p in degraded}
    else:
        listed = dict(line.split(' ', 1) for line in (folder / 'targets.txt').read_text().splitlines())
        by_stem = {p.stem: p for p in images_below(bsds)} if bsds else {}
        partners = {p: by_stem.get(Path(listed.get(p.name, '?')).stem) for p in degraded}
    alone = [p.name for p, other in partners.items() if other is None]
    if alone:
        raise DataError(f'{degraded_folder}: {len(alone)} images without their clean one, among them {alone[:3]}')
    held = split(kind, [p.stem for p in degraded])
    twins = folder.parent / TWINS
    left_out = set(twins.read_text().split()) if kind == 'lol' and twins.is_file() else set()
    left_out = {Path(name).stem for name in left_out}
    for file, other in partners.items():
        if file.stem in left_out or (kind == 'rain800' and min(cv2.imread(str(other)).shape[:2]) < LEAST):
            continue
        place = f'heldout/{kind}' if file.stem in held else f'pairs/{kind}'
        yield file, f'{place}/input/{file.name}'
        yield other, f'{place}/target/{other.name if clean_folder else file.stem + other.suffix}'


def lay_out(args: argparse.Namespace) -> dict[str, int]:
    """Make the links; returns the number of files in each folder."""
    places: dict[str, Path] = {}
    held_out_scenes = set()
    for file, place in clean_photographs(args):
        places[place] = file
        if place.startswith('heldout/'):
            held_out_scenes.add(file.resolve())
    for kind in ('rain100l', 'lol', 'sots_indoor', 'rain800', 'polyu'):
        folder = getattr(args, kind)
        both = list(pairs(kind, folder, args.bsds)) if folder else []
        for (file, place), (other, target) in zip(both[::2], both[1::2]):
            if other.resolve() not in held_out_scenes:
                places[place], places[target] = file, other
    if not places:
        raise DataError('no set was named; see --help')
    counts: dict[str, int] = {}
    for place, file in places.items():
        target = args.out / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.unlink(missing_ok=True)
            target.symlink_to(os.path.abspath(file))
        counts[str(Path(place).parent)] = counts.get(str(Path(place).parent), 0) + 1
    return counts


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    photographs = kinds.add_parser('photographs', help='clean photographs')
    photographs.add_argument('--bsds', type=Path, required=True)
    photographs.add_argument('--list', type=Path, required=True, help='names of the images of BSDS500, one a line')
    photographs.add_argument('--packages', type=Path, required=True)
    photographs.add_argument('--out', type=Path, default=Path('datasets/Bundled'))
    real = kinds.add_parser('pairs', help='real pairs')
    for name in ('bsds', 'list', 'photographs', 'rain100l', 'lol', 'sots_indoor', 'rain800', 'polyu'):
        real.add_argument(f'--{name.replace("_indoor", "")}', type=Path, dest=name)
    real.add_argument('--out', type=Path, default=Path('datasets/BundledPairs'))
    args = parser.parse_args(argv)
    if (args.bsds is None) != (args.list is None):
        parser.error('--bsds and --list belong together')
    return ended(lambda: collect_photographs(args) if args.kind == 'photographs' else collect_pairs(args))


def collect_photographs(args: argparse.Namespace) -> None:
    """Writes the clean photographs."""
    photographs = find_photographs(args.bsds, args.list, args.packages)
    prepare(photographs, args.out)
    parts = [part for _, part, _ in photographs]
    print(f'{args.out}: {parts.count("train")} photographs to train on, {parts.count("heldout")} held out')


def collect_pairs(args: argparse.Namespace) -> None:
    """Links the real pairs."""
    for folder, count in sorted(lay_out(args).items()):
        print(f'{args.out / folder}: {count}')


if __name__ == '__main__':
    sys.exit(main())

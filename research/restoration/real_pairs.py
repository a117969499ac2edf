"""Lay out the real pairs that the bundled weights are trained and measured on, from the downloaded sets.

    python research/restoration/real_pairs.py --bsds BSDS500 --list leak_free.txt --photographs PHOTOGRAPHS \
        --rain100l Rain100L/train --lol LOL-v1/our485 --sots SOTS-indoor --rain800 Rain800 --polyu PolyU

``--bsds`` holds the images of BSDS500 (subfolders count) and ``--list`` names those whose scene is in neither CBSD68
nor Rain100L's test set. The paired sets are folders with ``input`` and ``target`` (or ``low``/``high``,
``hazy``/``clear``); instead of ``target`` Rain100L may have ``targets.txt``, which names for each degraded file its
clean photograph of BSDS500. Each set may be left out. Written are links:

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

ENDINGS = ('.jpg', '.jpeg', '.png', '.webp')
SIDES = (('input', 'target'), ('low', 'high'), ('hazy', 'clear'))
EVERY = {'bsds500': 21, 'photographs': 7, 'sots_indoor': 5, 'rain800': 6, 'polyu': 6}
TWINS = 'our485_same_scene_as_eval15.txt'
LEAST = 256  # pixels of the shorter side of a pair


class DataError(ValueError):
    """A set that is not as it should be."""


def images_below(folder: Path) -> list[Path]:
    """The image files below a folder, sorted by name.

    Raises:
        DataError: there is none.
    """
    found = sorted((p for p in folder.rglob('*') if p.suffix.lower() in ENDINGS), key=lambda p: p.name)
    if not found:
        raise DataError(f'{folder}: no images (endings {", ".join(ENDINGS)})')
    return found


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
        by_stem = {p.stem: p for p in images_below(args.bsds)}
        wanted = sorted(Path(line.strip()).stem for line in args.list.read_text().splitlines() if line.strip())
        absent = [name for name in wanted if name not in by_stem]
        if absent or not wanted:
            raise DataError(
                f'{args.bsds}: {len(absent)} of the {len(wanted)} images of {args.list} are missing {absent[:3]}'
            )
        yield from placed('bsds500', [by_stem[name] for name in wanted])
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
        DataError: a degraded image has no clean one, or the set has no pairs.
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('bsds', 'list', 'photographs', 'rain100l', 'lol', 'sots_indoor', 'rain800', 'polyu'):
        parser.add_argument(f'--{name.replace("_indoor", "")}', type=Path, dest=name)
    parser.add_argument('--out', type=Path, default=Path('datasets/BundledPairs'))
    args = parser.parse_args()
    if (args.bsds is None) != (args.list is None):
        parser.error('--bsds and --list belong together')
    try:
        counts = lay_out(args)
    except (DataError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for folder, count in sorted(counts.items()):
        print(f'{args.out / folder}: {count}')
    return 0


if __name__ == '__main__':
    sys.exit(main())

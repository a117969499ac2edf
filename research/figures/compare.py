"""Figures as papers print them: pictures of several methods side by side, and the summary of all settings.

    python research/figures/compare.py pictures --input rainy --method MIRAGE=results/a/visualization/Rain100L \
        --method theirs=DIR --gt clean --out figures --only rain-001 --only rain-007
    python research/figures/compare.py summary results/test_5deg results/test_cdd11 --tables 4 5 --out figures/summary

Crops are chosen where the methods differ most, unless --crop names them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tqdm import tqdm

from mirage_data.files.crops import Window
from mirage_data.files.image import list_names
from mirage_data.files.pairing import match_pairs
from mirage_ir.measuring import plotting, tables
from research.figures import pictures as figures
from research.figures import summary as summary_figure

GT = 'ground truth'
INPUT = 'input'


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest='kind', required=True)
    pictures = kinds.add_parser('pictures', help='input, results of several methods and ground truth side by side')
    pictures.add_argument('--input', required=True, help='folder of degraded pictures')
    pictures.add_argument('--method', action='append', required=True, metavar='NAME=DIR', help='in order of columns')
    pictures.add_argument('--gt', help='folder of the ground truth')
    pictures.add_argument('--pairing', default='same_name', help='rule that pairs input and ground truth')
    pictures.add_argument('--only', action='append', default=[], metavar='NAME', help='pictures, without ending')
    pictures.add_argument('--limit', type=int, default=5, help='most pictures, where --only names none')
    pictures.add_argument('--crop', action='append', default=[], type=window, metavar='X,Y,W,H', help='what to enlarge')
    pictures.add_argument('--crops', type=int, default=2, help='how many crops are chosen, where --crop names none')
    pictures.add_argument('--crop-size', type=int, help='side of the chosen crops in pixels')
    pictures.add_argument('--no-error-maps', action='store_true')
    summary = kinds.add_parser('summary', help='average PSNR and SSIM of all settings, as Fig. 1(e)')
    summary.add_argument('results', nargs='*', help='results.json, or the folder of a test run')
    summary.add_argument('--tables', nargs='+', default=[], help='settings to show in any case')
    summary.add_argument('--best', type=int, default=5, help='published methods shown beside MIRAGE')
    for kind in (pictures, summary):
        kind.add_argument('--out', type=Path, required=True, help='folder of the pictures; file name of the summary')
        kind.add_argument('--formats', nargs='+', choices=plotting.FORMATS, default=['pdf', 'png'])
        kind.add_argument('--dpi', type=int, default=200)
    arguments = parser.parse_args(argv)
    try:
        for file in draw_pictures(arguments) if arguments.kind == 'pictures' else draw_summary(arguments):
            print(file)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def draw_pictures(arguments: argparse.Namespace) -> list[Path]:
    """One figure for each picture; returns the files."""
    written = []
    chosen = find(arguments)
    for name, files in tqdm(chosen.items(), desc='drawing', unit='picture'):
        panels = figures.load_panels(files)
        gt = GT if GT in panels else None
        crops = arguments.crop
        if not crops and arguments.crops:
            compared = [image for label, image in panels.items() if label != GT]
            crops = figures.informative_crops(compared, panels[gt or INPUT], arguments.crops, arguments.crop_size)
        try:
            figure = figures.comparison(panels, crops, gt=gt, error_maps=not arguments.no_error_maps)
        except ValueError as error:
            raise ValueError(f'{files[INPUT]}: {error}') from error
        written += plotting.save(figure, arguments.out / name, arguments.formats, arguments.dpi)
    return written


def find(arguments: argparse.Namespace) -> dict[str, dict[str, Path]]:
    """Files of each picture by column."""
    if arguments.limit < 1:
        raise ValueError(f'--limit {arguments.limit}: must be 1 or more')
    names = list_names(arguments.input)
    stems = {Path(name).stem: name for name in names}
    absent = [name for name in arguments.only if name not in stems]
    if absent or not names:
        raise ValueError(f'{arguments.input}: no picture {", ".join(absent)}'.rstrip() + f' among {len(names)}')
    truths = {}
    if arguments.gt:
        pairs, _, _ = match_pairs(names, list_names(arguments.gt), arguments.pairing)
        truths = {lq: Path(arguments.gt, gt) for lq, gt in pairs}
    methods = [text.partition('=') for text in arguments.method]
    wrong = [name + sign + folder for name, sign, folder in methods if not (name and folder) or name in (INPUT, GT)]
    if wrong or len({name for name, _, _ in methods}) < len(methods):
        raise ValueError(
            f'--method {wrong[0] if wrong else "given twice"}: written as NAME=DIR, each name once, '
            f'{INPUT!r} and {GT!r} excepted'
        )
    found = {}
    for stem in arguments.only or list(stems)[: arguments.limit]:
        name = stems[stem]
        files = {INPUT: Path(arguments.input, name)}
        files |= {method: restored(folder, stem) for method, _, folder in methods}
        if arguments.gt:
            if name not in truths:
                raise ValueError(f'{files[INPUT]}: no ground truth in {arguments.gt} by the rule {arguments.pairing!r}')
            files[GT] = truths[name]
        found[stem] = files
    return found


def restored(folder: str, stem: str) -> Path:
    """A method's picture: of the same name, or the one whose name goes on with `_` and a suffix, as test runs save."""
    names = list_names(folder)
    fitting = [name for name in names if Path(name).stem == stem] or [
        name for name in names if Path(name).stem.startswith(f'{stem}_')
    ]
    if len(fitting) != 1:
        found = ', '.join(fitting[:3]) or f'none of {len(names)} pictures'
        raise ValueError(f'{folder}: expected one picture named {stem} or {stem}_SUFFIX, found {found}')
    return Path(folder, fitting[0])


def window(text: str) -> Window:
    """'x,y,width,height' as a window."""
    try:
        left, top, width, height = map(int, text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not X,Y,W,H in pixels') from None
    return Window(top, left, height, width)


def draw_summary(arguments: argparse.Namespace) -> list[Path]:
    """The summary figure; returns its files."""
    own = [tables.load_result(path) for path in arguments.results]
    figure = summary_figure.summary(own, arguments.tables, arguments.best)
    return plotting.save(figure, arguments.out, arguments.formats, arguments.dpi)


if __name__ == '__main__':
    sys.exit(main())

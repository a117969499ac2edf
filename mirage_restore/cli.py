"""The command ``mirage-restore``."""
from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from .files import Options, restore_files
from .photo import FORMATS
from .restorer import PRECISIONS, Restorer


def main(arguments: Sequence[str] | None = None) -> int:
    """Restore photographs and videos; returns 0, 1 if a file failed, 2 for wrong arguments, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog='mirage-restore',
        description='Restore photographs and videos: noise, rain, haze, snow, blur, darkness and mixtures of them.')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='files, folders or patterns such as "*.jpg"')
    parser.add_argument('-o', '--output', metavar='DIR', default='restored', help='folder of the results (%(default)s)')
    parser.add_argument('-w', '--weights', metavar='FILE', help='weights to use instead of those in the package')
    parser.add_argument('--device', default='auto', help="'auto', 'cpu', 'cuda' or 'cuda:N' (%(default)s)")
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32', help='arithmetic (%(default)s)')
    parser.add_argument('--tile', type=int, metavar='N', help='restore in tiles of NxN pixels; changes the result')
    parser.add_argument('--tile-overlap', type=int, metavar='N', help='pixels that tiles share (an eighth of the tile)')
    parser.add_argument('--suffix', default='', help='text behind each name, as in photo_SUFFIX.png')
    parser.add_argument('--format', choices=[ending.lstrip('.') for ending in FORMATS], help='instead of each own')
    parser.add_argument('--recursive', action='store_true', help='look into subfolders')
    parser.add_argument('--skip-existing', action='store_true', help='leave out files whose result is there')
    parser.add_argument('--compare', action='store_true', help='also write input and result side by side')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    parser.add_argument('--allow-pickle', action='store_true', help='unpickle the weights file; only if you trust it')
    args = parser.parse_args(arguments)
    logging.basicConfig(format='%(message)s', level=logging.WARNING)
    try:
        options = Options(suffix=args.suffix, format=args.format, recursive=args.recursive,
                          skip_existing=args.skip_existing, compare=args.compare, progress=not args.quiet)
        restore = Restorer(args.weights, args.device, args.precision, args.tile, args.tile_overlap, args.allow_pickle)
    except ValueError as error:
        print(f'mirage-restore: {error}', file=sys.stderr)
        return 2
    try:
        summary = restore_files(restore, args.inputs, args.output, options)
    except KeyboardInterrupt:
        print(f'Stopped. The results in {args.output} are whole; go on with --skip-existing.', file=sys.stderr)
        return 130
    line = f'{summary.restored} restored to {args.output}'
    line += f', {summary.skipped} skipped' if summary.skipped else ''
    print(line + (f', {summary.failed} failed:' if summary.failed else ''))
    for source, reason in summary.failures:
        print(f'  {reason if str(source) in reason else f"{source}: {reason}"}')
    return 1 if summary.failed else 0


if __name__ == '__main__':
    sys.exit(main())

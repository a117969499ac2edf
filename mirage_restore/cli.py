"""The command ``mirage-restore``."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .bundled import AUTO, DEFAULT_MODEL, LIGHT_MODEL, bundled_models, bundled_weights, find_weights
from .formats import FORMATS
from .jobs import Options, Plan, Record, describe_unread, find_jobs, is_file_name, named
from .machine import bound_spinning, ending_when_unread, say

if TYPE_CHECKING:
    from .files import Summary

__all__ = ['main']

_PRECISIONS = ('fp32', 'bf16', 'fp16')
_EXAMPLES = """examples:
  mirage-restore photo.jpg                           the result is restored/photo.jpg
  mirage-restore photo.jpg -o better.png             one file, named
  mirage-restore holiday -o better --recursive       a folder and those below it
  mirage-restore holiday -o better --skip-existing   go on after a stop
  mirage-restore holiday -o better --devices 0,1     with two GPUs

exit code: 0 all restored, 1 something failed, 2 wrong use, 130 stopped"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Restore photographs and videos; returns 0, 1 if a file failed, 2 for wrong arguments, 130 if it was stopped."""
    bound_spinning()
    with ending_when_unread():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    args = parser.parse_intermixed_args(arguments)
    inputs = [*args.inputs, *(args.more or [])]
    if not inputs:
        parser.error('nothing to restore: name files, folders or patterns')
    try:
        _check(args)
        options = Options(
            suffix=args.suffix,
            format=args.format,
            recursive=args.recursive,
            skip_existing=args.skip_existing,
            compare=args.compare,
            progress=not args.quiet,
            quality=args.quality,
            crf=args.crf,
            encoder=args.encoder,
        )
        if _is_for_many(args, inputs):
            with _logged_as_lines():
                return _restore_many(args, inputs, options)
        folder = Path(args.output).parent if is_file_name(args.output) else Path(args.output)
        plan = find_jobs(inputs, args.output, options, Record(folder))
        if args.dry_run:
            return _show(plan)
        with _logged_as_lines():
            return _restore(args, inputs, options, plan)
    except ValueError as error:
        say(f'mirage-restore: {error}', sys.stderr)
        return 2
    except KeyboardInterrupt:
        say(f'Stopped. The results in {args.output} are whole; go on with --skip-existing.', sys.stderr)
        return 130


def _check(args: argparse.Namespace) -> None:
    """What no restoring is begun with, nor shown as a plan.

    Raises:
        ValueError: An argument that does not go with the others, or a model that is not there.
    """
    if args.weights is not None and args.model is not None:
        raise ValueError(f'give --weights or --model, not both: got {args.weights} and {args.model!r}')
    if args.model not in (None, AUTO):
        bundled_weights(args.model)
    if args.workers is not None and args.ray is None:
        raise ValueError('--workers goes with --ray; on one machine name the --devices')
    if args.output == '-':
        raise ValueError('-o -: results are not written to standard output; name a folder or a file')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='mirage-restore',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Restore photographs and videos: noise, rain, haze, snow, blur, darkness and mixtures of them.',
    )
    add = parser.add_argument
    add('inputs', nargs='*', metavar='INPUT', help='files, folders or patterns such as "*.jpg"')
    add('-i', '--input', dest='more', action='append', metavar='INPUT', help='an input, as other tools take it')
    add(
        '-o',
        '--output',
        metavar='OUT',
        default='restored',
        help='folder of the results, or FILE.ext for a single input (%(default)s)',
    )
    single = ', '.join(name for name in bundled_models() if name not in (DEFAULT_MODEL, LIGHT_MODEL))
    add(
        '--model',
        metavar='NAME',
        help=f'weights in the package: for one task {single}; for all {DEFAULT_MODEL}, the default, and '
        f'{LIGHT_MODEL}, in half the time; {AUTO} takes whichever suits each picture',
    )
    add('-w', '--weights', metavar='FILE', help='weights to use instead of those in the package')
    add('--strength', type=float, default=1.0, metavar='S', help='0 keeps the input, 1 restores fully (%(default)s)')
    add('--keep-tone', action='store_true', help='leave brightness, colours and haze as they are: night, fog, moods')
    add(
        '--self-ensemble',
        '--tta',
        action='store_true',
        help='mean over the 8 flips and turns: a little better save for rain, 8 times the time',
    )
    add('--device', default='auto', help="'auto', 'cpu', 'cuda', 'cuda:N' or 'mps' (%(default)s)")
    add('--devices', metavar='LIST', help="a worker on each: GPUs such as '0,1', or 'cpu x 4'")
    add('--ray', metavar='ADDRESS', help="restore on a Ray cluster: 'auto' or its address; takes URLs such as s3://")
    add('--workers', type=int, metavar='N', help='with --ray: how many (one for each GPU, or CPU where there is none)')
    add('--precision', choices=_PRECISIONS, default='fp32', help='arithmetic (%(default)s)')
    add('--tile', type=int, metavar='N', help='restore in tiles of NxN pixels; changes the result')
    add('--tile-overlap', type=int, metavar='N', help='pixels that tiles share (an eighth of the tile)')
    add('--suffix', default='', help='text behind each name: --suffix _restored makes photo_restored.png of photo.png')
    add('--format', choices=[ending.lstrip('.') for ending in FORMATS], help='of photographs, instead of each own')
    add('--quality', type=int, metavar='Q', help='1 to 100, of JPEG, WebP, AVIF and HEIC (95)')
    add('--crf', type=int, metavar='N', help='of videos: 0, lossless, to 51, worst (visually lossless)')
    add('--encoder', choices=['h264', 'h265', 'ffv1'], help='of videos, instead of what suits the ending')
    add('--recursive', action='store_true', help='look into subfolders')
    add('--skip-existing', action='store_true', help='leave out what was restored before and has not changed')
    add('--compare', action='store_true', help='also write input and result side by side')
    add('--dry-run', action='store_true', help='only say what would be done')
    add('--quiet', action='store_true', help='no progress bar')
    add('--allow-pickle', action='store_true', help='unpickle the weights file; only if you trust it')
    add('--version', action='version', version=f'mirage-restore {_version()}')
    return parser


def _restore(args: argparse.Namespace, inputs: list[str], options: Options, plan: Plan) -> int:
    from .files import check_target, restore_files
    from .restorer import Restorer

    if plan.jobs:
        try:
            check_target(args.output)
        except OSError as error:
            say(f'mirage-restore: {error}', sys.stderr)
            return 1
    restore = Restorer(
        args.weights,
        args.device,
        args.precision,
        args.tile,
        args.tile_overlap,
        args.allow_pickle,
        args.model,
        args.strength,
        args.keep_tone,
        args.self_ensemble,
    )
    with _terminated_like_interrupted():
        summary = restore_files(restore, inputs, args.output, options)
    return _sum_up(summary, args.output)


def _is_for_many(args: argparse.Namespace, inputs: list[str]) -> bool:
    return args.devices is not None or args.ray is not None or any('://' in place for place in (*inputs, args.output))


def _restore_many(args: argparse.Namespace, inputs: list[str], options: Options) -> int:
    from .many.command import Setup, restore_many

    if args.dry_run:
        raise ValueError('--dry-run is for a single process: leave --devices, --ray and URLs out')
    weights = None
    try:
        if args.weights is not None:
            file = find_weights(args.weights)
            weights = (file.name, file.read_bytes())
        setup = Setup(
            weights,
            args.model,
            args.precision,
            args.tile,
            args.tile_overlap,
            args.allow_pickle,
            args.strength,
            args.keep_tone,
            args.self_ensemble,
            options,
        )
        with _terminated_like_interrupted():
            summary = restore_many(
                inputs,
                args.output,
                setup,
                devices=args.devices or (None if args.ray else args.device.replace('auto', _best_device())),
                ray=args.ray,
                workers=args.workers,
            )
    except (OSError, RuntimeError) as error:
        reason = f'{error.filename}: {error.strerror}' if isinstance(error, OSError) and error.filename else error
        say(f'mirage-restore: {reason}', sys.stderr)
        return 1
    return _sum_up(summary, args.output)


def _best_device() -> str:
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def _sum_up(summary: Summary, target: str) -> int:
    for source, note in summary.notes:
        say(f'{source}: {note}')
    if summary.unread:
        say(describe_unread(summary.unread))
    line = f'{summary.restored} restored to {target}'
    line += f', {summary.skipped} skipped (restored before)' if summary.skipped else ''
    say(line + (f', {summary.failed} failed' if summary.failed else ''))
    return 1 if summary.failed else 0


def _show(plan: Plan) -> int:
    for job in plan.jobs:
        say(f'{job.source} -> {job.target}' + (f' and {job.comparison}' if job.comparison else ''))
    for job in plan.done:
        say(f'{job.source}: skipped, restored before as {job.target}')
    for source, reason in plan.useless:
        say(named(source, reason), sys.stderr)
    if plan.unread:
        say(describe_unread(plan.unread))
    return 1 if plan.useless else 0


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version('mirage-ir')
    except PackageNotFoundError:
        return 'of a checkout that is not installed'


class _Lines(logging.Handler):
    """Log records as lines on standard error, whatever its encoding."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record), sys.stderr)


@contextlib.contextmanager
def _logged_as_lines() -> Iterator[None]:
    handler = _Lines(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ('mirage_restore', 'mirage_arch')]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does: whole files only, nothing half-written left."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == '__main__':
    sys.exit(main())

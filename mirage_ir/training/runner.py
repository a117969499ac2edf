"""Training and testing by BasicSR's own pipelines, with this project's parts put in where BasicSR's fall short.

`train_pipeline` and `test_pipeline` run unchanged: for the time of one run, some names of ``basicsr.train`` and
``basicsr.test`` stand for methods of `TrainingRun` and functions of this module.
"""

import argparse
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch.distributed as dist
import yaml
from basicsr.utils import logger as basicsr_logger
from basicsr.utils import options as basicsr_options

from mirage_data.files import plain_yaml
from mirage_ir.measuring.protocols import settle_crops

from .command_line import (
    CommandLine,
    add_run_options,
    basicsr_words,
    force,
    resolve,
    resolve_all,
    safe_ordered_yaml,
)
from .guards import NonFiniteError, StopSignal
from .ranks import RunError, is_distributed
from .run import TrainingRun
from .selection import Selection, SelectionError
from .validation import ValidationError
from .watching import readable

Check = Callable[..., str]  # as `mirage_ir.options.check.require_ok`


def train(root_path: str, arguments: Sequence[str] | None = None, *, check: Check | None = None) -> None:
    """Train as ``python basicsr/train.py`` does; reads the command line.

    Args:
        root_path: Folder that receives ``experiments`` and ``tb_logger``, and from which relative paths are tried.
        arguments: The command line without the program's name; by default that of this process.
        check: Called with the option file before anything else; ends the program with 2 if something is wrong in it,
            and returns the text of the option file in effect, with which the run goes on.

    Raises:
        SystemExit: With 1 for a run that cannot start or go on, 2 for faulty options, 128 plus its number for a signal.
    """
    pipeline = importlib.import_module('basicsr.train')
    with _command_line(root_path, arguments, check, is_train=True) as command, StopSignal() as stop:
        run = TrainingRun(pipeline, str(root_path), stop, command)
        with _replaced(pipeline, **run.replacements()), _reported_errors(run):
            pipeline.train_pipeline(str(root_path))
            run.report_skipped()


def test(root_path: str, arguments: Sequence[str] | None = None, *, check: Check | None = None) -> None:
    """Test as ``python basicsr/test.py`` does; arguments and errors as for `train`, output goes to ``results``."""
    pipeline = importlib.import_module('basicsr.test')

    def parse_options(root: str, is_train: bool) -> tuple[dict, Any]:
        opt, args = original(root, is_train=is_train)
        resolve_all(opt, root)
        command.select(opt)
        settle_crops(opt)
        return opt, args

    def make_folders(opt: dict) -> None:
        make_exp_dirs(opt)
        if opt['rank'] == 0:
            command.keep_options(opt['path']['results_root'])

    original, make_exp_dirs = pipeline.parse_options, pipeline.make_exp_dirs
    with (
        _command_line(root_path, arguments, check, is_train=False) as command,
        _replaced(pipeline, parse_options=parse_options, make_exp_dirs=make_folders, dict2str=readable),
        _reported_errors(),
    ):
        pipeline.test_pipeline(str(root_path))


@contextmanager
def _replaced(module: ModuleType, **names: Any) -> Iterator[None]:
    """Let names of a module stand for something else inside the block."""
    before = {name: getattr(module, name) for name in names}
    vars(module).update(names)
    try:
        yield
    finally:
        vars(module).update(before)


@contextmanager
def _command_line(
    root: str, arguments: Sequence[str] | None, check: Check | None, *, is_train: bool
) -> Iterator[CommandLine]:
    """Check the options and let BasicSR read those in effect."""
    before = sys.argv
    words = list(before[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(os.path.basename(before[0]), allow_abbrev=False)
    add_run_options(parser, is_train)
    given = parser.parse_args(words)
    protocol = getattr(given, 'protocol', None)
    command = CommandLine(
        ' '.join([os.path.basename(before[0]), *words]),
        getattr(given, 'fresh', False),
        Selection(tuple(given.only), tuple(given.without)),
        resolve(given.opt, root),
        forced=[*given.force_yml, *([f'val:protocol={protocol}'] if protocol else [])],
        selected=check is not None,
    )
    with tempfile.TemporaryDirectory(prefix='mirage_options_') as folder:
        if check is None:
            command.options = _options_text(command.option_file, command.forced)
        else:
            command.options = check(
                command.option_file,
                is_train=is_train,
                root=root,
                force_yml=command.forced or None,
                launcher=given.launcher,
                resuming=getattr(given, 'auto_resume', False),
                quiet=os.environ.get('RANK', '0') != '0',
                **({'selection': command.selection} if command.selection else {}),
            )
        effective = os.path.join(folder, os.path.basename(command.option_file))
        with open(effective, 'w', encoding='utf-8') as file:
            file.write(command.options)
        sys.argv = [before[0], *basicsr_words(effective, given)]
        _forget_logger()
        try:
            with _replaced(basicsr_options, ordered_yaml=safe_ordered_yaml(basicsr_options.ordered_yaml)):
                yield command
        finally:
            sys.argv = before
            _forget_logger()


def _options_text(path: str, forced: Sequence[str]) -> str:
    """The options in effect of a file that nobody has checked.

    Raises:
        SystemExit: With 2 for a file that cannot be read as plain values, or a value that cannot be put into it.
    """
    try:
        options = plain_yaml.load_file(path)
        for entry in forced:
            force(options, entry)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(2) from error
    if not forced:
        return Path(path).read_text(encoding='utf-8-sig')
    return yaml.safe_dump(options, sort_keys=False, allow_unicode=True)


def _forget_logger() -> None:
    """Let the next pipeline of this process open its own log file."""
    if basicsr_logger.initialized_logger.pop('basicsr', None):
        logger = logging.getLogger('basicsr')
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


@contextmanager
def _reported_errors(run: TrainingRun | None = None) -> Iterator[None]:
    """Print an expected failure as one message, and say after any failure how to go on."""
    try:
        yield
        if is_distributed():
            dist.destroy_process_group()
    except SelectionError as error:
        print(f'\n{error}', file=sys.stderr, flush=True)
        raise SystemExit(2) from error
    except (RunError, ValidationError) as error:
        # Whoever met the non-finite number, a step or the saving behind it, knew nothing of the run.
        hint = f'\n{run.hint()}' if run and isinstance(error, NonFiniteError) else ''
        print(f'\n{error}{hint}', file=sys.stderr, flush=True)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        print(f'\nStopped at once. {run.hint() if run else ""}', file=sys.stderr, flush=True)
        raise SystemExit(130) from None
    except Exception as error:
        if getattr(error, 'wrong_use', False):  # of the launcher's repair, which no part of the project imports
            print(f'\n{error}', file=sys.stderr, flush=True)
            raise SystemExit(2) from error
        if is_distributed():
            print(
                f'\nRank {dist.get_rank()} stopped: {error}\nIf it lost its connection, another rank was killed or '
                'failed; that one, or torchrun, says why.',
                file=sys.stderr,
                flush=True,
            )
        if run and run.hint():
            print(f'\n{run.hint()}', file=sys.stderr, flush=True)
        raise
    finally:
        if run:
            run.close()

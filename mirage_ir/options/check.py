"""Checking a whole option file before a run creates, loads or downloads anything.

BasicSR meets a mistake in its options one at a time, some of them after hours, and a misspelt key never. This looks at
everything that can be known in advance and lists all of it at once, with the line and the cure. Files written for
other models and data sets of BasicSR are checked for what would certainly fail there, and for nothing else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

from mirage_ir.training.selection import Selection, SelectionError

from . import rules as schema
from .check_data import check_datasets, name_fault
from .check_network import check_networks
from .check_training import check_logger, check_machine, check_train, check_val
from .effective import effective_text, whole_numbers
from .file import OptionFile, Problem, nearest_hint
from .names import check_rules, check_section, check_unknown, is_ours, registered, spelled, words_of_derived
from .places import declared_for

__all__ = ['Problem', 'check_option_file', 'require_ok']

_EXPONENT = re.compile(r'[+-]?\d+(\.\d*)?[eE][+-]?\d+')
_TEXT_KEYS = ('name', 'suffix', 'project', 'resume_id')


def check_option_file(
    path: str | Path,
    *,
    is_train: bool | None = None,
    root: str | Path | None = None,
    force_yml: Sequence[str] | None = None,
    launcher: str = 'none',
    resuming: bool = False,
    selection: Selection | None = None,
) -> list[Problem]:
    """Everything wrong with an option file, in the order of its lines.

    Args:
        path: The YAML file.
        is_train: Whether it is for training; None decides by its ``train`` section.
        root: Folder that will hold ``experiments`` and ``results``; the current directory if not given.
        force_yml: Values from the command line, each ``section:key=value``.
        launcher: BasicSR's ``--launcher``: 'none', 'pytorch' or 'slurm'.
        resuming: Whether the run goes on from a saved state, which makes ``pretrain_network_g`` irrelevant.
        selection: Which tasks the run takes; the others are not checked.

    Returns:
        The problems; an empty list if the run can start.
    """
    return _checked(path, is_train, root, force_yml, launcher, resuming, selection)[1]


def _checked(
    path: str | Path,
    is_train: bool | None,
    root: str | Path | None,
    force_yml: Sequence[str] | None,
    launcher: str,
    resuming: bool,
    selection: Selection | None,
) -> tuple[OptionFile, list[Problem]]:
    options = OptionFile(path, force_yml, root)
    if options.data:
        options.data = whole_numbers(options.data)
    if options.data and selection:
        _select(options, selection, force_yml or ())
    if options.data:
        _check_all(options, is_train, launcher, resuming)
    first = {}  # a value that breaks two rules is one problem: the first rule says it best
    for problem in options.problems:
        first.setdefault((problem.file, problem.line, problem.key), problem)
    return options, sorted(first.values(), key=lambda p: (p.file != options.path, p.line))


def require_ok(
    path: str | Path,
    *,
    is_train: bool | None = None,
    root: str | Path | None = None,
    force_yml: Sequence[str] | None = None,
    launcher: str = 'none',
    resuming: bool = False,
    quiet: bool = False,
    selection: Selection | None = None,
) -> str:
    """Ends the program with exit code 2 if the option file has problems, after listing them on stderr.

    Args:
        path: See `check_option_file`, as all others.
        is_train: Training or testing.
        root: Project folder.
        force_yml: Values of the command line.
        launcher: BasicSR's launcher.
        resuming: Whether the run is resumed.
        quiet: Print nothing; for all processes but the first of a distributed run.
        selection: Which tasks the run takes.

    Returns:
        The options in effect, as the text of an option file.
    """
    options, problems = _checked(path, is_train, root, force_yml, launcher, resuming, selection)
    if not problems:
        return effective_text(path, options.data)
    if not quiet:
        print(report(problems), file=sys.stderr, flush=True)
    raise SystemExit(2)


def report(problems: Sequence[Problem]) -> str:
    """The list that a user sees."""
    count = f'{len(problems)} problem{"s" if len(problems) > 1 else ""}'
    lines = [f'{count} in the options; nothing was started or created.', '', *map(str, problems)]
    quickstart = Path(__file__).resolve().parents[2] / 'scripts' / 'quickstart.sh'  # there in a checkout only
    without_data = any(problem.message.startswith(('no such folder', 'no image')) for problem in problems)
    if without_data and quickstart.is_file():
        lines += ['', f'To see training and testing work without any data set of your own: bash {quickstart}']
    return '\n'.join(lines)


def _select(options: OptionFile, selection: Selection, force_yml: Sequence[str]) -> None:
    """Takes out of the options what the run leaves out; complaints about the rest still name their lines."""
    positions = selection.kept_positions(options.data)
    try:
        notes = selection.apply(options.data, force_yml)
    except SelectionError as error:
        options.problems.append(Problem(str(selection).split()[0], 0, '', str(error), 'choose of these'))
        return
    if notes:
        options.data['left_out'] = '; '.join(notes)
        options.keep_items(('datasets', 'train', 'sources'), positions)


def _check_all(options: OptionFile, is_train: bool | None, launcher: str, resuming: bool) -> None:
    data = options.data
    if is_train is None:
        is_train = 'train' in data or 'train' in options.section('datasets')
    _check_exponents(options)
    name = data.get('name')
    if isinstance(name, str) and (fault := name_fault(name)):
        options.add(('name',), *fault)
    model = registered(MODEL_REGISTRY, data.get('model_type'))
    if model is None and isinstance(data.get('model_type'), str):
        known = sorted(name for name, _ in MODEL_REGISTRY)
        options.add(
            ('model_type',),
            f'no model is called {data["model_type"]!r}',
            nearest_hint(data['model_type'], known) or f'registered are: {", ".join(known)}',
        )
    if is_ours(model):
        _check_ours(options, model)
    else:
        check_rules(options, (), schema.TOP)
        check_rules(options, ('path',), schema.PATH)
        if model is not None:
            networks = {name for name in data if str(name).startswith('network_')}
            check_unknown(options, (), {*schema.TOP, *networks}, [model])
            check_unknown(options, ('path',), {*schema.PATH, *schema.ADVERSARIAL['path']}, [model])
    check_datasets(options, DATASET_REGISTRY, is_train)
    networks = check_networks(options, model, is_train, resuming, launcher)
    if is_train:
        check_train(options, model)
        check_logger(options, model, networks)
    check_val(options, model, is_train)
    check_machine(options, launcher)


def _check_ours(options: OptionFile, model: type) -> None:
    """The sections around the data: of our models all keys are declared."""
    sections, also = declared_for(model), words_of_derived(model)
    check_section(options, (), sections[''], 'the top level', also=also)
    check_section(options, ('path',), sections['path'], '`path:`', also=also)
    if options.section('logger', 'wandb'):
        check_section(options, ('logger', 'wandb'), schema.WANDB, '`logger: wandb:`')


def _check_exponents(options: OptionFile) -> None:
    """``1e-4`` without a point is text for YAML; BasicSR then fails far from here, or compares texts."""
    for key, text in options.unquoted.items():
        if _EXPONENT.fullmatch(text) and key[-1] not in _TEXT_KEYS:
            options.add(
                key, f'{text} is read as a text, not as a number', f'write {spelled(float(text))} or !!float {text}'
            )

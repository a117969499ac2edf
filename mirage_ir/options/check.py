"""Checking a whole option file before a run creates, loads or downloads anything.

BasicSR meets a mistake in its options one at a time, some of them after hours, and a misspelt key never. This looks at
everything that can be known in advance and lists all of it at once, with the line and the cure. Files written for
other models and data sets of BasicSR are checked for what would certainly fail there, and for nothing else.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from mirage_data.datasets.mixed import source_type
from mirage_data.files import plain_yaml
from mirage_data.option import Option
from mirage_ir.training.selection import Selection, SelectionError

from . import rules as schema
from .check_data import check_datasets, name_fault
from .check_network import check_networks
from .check_training import check_logger, check_machine, check_train, check_val
from .file import OptionFile, Problem, nearest_hint
from .names import check_rules, check_section, check_unknown, is_ours, registered, spelled, words_of_derived
from .places import argument_options, dataset_options, declared_for, source_options

__all__ = ['Problem', 'check_option_file', 'require_ok']

_EXPONENT = re.compile(r'[+-]?\d+(\.\d*)?[eE][+-]?\d+')
_TEXT_KEYS = ('name', 'suffix', 'project', 'resume_id')


def check_option_file(path: str | Path, **how: Any) -> list[Problem]:
    """Everything wrong with an option file, in the order of its lines; nothing if the run can start.

    Args:
        path: The YAML file.
        **how: As `checked`.
    """
    return checked(path, **how)[1]


def require_ok(path: str | Path, *, quiet: bool = False, **how: Any) -> str:
    """Ends the program with exit code 2 if the option file has problems, after listing them on stderr.

    Args:
        path: The YAML file.
        quiet: Print nothing; for all processes but the first of a distributed run.
        **how: As `checked`.

    Returns:
        The options in effect, as the text of an option file.
    """
    options, problems = checked(path, **how)
    if not problems:
        return effective_text(path, options.data)
    if not quiet:
        print(report(problems), file=sys.stderr, flush=True)
    raise SystemExit(2)


def checked(
    path: str | Path,
    *,
    is_train: bool | None = None,
    root: str | Path | None = None,
    force_yml: Sequence[str] | None = None,
    launcher: str = 'none',
    resuming: bool = False,
    selection: Selection | None = None,
) -> tuple[OptionFile, list[Problem]]:
    """An option file as it will be used, and everything wrong with it, in the order of its lines.

    Args:
        path: The YAML file.
        is_train: Whether it is for training; None decides by its ``train`` section.
        root: Folder that will hold ``experiments`` and ``results``; the current directory if not given.
        force_yml: Values from the command line, each ``section:key=value``.
        launcher: BasicSR's ``--launcher``: 'none', 'pytorch' or 'slurm'.
        resuming: Whether the run goes on from a saved state, which makes ``pretrain_network_g`` irrelevant.
        selection: Which tasks the run takes; the others are not checked.
    """
    options = OptionFile(path, force_yml, root)
    if options.data:
        options.data = whole_numbers(options.data)
    if options.data and selection:
        _select(options, selection, force_yml or ())
    if options.data:
        _check_all(options, is_train, launcher, resuming)
    first: dict[tuple, Problem] = {}  # a value that breaks two rules is one problem: the first rule says it best
    for problem in options.problems:
        first.setdefault((problem.file, problem.line, problem.key), problem)
    return options, sorted(first.values(), key=lambda p: (p.file != options.path, p.line))


def report(problems: Sequence[Problem]) -> str:
    """The list that a user sees."""
    count = f'{len(problems)} problem{"s" if len(problems) > 1 else ""}'
    lines = [f'{count} in the options; nothing was started or created.', '', *map(str, problems)]
    quickstart = Path(__file__).resolve().parents[2] / 'scripts' / 'quickstart.sh'  # there in a checkout only
    without_data = any(problem.message.startswith(('no such folder', 'no image')) for problem in problems)
    if without_data and quickstart.is_file():
        command = shlex.join(['bash', str(quickstart)])
        lines += ['', f'To see training and testing work without any data set of your own: {command}']
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
            named = {name for name in data if str(name).startswith('network_')}
            check_unknown(options, (), {*schema.TOP, *named}, [model])
            check_unknown(options, ('path',), {*schema.PATH, *schema.ADVERSARIAL['path']}, [model])
    check_datasets(options, DATASET_REGISTRY, is_train)
    networks = check_networks(options, model, is_train, resuming, launcher)
    if is_train:
        check_train(options, model)
        check_logger(options, model, networks)
    check_val(options, model, is_train)
    check_machine(options, launcher)
    _check_other_bases(options)


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


def _check_other_bases(options: OptionFile) -> None:
    """``1:30`` is 90 for YAML and ``010`` is 8, which is good as a number and hardly what is meant."""
    for key, (text, value) in options.other_base.items():
        if ':'.join(map(str, key)) not in {problem.key for problem in options.problems}:
            said = f'{text} is read as {value}: a leading 0 makes a number octal, a colon counts in sixties'
            options.add(key, said, f'write {value}, or what is meant')


# ---- the options in effect ------------------------------------------------------------------------------------------
def whole_numbers(options: Mapping) -> dict:
    """The options with ``2.0`` and ``5e3`` made 2 and 5000 wherever a whole number is declared.

    YAML gives them as floats, which no counting, slicing or division of indices takes, mostly hours later.

    Args:
        options: As read from YAML; not changed.
    """
    model = registered(MODEL_REGISTRY, options.get('model_type'))
    sections = declared_for(model if is_ours(model) else None)
    found = _whole(options, sections[''])
    for name in ('path', 'train', 'val', 'logger'):
        if isinstance(found.get(name), Mapping):
            found[name] = _whole(found[name], sections[name])
    for name, section in found.items():
        if str(name).startswith('network_') and isinstance(section, Mapping):
            found[name] = _arguments(section, ARCH_REGISTRY)
    if isinstance(found.get('datasets'), Mapping):
        found['datasets'] = {phase: _dataset(section, str(phase)) for phase, section in found['datasets'].items()}
    if isinstance(found.get('train'), Mapping):
        found['train'] = _train(found['train'])
    if isinstance(found.get('val'), Mapping) and isinstance(found['val'].get('metrics'), Mapping):
        metrics = {key: _arguments(section, METRIC_REGISTRY) for key, section in found['val']['metrics'].items()}
        found['val'] = {**found['val'], 'metrics': metrics}
    return found


def effective_text(path: str | Path, options: Mapping) -> str:
    """Options as the text of an option file: that of the file itself if it says the same, else its head and they.

    Args:
        path: The file that they come from.
        options: As they are used.
    """
    text = Path(path).read_text(encoding='utf-8')
    if _exactly(plain_yaml.load(text)) == _exactly(options):
        return text
    head = []
    for line in text.splitlines():
        if not line.startswith('#'):
            break
        head.append(line)
    plain = yaml.safe_dump(_lists(options), sort_keys=False, allow_unicode=True, width=120)
    return '\n'.join([*head, '', plain]) if head else plain


def _exactly(value: Any) -> str:
    """A text that tells 2.0 from 2, and the order of keys."""
    return repr(_lists(value))


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(part) for key, part in value.items()}
    return [_lists(part) for part in value] if isinstance(value, (list, tuple)) else value


def _train(train: Mapping) -> dict:
    found = dict(train)
    for name, section in train.items():
        if not isinstance(section, Mapping):
            continue
        if name == 'scheduler':
            found[name] = _whole(section, schema.SCHEDULER)
        elif str(name).endswith('_opt'):
            found[name] = _arguments(section, LOSS_REGISTRY)
    if isinstance(train.get('losses'), list):
        found['losses'] = [_arguments(entry, LOSS_REGISTRY) for entry in train['losses']]
    return found


def _dataset(section: Any, phase: str) -> Any:
    if not isinstance(section, Mapping):
        return section
    kind = registered(DATASET_REGISTRY, section.get('type'))
    foreign = {**schema.LOADER, **schema.TRAIN_LOADER, **schema.FOREIGN_DATASET}
    found = _whole(section, dataset_options(kind, phase == 'train') if is_ours(kind) else foreign)
    if is_ours(kind) and isinstance(found.get('sources'), list):
        found['sources'] = [_source(source) for source in found['sources']]
    return found


def _source(source: Any) -> Any:
    if not isinstance(source, Mapping):
        return source
    kind = registered(DATASET_REGISTRY, source_type(source))
    return _whole(source, source_options(kind)) if is_ours(kind) else dict(source)


def _arguments(section: Any, registry: Any) -> Any:
    """A section whose keys are passed to what its type names."""
    kind = registered(registry, section.get('type')) if isinstance(section, Mapping) else None
    return _whole(section, argument_options(kind)) if kind is not None else section


def _whole(section: Mapping, declared: Mapping[str, Option]) -> dict:
    return {name: _as_declared(value, declared.get(name)) for name, value in section.items()}


def _as_declared(value: Any, option: Option | None) -> Any:
    if option is None:
        return value
    counted = (
        isinstance(option.default, (list, tuple))
        and len(option.default) > 0
        and all(isinstance(part, int) and not isinstance(part, bool) for part in option.default)
    )
    if not option.kind.startswith('count') and not (option.kind == 'any' and counted):
        return value
    if isinstance(value, (list, tuple)):
        return [_as_whole(part) for part in value]
    return _as_whole(value)


def _as_whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value

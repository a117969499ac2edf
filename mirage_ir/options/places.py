"""Where a key belongs: the sections of an option file by the names that are declared for them, and the page of all.

``python -m mirage_ir.options.places > docs/options.md`` renews the page.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

from mirage_data.datasets.base import TaskDataset
from mirage_data.datasets.mixed import SOURCE_OPTIONS
from mirage_data.degradations import TABLE
from mirage_data.option import Option, options_of
from mirage_ir.measuring.metrics import REGISTERED
from mirage_ir.training import switches
from mirage_ir.training.schedulers import CosineWithWarmup
from mirage_ir.training.teachers import ENTRY

from . import rules
from .file import nearest

_SHOWN = 3  # places named in a hint
_GIVEN = frozenset({'self', 'params', 'optimizer', 'last_epoch', 'img', 'img1', 'img2', 'args', 'kwargs'})


def declared_for(model: type | None) -> dict[str, dict[str, Option]]:
    """The sections that a model of ours reads: BasicSR's keys and those that it declares, by section name.

    Args:
        model: The model's class, or None for `MIRAGEModel`'s own.
    """
    own = {'': switches.TOP, 'train': switches.TRAIN, 'val': switches.VAL, 'logger': switches.LOGGER}
    for base in reversed(model.__mro__ if model is not None else ()):
        for section, declared in vars(base).get('OPTIONS', {}).items():
            own[section] = {**own.get(section, {}), **declared}
    tables = {'': rules.TOP, 'path': rules.PATH, 'train': rules.TRAIN, 'val': rules.VAL, 'logger': rules.LOGGER}
    return {section: {**table, **own.get(section, {})} for section, table in tables.items()}


def dataset_options(kind: type, training: bool) -> dict[str, Option]:
    """What stands in the section of a data set of ours: its own options and the loader's."""
    loader = {**rules.LOADER, **rules.TRAIN_LOADER} if training else rules.LOADER
    return {**loader, **options_of(kind)}


def source_options(kind: type) -> dict[str, Option]:
    """What stands in a source of a mixed data set; its required keys may come from the mixture."""
    return {'name': Option('text', 'for the reader'), **options_of(kind), **SOURCE_OPTIONS}


def argument_options(function: Any) -> dict[str, Option]:
    """The arguments of a class or function as options, by its signature and what it declares beside it.

    Args:
        function: It may have ``OPTIONS``: by argument, further fields of `Option` as a mapping.
    """
    beside: Mapping[str, Any] = getattr(function, 'OPTIONS', {})
    bases = function.__mro__ if inspect.isclass(function) else (function,)
    meanings = {name: text for base in reversed(bases) for name, text in _meanings(base).items()}
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in _GIVEN or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = None if parameter.default is parameter.empty else parameter.default
        fields = {'kind': _kind(default, parameter.annotation), 'meaning': meanings.get(name, ''), 'default': default}
        found[name] = Option(**{**fields, **beside.get(name, {})})
    return found


def argument_rules(function: Any) -> dict[str, Option]:
    """What the arguments of a network or metric must be; of foreign ones only flags, for which any text is true."""
    declared = argument_options(function)
    if function.__module__.startswith('mirage_'):
        return declared
    return {name: rule for name, rule in declared.items() if rule.kind == 'flag'}


def places_of(name: Any) -> list[str]:
    """The sections that a key of this name may stand in, in words."""
    return list(_index().get(str(name), {}))


def hint(name: Any, here: str, own: Iterable[str], given: Container[str] = ()) -> str:
    """What to do about a key that its section does not have; empty if nothing is like it.

    Args:
        name: The key.
        here: The section in words, as in `places_of`; it is not proposed.
        own: The keys that the section may have.
        given: Those that it has already.
    """
    own = list(own)
    index = _index()
    if _is_metric(name) and here == '`val:`':
        return f'belongs in `val: metrics:`, as a section: `{name}: {{type: {_is_metric(name)}}}`'
    if elsewhere := _places(name, here):
        return f'belongs in {elsewhere}'
    called = rules.CALLED_HERE.get(str(name).lower())
    if called in own:
        return f'it is called `{called}` here{_again(called, given)}'
    if called and (elsewhere := _places(called, here)):
        return f'it is called `{called}` here and belongs in {elsewhere}'
    if found := nearest(name, own):
        return f'did you mean `{found}`{_again(found, given)}?'
    found = nearest(name, index, cutoff=0.8)
    if found and (elsewhere := _places(found, here)):
        return f'did you mean `{found}`, which belongs in {elsewhere}?'
    return ''


def _again(name: str, given: Container[str]) -> str:
    return ', which is there already' if name in given else ''


def _places(name: Any, here: str) -> str:
    places = [place for place in places_of(name) if place != here]
    if not places:
        return ''
    more = f' or {len(places) - _SHOWN} more' if len(places) > _SHOWN else ''
    return ' or '.join(places[:_SHOWN]) + more


def _is_metric(name: Any) -> str | None:
    names = [str(name), f'{name}_float', f'calculate_{name}']
    return next((full for full in names if full in METRIC_REGISTRY), None)


@cache
def _index() -> dict[str, dict[str, None]]:
    """Places by key; those named first are proposed first."""
    found: dict[str, dict[str, None]] = {}
    for place, names in _all_places():
        for name in names:
            if name not in ('type', *_GIVEN):
                found.setdefault(name, {})[place] = None
    return found


def _all_places() -> Iterator[tuple[str, Iterable[str]]]:
    sections = declared_for(None)
    yield 'the top level', sections['']
    for name in ('train', 'path', 'val', 'logger'):
        yield f'`{name}:`', sections[name]
    yield '`train: optim_g:`', {**rules.OPTIMIZER, **inspect.signature(torch.optim.AdamW).parameters}
    yield '`train: scheduler:`', {**rules.SCHEDULER, **inspect.signature(CosineWithWarmup).parameters}
    yield 'a teacher of `train: teachers:`', ENTRY
    yield '`logger: wandb:`', rules.WANDB
    yield '`dist_params:`', ('backend', 'port')
    yield '`datasets: train:`', {**rules.LOADER, **rules.TRAIN_LOADER}
    yield '`datasets:` (any data set of ours)', TaskDataset.OPTIONS
    ours = [kind for _, kind in DATASET_REGISTRY if issubclass(kind, TaskDataset)]
    for kind in ours:
        yield f'a data set of `type: {kind.__name__}`', vars(kind).get('OPTIONS', {})
    yield 'a source of a MixedDegradationDataset', SOURCE_OPTIONS
    yield 'a metric of `val: metrics:`', {name for _, metric in METRIC_REGISTRY for name in _parameters(metric)}
    for name, loss in LOSS_REGISTRY:
        if loss.__module__.startswith('mirage_') or name in ('L1Loss', 'MSELoss', 'CharbonnierLoss', 'PerceptualLoss'):
            yield f'a loss of `type: {name}`', _parameters(loss)
    for name, network in ARCH_REGISTRY:
        if network.__module__.startswith('mirage_'):
            yield f'`network_g:` of `type: {name}`', _parameters(network)
    yield 'the `recipe:` of a data set', {name for row in TABLE.values() for name in row.parameters}


def _parameters(function: Any) -> Iterable[str]:
    return inspect.signature(function).parameters


def _kind(default: Any, annotation: Any) -> str:
    if isinstance(default, bool) or annotation in ('bool', bool):
        return 'flag'
    if isinstance(default, int) or annotation in ('int', int):
        return 'count'
    if isinstance(default, float) or annotation in ('float', float):
        return 'number'
    if str(annotation).endswith('Sequence[int]'):
        return 'counts'
    return 'text' if isinstance(default, str) or annotation in ('str', str) else 'any'


def _meanings(function: Any) -> dict[str, str]:
    """The first sentence of each argument in a docstring of Google's style."""
    text = inspect.cleandoc(function.__doc__ or '')
    if 'Args:' not in text:
        return {}
    found: dict[str, str] = {}
    name = ''
    for line in text.split('Args:', 1)[1].splitlines()[1:]:
        if line and not line.startswith(' '):
            break
        stripped = line.strip()
        if line.startswith('    ') and not line.startswith('     ') and ':' in stripped:
            name, _, meaning = stripped.partition(':')
            found[name] = meaning.strip()
        elif name and stripped:
            found[name] += f' {stripped}'
    return {key: re.split(r'(?<!Eq)(?<!Fig)\. ', meaning)[0].rstrip('.') for key, meaning in found.items()}


# ---- the page -------------------------------------------------------------------------------------------------------
HEAD = """\
# Every option

Made by `python -m mirage_ir.options.places > docs/options.md` from the declarations at the classes; a test says when it
is stale. `mirage-basicsr check -opt FILE` holds an option file against it, line by line: a key where nothing reads it
is told where it belongs. Needed keys are **bold**; *train* means for training only. For classes of other projects only
what resembles a misspelt key is reported, since they declare nothing. Keys that begin with `_` or `x-` are notes.
"""


def page() -> str:
    """The whole page, in Markdown."""
    return '\n'.join([HEAD, *_sections()]).rstrip('\n') + '\n'


def _sections() -> Iterator[str]:
    sections = declared_for(None)
    yield from _table('The top level', sections[''])
    for name in ('path', 'train', 'val', 'logger'):
        yield from _table(f'`{name}:`', sections[name])
    yield from _table('`logger: wandb:`', rules.WANDB)
    yield from _table('`train: optim_g:`', rules.OPTIMIZER, "and the further arguments of `torch.optim`'s class.")
    yield from _table(
        '`train: scheduler:` of `type: CosineWithWarmup`',
        argument_options(CosineWithWarmup),
        "Without `total_iter` and `warmup_iter` here those of `train:` count. BasicSR's schedulers are allowed, too.",
    )
    yield from _table('A teacher of `train: teachers:`', ENTRY)
    for name, loss in _ours(LOSS_REGISTRY):
        yield from _table(f'A loss of `type: {name}`', argument_options(loss))
    for name, metric in sorted(REGISTERED.items()):
        yield from _table(f'A metric of `type: {name}`', argument_options(metric))
    yield from _table('Any data set, for the loader', rules.LOADER)
    yield from _table('`datasets: train:`, for the loader', rules.TRAIN_LOADER)
    yield from _table('Any data set of ours', TaskDataset.OPTIONS)
    for name, kind in _ours(DATASET_REGISTRY):
        yield from _table(f'A data set of `type: {name}`', vars(kind).get('OPTIONS', {}))
    yield from _table('A source of a `MixedDegradationDataset`', SOURCE_OPTIONS, 'and what its class reads.')
    for name, network in _ours(ARCH_REGISTRY):
        yield from _table(f'`network_g:` of `type: {name}`', argument_options(network))


def _ours(registry: Any) -> list[tuple[str, Any]]:
    return sorted((name, kind) for name, kind in registry if kind.__module__.startswith('mirage_'))


def _table(title: str, declared: Mapping[str, Option], note: str = '') -> Iterator[str]:
    if not declared:
        return
    yield f'## {title}\n'
    yield '| key | value | default | meaning |'
    yield '|---|---|---|---|'
    for name, option in declared.items():
        needed = {True: f'**`{name}`**', 'train': f'**`{name}`** *train*'}.get(option.required, f'`{name}`')
        yield f'| {needed} | {_cell(option.allowed())} | {_default(option.default)} | {_cell(option.meaning)} |'
    yield f'\n{note}\n' if note else ''


def _default(value: Any) -> str:
    if value is None:
        return ''
    if isinstance(value, bool):
        return f'`{str(value).lower()}`'
    if isinstance(value, (list, tuple)):
        return f'`[{", ".join(map(str, value))}]`'
    return f'`{value}`'


def _cell(text: str) -> str:
    return ' '.join(text.replace('|', '\\|').split())


if __name__ == '__main__':
    print(page(), end='')

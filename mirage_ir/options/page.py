"""The page of options, made of what classes and tables declare: ``python -m mirage_ir.options.page``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY

from mirage_data.datasets.base import TaskDataset
from mirage_data.datasets.mixed import SOURCE_OPTIONS
from mirage_data.option import Option
from mirage_ir.measuring.metrics import REGISTERED
from mirage_ir.training.model import MIRAGEModel
from mirage_ir.training.schedulers import CosineWithWarmup

from . import rules
from .places import argument_options, declared_for

HEAD = """\
# Every option

Made by `python -m mirage_ir.options.page > docs/options.md` from the declarations at the classes; a test says when it
is stale. `mirage-basicsr check -opt FILE` holds an option file against it, line by line: a key where nothing reads it
is told where it belongs. Needed keys are **bold**; *train* means for training only. For classes of other projects only
what resembles a misspelt key is reported, since they declare nothing. Keys that begin with `_` or `x-` are notes.
"""


def page() -> str:
    """The whole page, in Markdown."""
    return '\n'.join([HEAD, *_sections()]).rstrip('\n') + '\n'


def _sections() -> Iterator[str]:
    sections = declared_for(MIRAGEModel)
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

"""The options that a run uses: those of the file, those of the command line in their place, whole numbers as such."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from mirage_data.datasets.mixed import source_type
from mirage_data.files import plain_yaml
from mirage_data.option import Option

from . import rules
from .names import is_ours, registered
from .places import argument_options, dataset_options, declared_for, source_options


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
            found[name] = _whole(section, rules.SCHEDULER)
        elif str(name).endswith('_opt'):
            found[name] = _arguments(section, LOSS_REGISTRY)
    if isinstance(train.get('losses'), list):
        found['losses'] = [_arguments(entry, LOSS_REGISTRY) for entry in train['losses']]
    return found


def _dataset(section: Any, phase: str) -> Any:
    if not isinstance(section, Mapping):
        return section
    kind = registered(DATASET_REGISTRY, section.get('type'))
    foreign = {**rules.LOADER, **rules.TRAIN_LOADER, **rules.FOREIGN_DATASET}
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

"""Options that were changed between saving a state and going on from it: all take effect, and all are named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_SECTIONS = ('model_type', 'num_gpu', 'manual_seed', 'deterministic', 'datasets', 'path', 'train', 'val', 'logger')
_ADDED = ('phase',)  # keys that BasicSR puts into the sections by itself

_NOTES = {
    'manual_seed': 'the order of samples follows it; the random generators go on as they were saved',
    'path:pretrain': 'not used: the weights are those of the state. For others start a run without --auto_resume',
    'path:': 'not used: the weights are those of the state',
    'train:optim_g:type': 'with the moments that were saved',
    'train:scheduler': 'the rate is that of the new schedule at this iteration',
    'train:ema_decay': 'an average that is new begins with the weights of the state',
    'train:amp': 'the scaling of float16 begins anew',
    'datasets:train:batch_size_per_gpu': 'samples and iterations are counted on from where they were',
    'network_': 'the weights of the state must fit',
}


class Change(NamedTuple):
    """An option with its value in the state and its value now; `ABSENT` stands for none."""

    key: str
    before: Any
    now: Any


ABSENT = 'not given'


def recorded(opt: Mapping[str, Any]) -> str:
    """What a state keeps of the options: JSON of everything that can change what a run does.

    Args:
        opt: Options as BasicSR's parser leaves them.
    """
    kept = {key: value for key, value in opt.items() if key in _SECTIONS or str(key).startswith('network_')}
    of_weights = ('pretrain', 'param_key', 'strict')
    kept['path'] = {key: value for key, value in opt['path'].items() if key.startswith(of_weights)}
    added = (*_ADDED, 'scale') if 'scale' in opt else _ADDED
    kept['datasets'] = {
        phase: {key: value for key, value in section.items() if key not in added}
        for phase, section in (opt.get('datasets') or {}).items()
    }
    return json.dumps(kept, default=str)


def changes(before: str, now: str) -> list[Change]:
    """What differs between two records of `recorded`, in the order of the newer one."""
    old, new = dict(_flat(json.loads(before))), dict(_flat(json.loads(now)))
    keys = [*new, *(key for key in old if key not in new)]
    pairs = ((key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in keys)
    # a key that is absent and one without a value are the same to every reader
    return [Change(*pair) for pair in pairs if _bare(pair[1]) != _bare(pair[2])]


def describe(changed: list[Change], iteration: int) -> str:
    """The changes as one message for the log."""
    lines = [f'Options that differ from those of the state of iteration {iteration:,}; they hold from here on:']
    for change in changed:
        note = next((text for start, text in _NOTES.items() if change.key.startswith(start)), '')
        lines.append(f'  {change.key}: {change.before} -> {change.now}' + (f' ({note})' if note else ''))
    return '\n'.join(lines)


def _bare(value: Any) -> Any:
    return ABSENT if value is None else value


def _flat(value: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and (value or not key):
        for name, part in value.items():
            yield from _flat(part, f'{key}:{name}' if key else name)
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for number, part in enumerate(value):
            yield from _flat(part, f'{key}:{number}')
    else:
        yield key, value

"""``train: losses:``, a list of any registered losses beside ``pixel_opt`` and its kin."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from basicsr.losses import build_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn


def spd_from_list(train_opt: dict) -> None:
    """Makes an entry of the list that compares embeddings the ``spd_opt`` that it would be beside the list.

    Args:
        train_opt: The ``train`` options; changed in place.

    Raises:
        ValueError: There are two of them.
    """
    listed = train_opt.get('losses') or []
    ours = [entry for entry in listed if getattr(_class_of(entry), 'COMPARES', 'images') == 'embeddings']
    if len(ours) + bool(train_opt.get('spd_opt')) > 1:
        raise ValueError('train: losses: more than one loss of embeddings, with spd_opt; keep one')
    for entry in ours:
        listed.remove(entry)
        train_opt['spd_opt'] = {key: value for key, value in entry.items() if key != 'name'}


class ListedLosses(nn.Module):
    """The losses of the list, each on restored images and ground truth.

    Args:
        listed: Per loss ``type``, its arguments, and optionally ``name`` for the log (by default that of the type).

    Raises:
        ValueError: A name occurs twice, or is that of a loss with a key of its own.
    """

    def __init__(self, listed: list[Mapping]) -> None:
        super().__init__()
        self.names = [str(entry.get('name', _class_of(entry).__name__)).lower() for entry in listed]
        taken = [name for name in self.names if self.names.count(name) > 1 or name in ('pix', 'fourier', 'spd')]
        if taken:
            raise ValueError(f'train: losses: the name {taken[0]!r} is taken; give each loss a `name:` of its own')
        arguments = [{key: value for key, value in entry.items() if key != 'name'} for entry in listed]
        self.losses = nn.ModuleList(build_loss(deepcopy(entry)) for entry in arguments)

    def by_log_name(self) -> dict[str, nn.Module]:
        """The losses by the names under which they are logged."""
        return {f'l_{name}': loss for name, loss in zip(self.names, self.losses, strict=True)}

    def forward(self, output: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """Weighted losses by log name; a loss of several values, as BasicSR's perceptual one, gives each a number."""
        found: dict[str, Tensor] = {}
        for name, loss in zip(self.names, self.losses, strict=True):
            value = loss(output, gt)
            values = [value] if torch.is_tensor(value) else [part for part in value if part is not None]
            for number, part in enumerate(values):
                found[f'l_{name}_{number + 1}' if len(values) > 1 else f'l_{name}'] = part
        return found


def _class_of(entry: Mapping) -> type:
    kind = entry.get('type')
    if kind not in LOSS_REGISTRY:
        known = ', '.join(sorted(LOSS_REGISTRY.keys()))
        raise ValueError(f'train: losses: type is {kind!r}; registered are {known}')
    return LOSS_REGISTRY.get(kind)

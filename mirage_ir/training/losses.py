"""``train: losses:``, a list of any registered losses beside ``pixel_opt`` and its kin."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import deepcopy

import torch
from basicsr.losses import build_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

#: Under which the losses with keys of their own are logged.
OWN_NAMES = ('pix', 'fourier', 'spd')


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
        ValueError: A name occurs twice, or is that of a loss with a key of its own; or a loss compares no images.
    """

    def __init__(self, listed: list[Mapping]) -> None:
        super().__init__()
        self.names = [loss_name(entry) for entry in listed]
        taken = [name for name in self.names if self.names.count(name) > 1 or name in OWN_NAMES]
        if taken:
            raise ValueError(f'train: losses: the name {taken[0]!r} is taken; give each loss a `name:` of its own')
        for entry in listed:
            if fault := compares_images(_class_of(entry)):
                raise ValueError(f'train: losses: {fault}')
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


def loss_name(entry: Mapping) -> str:
    """Under what a loss of the list is logged."""
    return str(entry.get('name', entry.get('type'))).lower()


def compares_images(loss: type[nn.Module]) -> str | None:
    """What a registered loss takes in place of restored images and their ground truth, in words; None if those."""
    parameters = list(inspect.signature(loss.forward).parameters.values())[1:]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    if any(p.kind is p.VAR_POSITIONAL for p in positional[:2]):
        return None
    second = positional[1] if len(positional) > 1 else None
    third = positional[2] if len(positional) > 2 else None
    if second is None or second.default is not second.empty or third is not None and third.default is third.empty:
        takes = ', '.join(p.name for p in positional)
        return f'{loss.__name__} takes ({takes}), no restored images beside their ground truth'
    if second.name.startswith('target_is'):  # of adversarial losses
        return f'{loss.__name__} judges what a discriminator says, and there is none here'
    return None


def _class_of(entry: Mapping) -> type[nn.Module]:
    kind = entry.get('type')
    if kind not in LOSS_REGISTRY:
        known = ', '.join(sorted(LOSS_REGISTRY.keys()))
        raise ValueError(f'train: losses: type is {kind!r}; registered are {known}')
    return LOSS_REGISTRY.get(kind)

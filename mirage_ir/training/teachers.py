"""``train: teachers:``, trained networks whose results take the place of the ground truth: distillation.

A network that restores one thing well tells more with each crop than the photograph does, whose detail nobody can
guess from the degraded one (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015). And a network that
teaches its own copy keeps it from forgetting what a mixture shows seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from mirage_arch.checkpoints import CheckpointError, load_into, load_weights, read_safetensors, torch_file_fault
from mirage_arch.checkpoints import load_network as load_mirage
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_data.option import Option

from .selection import without_number

#: The keys of a teacher.
ENTRY = {
    'pretrain_network': Option(
        'text', 'weights of a trained network, read as `path: pretrain_network_g`', required=True
    ),
    'network': Option('section', 'that network, with `type`; absent: MIRAGE, of the size that the weights have'),
    'tasks': Option('any', 'a task of the training data or a list of them; absent: all that no other teacher has'),
    'share': Option('number', 'of its result in the target, the rest is ground truth', 1, low=0, high=1, open_low=True),
}


class Teachers:
    """The networks of the list, each with the tasks that it teaches.

    Args:
        listed: Per teacher the keys of `ENTRY`.
        device: Where the networks compute.
        channels_last: Their layout.

    Raises:
        ValueError: Two teachers for one task, or two without tasks.
        CheckpointError: Weights that cannot be read, or do not fit their network.
    """

    def __init__(self, listed: Sequence[Mapping], device: torch.device, channels_last: bool = False) -> None:
        if fault := clash(listed):
            raise ValueError(f'train: teachers: {fault[1]}')
        layout = torch.channels_last if channels_last else torch.preserve_format
        self._of: dict[str, tuple[nn.Module, float]] = {}  # by task; '' for all that are not named
        nets = {
            _identity(entry): trained_network(entry).to(device, memory_format=layout).eval().requires_grad_(False)
            for _, entry in first_of_each(listed)
        }
        for entry in listed:
            path, tasks, share = entry['pretrain_network'], tasks_of(entry), entry.get('share', 1)
            self._of.update(dict.fromkeys(tasks or [''], (nets[_identity(entry)], share)))
            taught = ', '.join(tasks) or 'all other tasks'
            get_root_logger().info(f'Teacher of {taught}: {path}, {share:.0%} of the target.')

    @torch.no_grad()
    def targets(
        self,
        lq: Tensor,
        gt: Tensor,
        tasks: Sequence[str],
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        parts: int = 1,
    ) -> Tensor:
        """What the network is to give for a batch.

        Args:
            lq: Degraded images in [0, 1], (b, 3, h, w).
            gt: Their ground truth, of the same shape; not changed.
            tasks: Task of each.
            autocast: Makes the precision in which the teachers compute.
            parts: A teacher sees at most so large a part of the batch at once.

        Returns:
            (b, 3, h, w): ground truth, of taught tasks ``share`` of it replaced by the teacher's result in [0, 1].

        Raises:
            ValueError: A teacher's result has another size.
        """
        targets = gt.clone()
        rows_of: dict[tuple[nn.Module, float], list[int]] = {}
        for row, task in enumerate(tasks):
            teacher = next((self._of[name] for name in (*names_of(task), '') if name in self._of), None)
            if teacher:
                rows_of.setdefault(teacher, []).append(row)
        most = -(-len(lq) // parts)
        with autocast():
            for (net, share), rows in rows_of.items():
                for some in (rows[start : start + most] for start in range(0, len(rows), most)):
                    restored = net(lq[some])
                    if restored.shape != lq[some].shape:
                        raise ValueError(
                            f'train: teachers: {type(net).__name__} makes {tuple(restored.shape)} of '
                            f'{tuple(lq[some].shape)}; needed is the same size'
                        )
                    targets[some] = torch.lerp(gt[some], restored.to(gt.dtype).clamp(0, 1), share)
        return targets


def trained_network(entry: Mapping) -> nn.Module:
    """The network of an entry, with its weights, on the CPU.

    Raises:
        CheckpointError: The weights cannot be read, or do not fit.
    """
    path = entry['pretrain_network']
    if not entry.get('network'):
        return load_mirage(path, spd_head=False)
    arguments = dict(entry['network'])
    if issubclass(ARCH_REGISTRY.get(arguments['type']), MIRAGEArch):
        net = build_network({**arguments, 'spd_head': False})
        load_into(net, load_weights(path), path)
    else:
        net = build_network(arguments)
        load_into(net, _foreign_weights(net, path), path)
    return net


def _foreign_weights(net: nn.Module, path: str) -> dict[str, Tensor]:
    """Weights of another project: of BasicSR, of Lightning, safetensors, or the tensors by name themselves."""
    if path.endswith('.safetensors'):
        content: Mapping = read_safetensors(path)[0]
    elif fault := torch_file_fault(path):
        raise CheckpointError(f'{path} cannot be read: {fault}')
    else:
        try:
            content = torch.load(path, map_location='cpu', weights_only=True)
        except Exception as error:  # torch reports damaged and foreign files by a dozen exception types
            cause = str(error).strip().splitlines() or [type(error).__name__]
            raise CheckpointError(f'{path} cannot be read: {cause[0]}') from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, no weights')
    entry = next((key for key in ('params_ema', 'params', 'state_dict') if isinstance(content.get(key), Mapping)), None)
    tensors = {str(name): t for name, t in (content[entry] if entry else content).items() if torch.is_tensor(t)}
    own = net.state_dict()
    prefix = max(('', 'module.', 'net.', 'net_g.', 'model.'), key=lambda p: sum(p + name in tensors for name in own))
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def tasks_of(entry: Mapping) -> list[str]:
    """The tasks that an entry names; empty for all others."""
    tasks = entry.get('tasks') or []
    return [tasks] if isinstance(tasks, str) else list(tasks)


def first_of_each(listed: Sequence[Mapping]) -> list[tuple[int, Mapping]]:
    """Position and entry of each network once: one may teach some tasks more than others."""
    found: dict[str, tuple[int, Mapping]] = {}
    for position, entry in enumerate(listed):
        found.setdefault(_identity(entry), (position, entry))
    return list(found.values())


def _identity(entry: Mapping) -> str:
    return str([entry['pretrain_network'], entry.get('network')])


def names_of(task: str) -> tuple[str, str]:
    """By what a sample's task may be named: itself, and without its number (``denoise`` for ``denoise_25``)."""
    return task, without_number(task)


def clash(listed: Sequence[Mapping]) -> tuple[int, str] | None:
    """The position of the first teacher that another one leaves nothing for, and why; None if all have tasks."""
    taken: set[str] = set()
    for position, entry in enumerate(listed):
        own = tasks_of(entry) or ['']
        for task in own:
            if task in taken or own.count(task) > 1:
                said = f'{task!r} has' if task else 'what no teacher names has'
                return position, f'{said} two teachers; needed is one'
        taken.update(own)
    return None

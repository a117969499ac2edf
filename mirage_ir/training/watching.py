"""Watching a run: figures by task, what memory it will need, and a log that says what matters."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import yaml
from basicsr.utils import get_root_logger
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from mirage_data.files.write import write_file

from .ranks import gather_on_rank_zero

TASKS_FILE = 'tasks.csv'
_HEADER = ('iter', 'task', 'metric', 'value')
_COPIES = 4  # of every parameter in float32: itself, its gradient, two moments
_HALF = 0.53  # of the activations where the network computes in 16 bits; measured on MIRAGE-T, which keeps some in 32
_SMALL = 2**13  # pixels of a batch that are not worth an estimate
_GIB = 2**30


def readable(opt: Mapping) -> str:
    """Options as YAML, for the log; BasicSR's text shows lists of sections as Python writes them."""
    return '\n' + yaml.safe_dump(
        json.loads(json.dumps(opt, default=str)), sort_keys=False, width=120, default_flow_style=None
    )


def is_true(record: logging.LogRecord) -> bool:
    """A filter of the log: BasicSR warns of several validation sets whatever the model does with them."""
    return not record.getMessage().startswith('Multiple validation datasets are *only* supported')


# ---- by task ------------------------------------------------------------------------------------------------------


def sample_values(loss: nn.Module, output: Tensor, gt: Tensor) -> Tensor | None:
    """(b,) what a loss is for each sample; None for a loss that cannot be taken apart.

    Args:
        loss: With a ``reduction`` that may be 'none', as BasicSR's pixel losses and ours have it.
        output: (b, c, h, w).
        gt: The same.
    """
    reduction = getattr(loss, 'reduction', None)
    if reduction not in ('mean', 'sum'):
        return None
    loss.reduction = 'none'
    try:
        values = loss(output, gt)
    finally:
        loss.reduction = reduction
    if not torch.is_tensor(values) or values.shape[:1] != output.shape[:1]:
        return None
    values = values.flatten(1).float()
    return values.mean(1) if reduction == 'mean' else values.sum(1)


@torch.no_grad()
def sample_figures(losses: Mapping[str, nn.Module | None], output: Tensor, gt: Tensor) -> dict[str, Tensor]:
    """(b,) by name: what losses are for each sample, and ``psnr``.

    Args:
        losses: By log name; None and what cannot be taken apart are passed over.
        output: (b, 3, h, w), float32.
        gt: The same.
    """
    found = {name: sample_values(loss, output, gt) for name, loss in losses.items() if loss is not None}
    error = (output.clamp(0, 1) - gt).square().flatten(1).mean(1)
    found['psnr'] = -10 * torch.log10(error.clamp_min(1e-10))
    return {name: values for name, values in found.items() if values is not None}


class TaskFigures:
    """Losses and PSNR of the training crops, by task, between two lines of the log.

    Nothing waits for the device before the figures are asked for.
    """

    def __init__(self) -> None:
        self._tasks: list[str] = []
        self._names: list[str] = []
        self._values: list[Tensor] = []
        self._known: set[str] = set()

    def add(self, tasks: Sequence[str], figures: Mapping[str, Tensor]) -> None:
        """Adds the samples of a batch: their tasks, and `sample_figures` of them, which are copied."""
        self._tasks += tasks
        self._names = list(figures)
        self._values.append(torch.stack(list(figures.values())))

    def read(self) -> dict[str, float]:
        """Means by ``tasks/<task>/<name>``, ``samples`` and ``share`` (of the samples since the last reading).

        Empty where all samples are of one task. Every rank must ask; rank 0 gets the figures of all, others nothing.
        """
        columns = torch.cat(self._values, 1).cpu().tolist() if self._values else []
        tasks, values = self._tasks, dict(zip(self._names, columns, strict=False))
        self._tasks, self._values = [], []
        sums: dict[str, Counter] = {}
        for place, task in enumerate(tasks):
            mine = sums.setdefault(task, Counter())
            mine['samples'] += 1
            mine.update({name: column[place] for name, column in values.items()})
        total: dict[str, Counter] = {}
        for part in gather_on_rank_zero(sums) or []:
            for task, counter in part.items():
                total.setdefault(task, Counter()).update(counter)
        self._known |= set(total)
        if len(self._known) < 2:
            return {}
        whole = sum(counter['samples'] for counter in total.values())
        found: dict[str, float] = {}
        for task in sorted(total):
            counter, samples = total[task], total[task]['samples']
            found[f'tasks/{task}/samples'] = samples
            found[f'tasks/{task}/share'] = samples / whole
            found.update({f'tasks/{task}/{name}': counter[name] / samples for name in values})
        return found


def by_task(figures: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Figures of `TaskFigures.read` among others, by task and name."""
    found: dict[str, dict[str, float]] = {}
    for key, value in figures.items():
        if key.startswith('tasks/'):
            task, _, name = key.removeprefix('tasks/').rpartition('/')
            found.setdefault(task, {})[name] = value
    return found


def task_line(tasks: Mapping[str, Mapping[str, float]]) -> str:
    """One line for the log: share, PSNR and losses of each task."""
    parts = []
    for task, values in tasks.items():
        losses = ' '.join(f'{name} {value:.3e}' for name, value in values.items() if name.startswith('l_'))
        parts.append(f'{task} {100 * values["share"]:.0f} % {values["psnr"]:.2f} dB {losses}')
    return 'by task: ' + '; '.join(parts)


class TaskTable:
    """``tasks.csv`` of a run: figures by task, appended at each line of the log.

    Args:
        folder: Of the run.
        start: Iteration that the run goes on from; what the file says of later ones is being repeated and goes.
    """

    def __init__(self, folder: str, start: int) -> None:
        self._path, self._start = os.path.join(folder, TASKS_FILE), start
        self._opened = False

    def add(self, iteration: int, tasks: Mapping[str, Mapping[str, float]]) -> None:
        """Appends the figures of an iteration."""
        if not self._opened:
            kept = [line for line in self._lines() if int(line[0]) <= self._start]
            write_file(self._path, ''.join(f'{",".join(line)}\n' for line in [_HEADER, *kept]))
            self._opened = True
        with open(self._path, 'a', encoding='utf-8', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            for task, values in tasks.items():
                writer.writerows([iteration, task, name, f'{value:.6g}'] for name, value in values.items())

    def _lines(self) -> Iterator[list[str]]:
        if os.path.isfile(self._path):
            with open(self._path, encoding='utf-8', newline='') as file:  # a kill may have cut the last line off
                yield from (line for line in csv.reader(file) if len(line) == len(_HEADER) and line[0].isdigit())


# ---- memory -------------------------------------------------------------------------------------------------------


def memory_need(net: nn.Module, batch: int, side: int, *, half: bool = False, average: bool = False) -> float:
    """About how many bytes a training step takes: parameters, moments, what is kept for the backward pass.

    Args:
        net: On PyTorch's meta device, where nothing is computed, in training mode.
        batch: Crops that are worked through at once.
        side: Of a crop, in pixels.
        half: Whether the network computes in 16 bits.
        average: Whether an average of the weights is kept.

    Returns:
        Bytes, within a quarter of what was measured on a CPU.
    """
    own = {tensor.untyped_storage()._cdata for tensor in (*net.parameters(), *net.buffers())}
    kept: dict[int, Tensor] = {}
    sizes: list[int] = [0]
    before: dict[nn.Module, int] = {}
    block = [0]

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and storage._cdata not in kept:
            kept[storage._cdata] = tensor
            sizes[0] += storage.nbytes()
        return tensor

    @contextmanager
    def watched() -> Iterator[None]:
        handles = []
        for module in (m for m in net.modules() if type(m).__name__.endswith('Block')):
            handles.append(module.register_forward_pre_hook(lambda m, _: before.__setitem__(m, sizes[0])))
            handles.append(
                module.register_forward_hook(lambda m, *_: block.__setitem__(0, max(block[0], sizes[0] - before[m])))
            )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    recomputes = getattr(net, 'checkpoint_blocks', False)
    image = torch.empty(batch, getattr(net, 'inp_channels', 3), side, side, device='meta')
    if recomputes:
        net.checkpoint_blocks = False
    with watched(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(image)
    everything, largest = sizes[0], block[0]
    if recomputes:  # only the inputs of the blocks stay, and one block at a time is computed again
        net.checkpoint_blocks = True
        kept.clear()
        sizes[0] = 0
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            net(image)
        everything = sizes[0]
    parameters = sum(parameter.numel() for parameter in net.parameters()) * 4
    activations = (everything + 2 * largest) * (_HALF if half else 1)
    return parameters * (_COPIES + average) + activations


def tell_memory_need(opt: Mapping, network: Mapping, available: float) -> float | None:
    """Logs about how much memory a training will take, as a warning where that is more than there is.

    Args:
        opt: Options of the run.
        network: ``type`` and arguments of the network that is trained.
        available: Bytes that the device has free.

    Returns:
        The estimate in bytes; None for a batch too small to matter, or a network of which nothing can be told.
    """
    train, data = opt['train'], opt['datasets']['train']
    batch, side = data.get('batch_size_per_gpu'), data.get('gt_size')
    if not isinstance(batch, int) or not isinstance(side, int) or batch * side * side < _SMALL:
        return None
    parts = train.get('accumulate_grad') or 1
    half, average = train.get('amp') in ('bf16', 'fp16'), bool(train.get('ema_decay'))
    try:
        with torch.random.fork_rng(devices=[]), torch.device('meta'):
            arguments = {key: value for key, value in network.items() if key != 'type'}
            net = ARCH_REGISTRY.get(network['type'])(**arguments).train()
        need = memory_need(net, max(batch // parts, 1), side, half=half, average=average)
    except Exception:  # a network of another project may do what shapes alone do not allow
        return None
    crops = f'{batch} crops of {side}x{side}' + (f' in {parts} parts' if parts > 1 else '')
    text = (
        f'Memory: about {need / _GIB:.1f} GiB for {crops} in {train["amp"] if half else "float32"}'
        f'{", blocks computed again" if train.get("checkpoint_blocks") else ""}'
    )
    logger = get_root_logger()
    if need <= available:
        logger.info(f'{text}; {available / _GIB:.1f} GiB are free.' if available < float('inf') else f'{text}.')
        return need
    cures = [
        f'datasets: train: batch_size_per_gpu: {max(int(batch * available / need), 1)}',
        *([] if train.get('checkpoint_blocks') else ['train: checkpoint_blocks: true (about a quarter)']),
        *([] if half else ['train: amp: bf16 (about half)']),
        'train: accumulate_grad (a divisor of the batch)',
    ]
    free = f'{available / _GIB:.1f} GiB are free: the run will probably be killed'
    logger.warning(f'{text}, and {free}. Less takes: {"; ".join(cures)}.')
    return need

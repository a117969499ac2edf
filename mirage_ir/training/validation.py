"""Validation of `MIRAGEModel`: the paper's protocol, any number of data sets, any number of ranks."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from basicsr.data import worker_init_fn  # as mirage_ir.compat has it
from basicsr.utils import get_root_logger, tensor2img
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from mirage_arch.checkpoints import load_into
from mirage_arch.evaluation import DeviceEvaluator, self_ensemble
from mirage_arch.fast_forward import prepare_fast, supports
from mirage_arch.ieee import evaluation_kernels
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_data.files.crops import side_by_side
from mirage_data.files.write import write_image
from mirage_ir.measuring import report
from mirage_ir.measuring.metrics import LOWER_IS_BETTER
from mirage_ir.measuring.protocols import centre_crop, check_metrics, described, measure

from .network_setup import evaluating
from .precision import uncompiled
from .selection import data_notes
from .state import untouched_random_state

_SHEET_HEIGHT = 256  # of TensorBoard pictures, which it keeps uncompressed in memory
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHEETS = 8  # TensorBoard pictures of a data set


class ValidationStoppedError(RuntimeError):
    """A stop signal came during a validation, which leaves no figures then."""


class ValidationError(ValueError):
    """A picture cannot be read, measured or written, or the table of earlier figures is damaged; the message names it.

    A run says so in one line, after it has saved what was trained so far.
    """


class ValidationMixin:
    """Replaces `SRModel`'s validation.

    Every image is restored whole in float32 (IEEE's, never TF32), centre-cropped to a multiple of
    ``val: crop_multiple`` (0: not at all, see `settle_crops`), clipped to [0, 1], and measured: metrics in
    `metrics.FLOAT_METRICS` on float images, others on 8-bit ones as in BasicSR. Without ground truth only metrics that
    need none are computed. Further options under ``val``: ``input_metrics: true`` also measures the degraded input
    (``input_<metric>``), ``self_ensemble: true`` averages over the eight flips and rotations, ``pbar: true`` shows
    progress.

    With several ranks each restores every n-th image; the figures are those of one process.
    """

    # what BasicSR's class has
    opt: dict[str, Any]
    is_train: bool
    device: torch.device
    net_g: nn.Module
    get_bare_model: Callable[[nn.Module], nn.Module]
    feed_data: Callable[[Mapping], None]
    best_metric_results: dict[str, dict[str, dict]]
    tested_entry: str
    _update_best_metric_result: Callable[[str, str, float, int | str], None]
    lq: Tensor
    gt: Tensor
    output: Tensor

    def validation(self, dataloader: DataLoader, current_iter: int | str, tb_logger, save_img: bool = False) -> None:
        """Validates on one data set; the table is complete, and logged, after the last one.

        Args:
            dataloader: BasicSR's loader of the data set.
            current_iter: Iteration; while testing, a name.
            tb_logger: TensorBoard writer or None.
            save_img: Write pictures.

        Raises:
            ValidationError: See there.
        """
        dataset = dataloader.dataset
        name = dataset.opt['name']
        if self.is_train and isinstance(current_iter, int):
            # After the last iteration BasicSR validates once more, under a number that was never trained.
            total = int(self.opt['train']['total_iter'])
            if current_iter > total and getattr(self, '_validated', {}).get(name) == total:
                return
            current_iter = min(current_iter, total)
        with untouched_random_state():
            scores = self._scores(dataset, name, current_iter, tb_logger, save_img)
        self._report(name, scores, current_iter, tb_logger)
        self._validated = {**getattr(self, '_validated', {}), name: current_iter}

    def test(self) -> None:
        """Restores ``self.lq`` into ``self.output``, whole, in float32."""
        net = getattr(self, 'net_g_ema', None) or self.get_bare_model(self.net_g)
        with evaluating(net), uncompiled(self.opt.get('train') or {}), evaluation_kernels():
            restore = self._evaluator or net
            self.output = self_ensemble(restore, self.lq) if self._val('self_ensemble') else restore(self.lq)

    _crops: Mapping[str, int] = MappingProxyType({})  # by data set, what its images were cropped to multiples of
    _evaluator: Callable[[Tensor], Tensor] | None = None  # the network's equivalent while a validation runs

    def _val(self, key: str, default=None):
        return (self.opt.get('val') or {}).get(key, default)

    # ---- measuring ------------------------------------------------------------------------------------------------

    def _scores(self, dataset, name: str, current_iter, tb_logger, save_img: bool) -> list[report.ImageScore]:
        """Scores of all images of a data set, on every rank."""
        rank, world = (self.opt['rank'], self.opt['world_size']) if self.opt['dist'] else (0, 1)
        net = getattr(self, 'net_g_ema', None) or self.get_bare_model(self.net_g)
        if world > 1:  # batch norm statistics are those of rank 0, as in its checkpoints
            for buffer in net.buffers():
                dist.broadcast(buffer, 0)
        names = PictureNames(dataset.opt)
        multiple = math.lcm(self._val('crop_multiple') or 1, getattr(dataset, 'crop_multiple', 1))
        self._crops = {**self._crops, name: multiple if multiple > 1 else 0}
        indices = range(rank, len(dataset), world)
        scores: list[report.ImageScore] = []
        self._evaluator = _equivalent(net, self.opt['network_g'], self.device)
        try:
            samples = self._samples(dataset, indices, name)
            for index in indices:
                if self.stop_asked():
                    raise ValidationStoppedError(f'The validation on {name} stops after {len(scores)} images')
                with _named(f'{name}: image {index + 1} of {len(dataset)}'):
                    sample = next(samples)
                path = sample['lq_path'][0]
                task = sample['task'][0] if 'task' in sample else dataset.opt.get('task', name)
                self.feed_data(sample)
                with _named():
                    self._prepare_pair(name, path)
                self.test()
                picture = names(path, index)
                if len(getattr(dataset, 'tasks', ())) > 1 and task not in picture.split('/'):
                    picture = f'{task}/{picture}'  # one file, several degradations of it
                with _named(f'{name}: {path}'):
                    scores.append(report.ImageScore(index, picture, task, self._measure()))
                if save_img or (tb_logger and index < _SHEETS):
                    self._show(name, picture, index, current_iter, tb_logger, save_img)
        finally:
            self._evaluator = None  # the weights will change
        for attribute in ('lq', 'gt', 'output', 'batch'):  # a large last image need not stay
            vars(self).pop(attribute, None)
        if world > 1:
            parts: list = [None] * world
            dist.all_gather_object(parts, scores)
            scores = sorted((score for part in parts for score in part), key=lambda score: score.index)
        return scores

    def stop_asked(self) -> bool:
        """Whether the run wants to end; a training run puts its own question here."""
        return False

    def _samples(self, dataset, indices: range, name: str) -> Iterator[dict]:
        workers = dataset.opt.get('num_worker_per_gpu') or 0
        loader = DataLoader(
            Subset(dataset, indices),
            batch_size=1,
            num_workers=workers,
            worker_init_fn=partial(worker_init_fn, num_workers=workers, rank=self.opt.get('rank', 0), seed=0),
            pin_memory=self.device.type == 'cuda',
            generator=torch.Generator().manual_seed(0),
        )
        show = self._val('pbar', False) and self.opt.get('rank', 0) == 0
        return iter(tqdm(loader, desc=name, unit='image', disable=not show))

    def _prepare_pair(self, name: str, path: str) -> None:
        scale = self.opt.get('scale', 1)
        if hasattr(self, 'gt'):
            expected = tuple(side * scale for side in self.lq.shape[-2:])
            if tuple(self.gt.shape[-2:]) != expected:
                raise ValueError(
                    f'{name}: {path} is {_size(self.lq)} but its ground truth is {_size(self.gt)}; '
                    f'they must be of one size{f" times {scale}" if scale != 1 else ""}'
                )
        multiple = self._val('crop_multiple') or 0
        if multiple:
            self.lq = centre_crop(self.lq, multiple, path)
            if hasattr(self, 'gt'):
                self.gt = centre_crop(self.gt, multiple * scale, path)

    def _measure(self) -> dict[str, float]:
        metrics, gt = self._val('metrics') or {}, getattr(self, 'gt', None)
        values = measure(self.output, gt, metrics)
        if self._val('input_metrics') and gt is not None:
            values.update({f'input_{key}': value for key, value in measure(self.lq, gt, metrics, clip=False).items()})
        return values

    # ---- showing --------------------------------------------------------------------------------------------------

    def _show(self, dataset: str, picture: str, index: int, current_iter, tb_logger, save_img: bool) -> None:
        """Pictures of one image: lq | result | gt, and while testing the result alone."""
        tensors = [self.lq, self.output, *([self.gt] if hasattr(self, 'gt') else [])]
        images = [tensor2img([tensor]) for tensor in tensors]  # BGR
        if tb_logger and index < _SHEETS:
            sheet = side_by_side(images, _SHEET_HEIGHT)[..., ::-1].copy()
            tb_logger.add_image(f'{dataset}/{picture}', sheet, current_iter, dataformats='HWC')
        if not save_img:
            return
        folder = self.opt['path']['visualization']
        if self.is_train:
            stem = os.path.basename(picture)
            _write(os.path.join(folder, dataset, picture, f'{stem}_{current_iter}.png'), side_by_side(images))
        else:
            suffix = self._val('suffix') or self.opt['name']
            _write(os.path.join(folder, dataset, f'{picture}_{suffix}.png'), images[1])
            _write(os.path.join(folder, 'side_by_side', dataset, f'{picture}_{suffix}.png'), side_by_side(images))

    # ---- reporting ------------------------------------------------------------------------------------------------

    def _report(self, name: str, scores: list[report.ImageScore], current_iter, tb_logger) -> None:
        overall = report.mean_values([score.values for score in scores])
        # As SRModel leaves it; the loop of a foreign runner may read it.
        self.metric_results = overall
        if self._val('metrics'):
            self._initialize_best_metric_results(name)
            for metric in self.opt['val']['metrics']:
                if self.is_train and metric in overall:
                    self._update_best_metric_result(name, metric, overall[metric], current_iter)
        if getattr(self, '_table_iter', None) != current_iter:
            self._table_iter, self._table_rows = current_iter, {}
        self._table_rows[name] = report.rows_of(name, scores)
        if self.opt.get('rank', 0) == 0:
            self._write_report(name, scores, current_iter, tb_logger)

    def _write_report(self, name: str, scores: list[report.ImageScore], current_iter, tb_logger) -> None:
        new = self._table_rows[name]
        rows = [row for part in self._table_rows.values() for row in part]
        complete = len(self._table_rows) == len(_validation_sets(self.opt))
        if self.is_train:
            path = os.path.join(self.opt['path']['experiments_root'], 'validation.csv')
            # An average over several tasks or data sets is a row of its own.
            extra = [_average(rows, report.AVERAGE)] if complete and len(rows) > 1 else []
            extra += [_average(new, name)] if len(new) > 1 else []
            with _named():
                report.update_csv(path, current_iter, [*new, *extra])
        else:
            folder = self.opt['path']['results_root']
            weights = self.opt['path'].get('pretrain_network_g')
            params_m = sum(p.numel() for p in self.get_bare_model(self.net_g).parameters()) / 1e6
            report.write_results(folder, self.opt['name'], weights, self._protocol(), rows, params_m)
            report.write_image_scores(os.path.join(folder, f'images_{name}.csv'), scores)
            extra = []
        if tb_logger:
            for row in [*new, *extra]:
                for metric, value in row.values.items():
                    tb_logger.add_scalar(f'metrics/{row.dataset}/{row.task}/{metric}', value, current_iter)
        if complete:
            best = getattr(self, 'best_metric_results', None) if self.is_train else None
            how = described(self._val('metrics') or {}, self._cropping())
            get_root_logger().info(f'Validation at {current_iter}\n{report.table(rows, best)}\n{how}')

    def _protocol(self) -> dict:
        loose = [data['name'] for data in self.opt['datasets'].values() if data.get('clip') is False]
        return {
            **({'protocol': self._val('protocol')} if self._val('protocol') else {}),
            'metrics': {key: dict(options) for key, options in (self._val('metrics') or {}).items()},
            'crop_multiple': self._cropping(),
            'self_ensemble': bool(self._val('self_ensemble')),
            'precision': 'float32 (IEEE, no TF32)',
            **({'entry of the weights': self.tested_entry} if getattr(self, 'tested_entry', '') else {}),
            **data_notes(self.opt),
            **({'noise not clipped': ', '.join(loose)} if loose else {}),
        }

    def _cropping(self) -> int | dict[str, int]:
        """What the data sets and this class together crop to, 0 for nothing; by data set where they differ."""
        found = set(self._crops.values())
        return found.pop() if len(found) == 1 else dict(self._crops)

    def _initialize_best_metric_results(self, dataset_name: str) -> None:
        """Adds what is missing to the records; a resumed run may have brought some, and may watch new metrics."""
        if not hasattr(self, 'best_metric_results'):
            self.best_metric_results = {}
        record = self.best_metric_results.setdefault(dataset_name, {})
        for metric, options in self.opt['val']['metrics'].items():
            better = options.get('better', 'lower' if options['type'] in LOWER_IS_BETTER else 'higher')
            worst = float('-inf') if better == 'higher' else float('inf')
            record.setdefault(metric, {'better': better, 'val': worst, 'iter': -1})


@contextmanager
def _named(what: str = '') -> Iterator[None]:
    """Says of an error inside what it was about; one of a DataLoader worker arrives with its traceback."""
    try:
        yield
    except (ValueError, OSError, np.linalg.LinAlgError) as error:
        message = str(error)
        if 'Traceback (most recent call last)' in message:
            message = message.strip().rpartition('\n')[2].partition(': ')[2]
        raise ValidationError(f'{what}: {message}' if what else message) from error


def _write(path: str, image: np.ndarray) -> None:
    """Writes a picture (h, w, 3), 8-bit BGR."""
    try:
        write_image(path, image[..., ::-1])
    except OSError as error:
        folder = Path(path).parent
        while not folder.is_dir():
            folder = folder.parent
        free = f' ({shutil.disk_usage(folder).free / 1e6:.1f} MB are free)' if error.errno in _FULL else ''
        raise ValidationError(f'{path}: cannot be written: {error.strerror or error}{free}') from error


def check_validation(opt: Mapping) -> None:
    """Refuses metrics that cannot be computed, and data sets that would overwrite each other.

    Raises:
        ValueError: As `check_metrics`, or a name that two data sets share.
    """
    check_metrics((opt.get('val') or {}).get('metrics') or {})
    names = _validation_sets(opt)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f'datasets: the name {", ".join(twice)} is given twice; tables and pictures go by names')


def _validation_sets(opt: Mapping) -> list[str]:
    sets = opt['datasets'].items()
    return [dataset['name'] for key, dataset in sets if not (opt['is_train'] and key.startswith('train'))]


def _equivalent(net: nn.Module, network_opt: Mapping, device: torch.device) -> Callable[[Tensor], Tensor] | None:
    """What evaluates a network with the same figures: in strips on a CPU, elsewhere as memory allows.

    None on a CPU where the network has no strip-wise evaluation.
    """
    bare = None
    if type(net) is MIRAGEArch:
        # Without the heads, which evaluation does not need and which the diagnostics of a training watch by hooks.
        arguments = {key: value for key, value in network_opt.items() if key != 'type'}
        bare = MIRAGEArch(**{**arguments, 'spd_head': False}).to(device)
        load_into(bare, net.state_dict())
        bare = bare if supports(bare)[0] else None
    if device.type == 'cpu':
        return None if bare is None else prepare_fast(bare)
    return DeviceEvaluator(net, None if bare is None else lambda: prepare_fast(bare))


def _average(rows: list[report.Row], dataset: str) -> report.Row:
    images = sum(row.images for row in rows)
    return report.Row(dataset, report.AVERAGE, images, report.mean_values([row.values for row in rows]))


def _size(image: Tensor) -> str:
    return f'{image.shape[-2]}x{image.shape[-1]}'


_ROOTS = ('dataroot_lq', 'dataroot_gt', 'dataroot')


class PictureNames:
    """Distinct names for the pictures of one data set, whatever its folders look like.

    A picture is named after its file's place below the data set's folder, so equal names in different folders stay
    apart; the file ending is added where two files differ by nothing else; and the sample's number where the file
    lies in none of the data set's folders (an LMDB key, say) or the name of a file serves for several samples.

    Args:
        dataset_opt: Options of the data set; its ``dataroot_lq``, ``dataroot_gt`` or ``dataroot`` are the folders.
    """

    def __init__(self, dataset_opt: Mapping) -> None:
        # links stay: `prepare` links the files of a download, and their names here are the ones that count
        self._roots = [Path(os.path.abspath(dataset_opt[key])) for key in _ROOTS if dataset_opt.get(key)]

    def __call__(self, lq_path: str, index: int) -> str:
        """Name without ending, with ``/`` between folders.

        Args:
            lq_path: File or key of the degraded image.
            index: Number of the sample in its data set.
        """
        path = Path(lq_path)
        absolute = Path(os.path.abspath(lq_path))
        for root in self._roots:
            if root in absolute.parents:
                relative = absolute.relative_to(root)
                twins = _stems(str(absolute.parent)).count(path.stem) > 1
                named = relative.with_name(path.name.replace('.', '_')) if twins else relative.with_suffix('')
                return named.as_posix()
        return f'{index:05d}_{path.stem}'


@lru_cache(maxsize=64)
def _stems(folder: str) -> tuple[str, ...]:
    try:
        return tuple(os.path.splitext(name)[0] for name in os.listdir(folder))
    except OSError:
        return ()

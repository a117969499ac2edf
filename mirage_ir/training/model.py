"""`MIRAGEModel`: BasicSR's `SRModel` with the paper's losses and what long runs need."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy

import torch
import torch.distributed as dist
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from mirage_arch.mirage_arch import MIRAGEArch
from mirage_data.datasets.sample import bytes_to_float
from mirage_ir.measuring.protocols import apply_protocol
from mirage_losses.spd_contrastive_loss import pair_similarity

from . import diagnostics, switches
from .diagnostics import OpenStep, StepLog, non_finite, takes_found_inf
from .guards import stop_run
from .losses import ListedLosses, spd_from_list
from .network_setup import (
    BufferCopy,
    load_weights_into,
    network_options,
    start_training,
    tested_entry,
    update_average,
)
from .precision import COMPILE_CURE, COMPILE_NEEDS_TORCHRUN, Precision, choose_tf32, prepare_for_training
from .schedulers import CosineWithWarmup
from .state import TrainingStateMixin
from .step_graphs import Outcome, step_graphs
from .teachers import Teachers
from .validation import ValidationMixin, check_validation
from .watching import TaskFigures, sample_figures

OPTIMIZERS = {'AdamW': torch.optim.AdamW, 'Adam': torch.optim.Adam}


class MIRAGEModel(ValidationMixin, TrainingStateMixin, SRModel):
    """Trains and tests a restoration network under BasicSR's runners.

    Beside the options of `SRModel` it reads those of `switches`; under ``train`` the losses ``fourier_opt`` and
    ``spd_opt``, each optional like ``pixel_opt`` and ``perceptual_opt``, ``losses``, a list of any others,
    ``teachers``, the optimizers AdamW and Adam, and the schedule CosineWithWarmup. Any registered network can be
    trained; ``spd_opt`` needs one whose ``forward`` takes ``return_embeddings``.

    ``accumulate_grad: k`` works through the batch in k equal parts within one iteration and takes one step. The pixel
    and Fourier losses are those of the whole batch. Batch norm is not: it normalises by each part's statistics and
    moves its running ones k times; and the contrastive loss sees the negatives of one part (of all ranks) only.

    Args:
        opt: Options as BasicSR parses them; not changed.

    Raises:
        ValueError: Options that name something unknown or do not fit together.
    """

    OPTIONS = {'': switches.TOP, 'train': switches.TRAIN, 'val': switches.VAL, 'logger': switches.LOGGER}

    def __init__(self, opt: Mapping) -> None:
        own = deepcopy(dict(opt))
        apply_protocol(own.get('val') or {})
        check_validation(own)
        spd_from_list(own.get('train') or {})
        own['network_g'] = network_options(own)
        super().__init__(own)

    # ---- building -------------------------------------------------------------------------------------------------

    def init_training_settings(self) -> None:
        """Losses, average, optimizer and schedulers; unlike `SRModel`, any one loss is enough."""
        train_opt = self.opt['train']
        choose_tf32(train_opt)
        start_training(self.net_g, train_opt)
        for name in ('pix', 'fourier', 'spd', 'perceptual'):
            loss_opt = train_opt.get('pixel_opt' if name == 'pix' else f'{name}_opt')
            setattr(self, f'cri_{name}', build_loss(loss_opt).to(self.device) if loss_opt else None)
        listed = train_opt.get('losses')
        self.cri_listed = ListedLosses(listed).to(self.device) if listed else None
        if not (self.cri_pix or self.cri_fourier or self.cri_perceptual or self.cri_listed):
            raise ValueError('train: needs at least one of pixel_opt, fourier_opt, perceptual_opt and losses')

        teachers = train_opt.get('teachers')
        self.teachers = Teachers(teachers, self.device, train_opt.get('channels_last', False)) if teachers else None
        self.precision = Precision(train_opt.get('amp'), self.device, cached=not train_opt.get('cuda_graph', False))
        self.accumulate_grad = _positive_int(train_opt, 'accumulate_grad', 1)
        self.grad_clip = train_opt.get('grad_clip') or 0
        # A GPU need not wait until the host has seen that a step was sound; on a CPU nothing is queued.
        self.reads_log_late = self.device.type == 'cuda'
        self._log: OrderedDict[str, float] = OrderedDict()
        self.throughput = diagnostics.Throughput()
        self.task_figures = TaskFigures()
        self.covariances = diagnostics.CovarianceTap(self.get_bare_model(self.net_g))
        self.ema_decay = train_opt.get('ema_decay', 0)
        if self.ema_decay > 0:
            self._build_average()
        self.setup_optimizers()
        self.setup_schedulers()
        shared = self.opt['dist'] or self.opt['num_gpu'] > 1
        net = self.get_bare_model(self.net_g)
        self.step_graphs = step_graphs(train_opt, net, self.device, self._trained(), shared)

    def _trained(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer_g.param_groups for p in group['params']]

    def _build_average(self) -> None:
        get_root_logger().info(f'Use Exponential Moving Average with decay: {self.ema_decay}')
        self.net_g_ema = build_network(self.opt['network_g']).to(self.device)
        if self.opt['train'].get('channels_last', False):
            # Tensors of one layout are averaged by a handful of kernels, of two by one for each tensor.
            self.net_g_ema.to(memory_format=torch.channels_last)
        # Copied first: a file that is loaded with strict_load_g: false may not fill every tensor.
        self.model_ema(0)
        paths = self.opt['path']
        if paths.get('pretrain_network_g') is not None:
            strict = paths.get('strict_load_g', True)
            self.load_network(self.net_g_ema, paths['pretrain_network_g'], strict, 'params_ema')
        self.net_g_ema.requires_grad_(False).eval()
        self._buffer_copy = BufferCopy(self.get_bare_model(self.net_g))

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Moves a network to the device and wraps it for distributed training, on GPUs or (gloo) CPUs."""
        net = net.to(self.device)
        if not self.is_train:  # evaluation has no gradients to exchange
            return net
        train_opt = self.opt['train']
        on_gpu = self.device.type == 'cuda'
        if train_opt.get('sync_bn', False) and self.opt['dist']:
            if on_gpu:
                net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
            else:
                get_root_logger().warning('sync_bn is left out: PyTorch has it for GPUs only')
        if self.opt['num_gpu'] > 1 and not self.opt['dist'] and train_opt.get('compile'):
            raise ValueError(f'train: compile: {COMPILE_NEEDS_TORCHRUN}: {COMPILE_CURE}')
        net = prepare_for_training(net, train_opt)
        if self.opt['dist']:
            net._ddp_params_and_buffers_to_ignore = []  # validation is shared out: all need the same statistics
            return DistributedDataParallel(
                net,
                device_ids=[torch.cuda.current_device()] if on_gpu else None,
                find_unused_parameters=self.opt.get('find_unused_parameters', False),
                gradient_as_bucket_view=True,
            )
        return DataParallel(net) if self.opt['num_gpu'] > 1 else net

    def print_network(self, net: nn.Module) -> None:
        """One line for a network; all its modules with ``logger: print_network``."""
        if (self.opt.get('logger') or {}).get('print_network'):
            super().print_network(net)
            return
        count = sum(parameter.numel() for parameter in net.parameters())
        get_root_logger().info(f'Network: {type(self.get_bare_model(net)).__name__}, {count:,} parameters')

    def get_optimizer(self, optim_type: str, params: list, lr: float, **kwargs) -> torch.optim.Optimizer:
        """`AdamW` or `Adam`, fused into one kernel where the device has it."""
        if optim_type not in OPTIMIZERS:
            raise ValueError(f'train: optim_g: type is {optim_type!r}; allowed are {", ".join(OPTIMIZERS)}')
        for name, value in {'lr': lr, **kwargs}.items():
            if isinstance(value, str):
                raise ValueError(f'train: optim_g: {name} is the text {value!r}; write a number (2.0e-4, not 2e-4)')
        if not kwargs.get('foreach'):  # the two exclude each other
            kwargs.setdefault('fused', self.device.type in ('cuda', 'cpu'))
        return OPTIMIZERS[optim_type](params, lr, **kwargs)

    def setup_schedulers(self) -> None:
        """`CosineWithWarmup`, or one of BasicSR's."""
        train_opt = self.opt['train']
        if train_opt['scheduler']['type'] != 'CosineWithWarmup':
            super().setup_schedulers()
            return
        options = {
            'total_iter': train_opt['total_iter'],
            'warmup_iter': max(train_opt.get('warmup_iter', 0), 0),
            **{key: value for key, value in train_opt['scheduler'].items() if key != 'type'},
        }
        self.schedulers = [CosineWithWarmup(optimizer, **options) for optimizer in self.optimizers]

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """As in BasicSR, whose own warm-up stays out where the schedule contains one."""
        ours = any(isinstance(scheduler, CosineWithWarmup) for scheduler in self.schedulers)
        super().update_learning_rate(current_iter, -1 if ours else warmup_iter)

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """Loads weights from any file that `mirage_arch.checkpoints` reads.

        Raises:
            CheckpointError: The weights do not fit, or with ``strict=False`` nothing in the file does.
        """
        net = self.get_bare_model(net)
        if not self.is_train:
            self.tested_entry = tested_entry(load_path, param_key)
        if isinstance(net, MIRAGEArch):
            resumed = self.is_train and bool(self.opt['path'].get('resume_state'))
            # of the average the model itself asks for params_ema
            asked = param_key == self.opt['path'].get('param_key_g') and net is not getattr(self, 'net_g_ema', None)
            load_weights_into(net, load_path, strict=strict, key=param_key, resumed=resumed, asked=asked)
        else:
            super().load_network(net, load_path, strict, param_key)

    # ---- one iteration --------------------------------------------------------------------------------------------

    def feed_data(self, data: Mapping) -> None:
        """Takes a batch of images in [0, 1], or 8-bit ones, which are made so on the device.

        Remembers where it came from, and forgets a ground truth that this one lacks.
        """
        self.lq = self._on_device(data['lq'])
        if 'gt' in data:
            self.gt = self._on_device(data['gt'])
        elif hasattr(self, 'gt'):
            del self.gt
        self.batch = {**data, **{key: getattr(self, key) for key in ('lq', 'gt') if key in data}}

    vars(feed_data)['takes_bytes'] = True  # a subclass that replaces the method gets float images

    def _on_device(self, images: Tensor) -> Tensor:
        layout = torch.channels_last if self.is_train and self.opt['train'].get('channels_last') else None
        images = images.to(self.device, non_blocking=True, **({'memory_format': layout} if layout else {}))
        return bytes_to_float(images)

    def optimize_parameters(self, current_iter: int) -> None:
        """One step on the batch that was fed.

        Raises:
            NonFiniteError: A loss or the gradient is not finite, of this step or, on a GPU, of the one before; that
                step has changed no weight, nor the average.
        """
        network = self.get_bare_model(self.net_g)
        if hasattr(network, 'set_progress'):  # it changes with the run, as RatioSearchArch does
            network.set_progress(current_iter / self.opt['train']['total_iter'])
        self.optimizer_g.zero_grad(set_to_none=True)
        losses = self._backward()
        scaler = self.precision.scaler
        scaler.unscale_(self.optimizer_g)
        parameters = self._trained()
        norm = diagnostics.gradient_norm(parameters)
        names, values = self._over_all_ranks({**losses, 'grad_norm': norm})
        log = StepLog(names, values)
        self.finish_step()  # the one before, which the device has left behind by now
        # float16 needs the host at once: it tells an overflow from a run that is lost.
        late = self.reads_log_late and not scaler.is_enabled() and takes_found_inf(self.optimizer_g)
        if not late:
            self._look_at(log.read(), self.batch, current_iter)
        if self.grad_clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.grad_clip, norm)
        if late:
            self.optimizer_g.found_inf = non_finite(values)
            self.optimizer_g.step()
            del self.optimizer_g.found_inf
            buffers = self._buffer_copy.take() if self.ema_decay > 0 else None
            self._open_step = OpenStep(current_iter, log, self.batch, buffers)
        else:
            scaler.step(self.optimizer_g)
            scaler.update()
            if self.ema_decay > 0:
                self.model_ema(decay=self.ema_decay)
        self.throughput.count(len(self.lq) * self.opt.get('world_size', 1))
        if current_iter % self.opt['logger']['print_freq'] == 0:
            self.log_dict.update(self._diagnostics())

    _open_step: OpenStep | None = None

    def finish_step(self) -> None:
        """Waits for the numbers of the last step, if nobody has looked at them yet, and moves the average.

        Whatever reads the log, the weights or the average between two iterations comes through here first.

        Raises:
            NonFiniteError: A loss or the gradient of that step is not finite; no weight has been changed.
        """
        step, self._open_step = self._open_step, None
        if step is None:
            return
        self._look_at(step.log.read(), step.batch, step.iteration)
        if step.buffers is not None:
            update_average(self.net_g_ema, self.get_bare_model(self.net_g), self.ema_decay, step.buffers)

    @property
    def log_dict(self) -> OrderedDict[str, float]:
        """Losses and diagnostics of the last iteration."""
        self.finish_step()
        return self._log

    @log_dict.setter
    def log_dict(self, log: OrderedDict[str, float]) -> None:
        self._log = log

    def _backward(self) -> OrderedDict[str, Tensor]:
        """Gradients of the batch; returns the losses averaged over its parts."""
        parts = self.accumulate_grad
        if len(self.lq) % parts:
            raise ValueError(f'train: accumulate_grad is {parts}; it must divide the batch of {len(self.lq)}')
        tasks, target = list(self.batch.get('task', ())), self.gt
        if self.teachers:
            target = self.teachers.targets(self.lq, target, tasks or [''] * len(target), self.precision.autocast, parts)
        if self.step_graphs is None:
            outcome = self._work(self.lq, target, bool(tasks))
        else:
            outcome = self.step_graphs.run(self._work, self.lq, target, bool(tasks))
        self.output, self.embeddings = outcome.output, outcome.embeddings
        self.covariances.latest = dict(outcome.features)
        if tasks:
            self.task_figures.add(tasks, outcome.figures)
        return outcome.losses

    def _work(self, lq: Tensor, gt: Tensor, figures: bool) -> Outcome:
        """Forward and backward pass, part by part; ``figures`` asks for losses and PSNR of each sample."""
        parts = self.accumulate_grad
        compared = {'l_pix': self.cri_pix, 'l_fourier': self.cri_fourier}
        if self.cri_listed:
            compared.update(self.cri_listed.by_log_name())
        summed: OrderedDict[str, Tensor] = OrderedDict()
        of_parts: list[dict[str, Tensor]] = []
        for number, (part, target) in enumerate(zip(lq.chunk(parts), gt.chunk(parts), strict=True), 1):
            # Ranks exchange gradients once, in the last part.
            waiting = self.opt['dist'] and number < parts
            with self.net_g.no_sync() if waiting else nullcontext():
                output, embeddings, losses = self._losses(part, target)
                self.precision.scaler.scale(sum(losses.values()) / parts).backward()
            if figures:
                of_parts.append(sample_figures(compared, output.detach().float(), target))
            for name, value in losses.items():
                summed[name] = summed.get(name, 0) + value.detach() / parts
        by_sample = {name: torch.cat([part[name] for part in of_parts]) for name in (of_parts[0] if of_parts else ())}
        embeddings = {name: value.detach() for name, value in embeddings.items()}
        return Outcome(summed, by_sample, output.detach(), embeddings, dict(self.covariances.latest))

    def _losses(self, lq: Tensor, gt: Tensor) -> tuple[Tensor, dict[str, Tensor], OrderedDict[str, Tensor]]:
        """Output of the network, embeddings by name, and the weighted losses by log name, in float32."""
        embeddings: dict[str, Tensor] = {}
        with self.precision.autocast():
            if self.cri_spd:
                restored, embeddings = self.net_g(lq, return_embeddings=True)
            else:
                restored = self.net_g(lq)
        output = restored.float()
        losses: OrderedDict[str, Tensor] = OrderedDict()
        if self.cri_pix:
            losses['l_pix'] = self.cri_pix(output, gt)
        if self.cri_fourier:
            losses['l_fourier'] = self.cri_fourier(output, gt)
        if self.cri_spd:
            losses['l_spd'] = self.cri_spd(embeddings['shallow'], embeddings['latent'])
        if self.cri_listed:
            losses.update(self.cri_listed(output, gt))
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(output, gt)
            losses.update({k: v for k, v in (('l_percep', perceptual), ('l_style', style)) if v is not None})
        return restored, embeddings, losses

    def _look_at(self, log: OrderedDict[str, float], batch: Mapping, current_iter: int) -> None:
        """Takes over losses and gradient norm of a step as the log; stops the run if one is not finite."""
        finite = torch.tensor(list(log.values())).isfinite()
        if not finite.all():
            only_gradient = bool(finite[:-1].all())
            if not (only_gradient and self.precision.may_overflow):
                stop_run(
                    batch,
                    log,
                    current_iter,
                    self.opt['path']['experiments_root'],
                    rank=self.opt.get('rank', 0),
                    world_size=self.opt.get('world_size', 1),
                )
            log.pop('grad_norm')  # float16 overflowed: the scaler skips this step
        self._log = log

    def reduce_loss_dict(self, loss_dict: Mapping[str, Tensor]) -> OrderedDict[str, float]:
        """Averages over the ranks like BasicSR's, but tells every rank, with one transfer for all values."""
        return StepLog(*self._over_all_ranks(loss_dict)).read()

    @torch.no_grad()
    def _over_all_ranks(self, losses: Mapping[str, Tensor]) -> tuple[list[str], Tensor]:
        """Names and (n,) values on the device, averaged over the ranks; nothing waits for the device."""
        values = torch.stack([value.detach().float().mean().to(self.device) for value in losses.values()])
        if self.opt['dist']:
            dist.all_reduce(values)
            values /= self.opt['world_size']
        return list(losses), values

    def _diagnostics(self) -> dict[str, float]:
        extra = {'lr': self.get_current_learning_rate()[0], 'memory_gib': diagnostics.peak_memory_gib(self.device)}
        rate = self.throughput.read()
        if rate is not None:
            extra['images_per_s'] = rate
        extra.update(self.task_figures.read())
        if self.cri_spd:
            weight = getattr(self.cri_spd, 'loss_weight', 1)
            if weight and 'l_spd' in self._log:
                extra['l_spd_unweighted'] = self._log['l_spd'] / weight
            compare = getattr(self.cri_spd, 'compare', pair_similarity)
            extra.update(diagnostics.spd_diagnostics(self.embeddings, self.covariances.matrices(), compare))
        return extra

    def validation(self, dataloader, current_iter, tb_logger, save_img=False) -> None:
        """See `ValidationMixin.validation`; its time does not count as training's."""
        self.finish_step()
        super().validation(dataloader, current_iter, tb_logger, save_img)
        if self.is_train:
            self.throughput = diagnostics.Throughput()

    def model_ema(self, decay: float = 0.999) -> None:
        """Moves the average, batch norm statistics included."""
        update_average(self.net_g_ema, self.get_bare_model(self.net_g), decay)

    # ---- state of a run -------------------------------------------------------------------------------------------

    def save(self, epoch: int, current_iter: int) -> None:
        """Saves weights, average and state, once the last step is known to be sound."""
        self.finish_step()
        super().save(epoch, current_iter)

    def extra_state(self) -> dict:
        """What a resumed run needs beside weights, optimizers and schedulers."""
        return {'scaler': self.precision.scaler.state_dict()}

    def load_extra_state(self, state: Mapping) -> None:
        """Takes back what `extra_state` gave; a scaler's state is left alone where ``amp`` was switched meanwhile."""
        scaler_state = state.get('scaler')
        if scaler_state and self.precision.scaler.is_enabled():
            self.precision.scaler.load_state_dict(scaler_state)


def _positive_int(options: Mapping, key: str, default: int) -> int:
    value = options.get(key) or default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f'train: {key} is {value!r}; it must be a whole number of at least 1')
    return value

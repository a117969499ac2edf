"""Speed switches of the ``train`` options: mixed precision, memory layout, compilation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from mirage_arch.mirage_arch import MixedDegradationBlock

AMP_DTYPES = {'off': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}
#: Compiled blocks share their code: every width and resolution of the network is a variant, twice with recomputation;
#: torch gives up after 8.
_COMPILED_VARIANTS = 64
#: DataParallel copies the network to every GPU in each step, and compiled code is bound to the one it was made for.
COMPILE_NEEDS_TORCHRUN = 'one process cannot train on several GPUs with a compiled network'
COMPILE_CURE = (
    'start the run with torchrun --nproc_per_node=N and --launcher pytorch (batch_size_per_gpu stays that of one GPU), '
    'or set num_gpu: 1, or compile: false'
)
#: Below this scale float16 gradients overflow whatever is done: the run is not going to recover.
_SMALLEST_SCALE = 2.0**-10


class Precision:
    """Mixed precision of one training run.

    ``bf16`` has the range of float32 and needs no scaling; ``fp16`` scales the loss so that small gradients survive.
    Weights, optimizer, losses, covariances and FFTs stay float32 either way.

    Args:
        amp: 'off', 'bf16' or 'fp16'; None and False mean 'off' (YAML reads a bare ``off`` as false).
        device: Where the network computes.
        cached: Round a weight once for all its uses in a pass. A recorded step rounds at every use: what is rounded
            before does not change with the weights.

    Raises:
        ValueError: ``amp`` is something else.
    """

    def __init__(self, amp: str | bool | None, device: torch.device, cached: bool = True) -> None:
        name = amp or 'off'
        if name not in AMP_DTYPES:
            raise ValueError(f'train: amp is {amp!r}; allowed are {", ".join(AMP_DTYPES)}')
        self.dtype = AMP_DTYPES[name]
        self.device_type = device.type
        self._cached = cached
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)

    def autocast(self) -> contextlib.AbstractContextManager:
        """Context for the forward pass of the network."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype, cache_enabled=self._cached)

    @property
    def may_overflow(self) -> bool:
        """Whether a non-finite gradient is part of the game: the scaler then skips the step and lowers its scale."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > _SMALLEST_SCALE


def choose_tf32(train_opt: Mapping) -> None:
    """Lets convolutions of float32 compute in TF32, or not; without ``tf32`` all stays as PyTorch has it, which lets.

    Matrix products are float32 either way: covariances and what is made of them need it. Evaluation never uses TF32.

    Args:
        train_opt: The ``train`` options.

    Raises:
        ValueError: ``tf32`` is neither true nor false.
    """
    wanted = train_opt.get('tf32')
    if wanted is None:
        return
    if not isinstance(wanted, bool):
        raise ValueError(f'train: tf32 is {wanted!r}; allowed are true, false')
    torch.backends.cudnn.allow_tf32 = wanted


def prepare_for_training(net: nn.Module, train_opt: Mapping) -> nn.Module:
    """Applies ``channels_last`` and ``compile`` to a network on its device, before any distributed wrapper.

    The network keeps its class and its tensor names, so checkpoints are the same with and without the switches.

    Args:
        net: Network to change in place.
        train_opt: The ``train`` options.

    Returns:
        The same network.
    """
    if train_opt.get('channels_last', False):
        net.to(memory_format=torch.channels_last)
    if train_opt.get('compile', False):
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _COMPILED_VARIANTS)
        # Block by block: equal blocks are compiled once, and recomputation, which switches batch norm statistics off
        # and on around a block, stays outside. Crops have one size, so the code need not serve others.
        blocks = [m for m in net.modules() if isinstance(m, MixedDegradationBlock)]
        for module in blocks or [net]:
            module.compile(dynamic=False)
    return net


def uncompiled(train_opt: Mapping) -> contextlib.AbstractContextManager:
    """Context that runs a network, compiled by these ``train`` options or not, as plain PyTorch.

    Validation meets a new image size with nearly every image; compiling for each would take minutes.
    """
    return torch.compiler.set_stance('force_eager') if train_opt.get('compile', False) else contextlib.nullcontext()


class CUDAPrefetcher:
    """Copies the next batch to the GPU on a stream of its own; stands in for BasicSR's class of that name.

    BasicSR's starts the workers of the loader twice, and its copies do not wait for whoever computes with the batches:
    the memory of a batch that has been let go may be written to while the GPU, which is behind the program, still reads
    it. Here a copy begins when everything that was queued on the consumer's stream so far is done, which leaves it the
    whole of the next step.

    Args:
        loader: Gives dictionaries; those of their values that are tensors should lie in page-locked memory.
        device: The GPU.
    """

    def __init__(self, loader: DataLoader, device: torch.device) -> None:
        self.ori_loader = loader
        self.loader: Iterator[dict] = iter(())
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._batch: dict | None = None
        self._failure: Exception | None = None

    def reset(self) -> None:
        """Begins an epoch: starts the workers, and the first copy."""
        self.loader = iter(self.ori_loader)
        self._fetch()

    def next(self) -> dict | None:
        """The next batch, its tensors on the GPU and ready for the current stream; None at the end of the epoch.

        Raises:
            Exception: What the data set raised for this batch; those before it have been handed out.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        batch = self._batch
        if batch is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
            self._fetch()
        return batch

    def _fetch(self) -> None:
        self._batch = None
        try:
            batch = next(self.loader, None)
        except Exception as error:  # its turn is one batch later
            self._failure = error
            return
        if batch is None:
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._batch = {key: self._copied(value) for key, value in batch.items()}

    def _copied(self, value: Any) -> Any:
        return value.to(self._device, non_blocking=True) if torch.is_tensor(value) else value

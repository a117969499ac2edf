"""The network of a model from BasicSR's options: built, loaded, evaluated, averaged."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from mirage_arch.checkpoints import CheckpointError, load_entry, load_into

AVERAGED = 'params_ema'


def network_options(opt: Mapping) -> dict:
    """Network options without SPD heads where nothing trains them, and with ``checkpoint_blocks`` where asked for.

    Args:
        opt: All options; not changed.

    Raises:
        ValueError: The network cannot do what the ``train`` options ask of it.
    """
    network = dict(opt['network_g'])
    known = inspect.signature(ARCH_REGISTRY.get(network['type'])).parameters
    train_opt = opt.get('train') or {}
    wants_heads = bool(opt['is_train'] and train_opt.get('spd_opt'))
    if wants_heads and network.get('spd_head') is False:
        raise ValueError('train: spd_opt needs the SPD heads; remove spd_head: false from network_g, or spd_opt')
    if 'spd_head' in known:
        network['spd_head'] = wants_heads
    elif wants_heads:
        raise ValueError(f'train: spd_opt is not possible with network_g: type: {network["type"]}: it has no SPD heads')
    if opt['is_train'] and train_opt.get('checkpoint_blocks'):
        if 'checkpoint_blocks' not in known:
            raise ValueError(f'train: checkpoint_blocks is not possible with network_g: type: {network["type"]}')
        network['checkpoint_blocks'] = True
    return network


def start_training(net: nn.Module, train_opt: Mapping) -> None:
    """Puts a network into training mode; with ``freeze_bn`` its batch norms go on with the statistics they have.

    Then the network that is trained is the one that is evaluated. The statistics of a batch of two or three large
    crops differ much from the running ones, and with them brightness and colour of the result. Scale and shift of the
    norms still learn.

    Args:
        net: Network to change in place.
        train_opt: The ``train`` options.
    """
    net.train()
    if train_opt.get('freeze_bn', False):
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in the mode that it was in."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def load_weights_into(
    net: nn.Module, path: str, *, strict: bool, key: str | None, resumed: bool = False, asked: bool = False
) -> None:
    """Loads a weights file of any kind that `mirage_arch.checkpoints` reads.

    Args:
        net: Network, unwrapped.
        path: The file.
        strict: Every tensor must fit; otherwise what fits is taken and the rest is named in the log.
        key: Entry of the file to prefer, as BasicSR's ``param_key``.
        resumed: The contrastive heads, if the file has none, begin as they are: their loss was added.
        asked: The options name ``key``: a warning says so where another entry is used.

    Raises:
        CheckpointError: The weights do not fit, or with ``strict=False`` not one of them does.
    """
    state_dict, entry = read_entry(path, key, asked=asked)
    named = f', entry {entry}' if entry else ''
    get_root_logger().info(f'Loading {type(net).__name__} from {path}{named}.')
    if strict:
        load_into(net, state_dict, path, new_heads=resumed)
    else:
        _load_what_fits(net, state_dict, path)


def tested_entry(path: str, key: str | None) -> str:
    """Which entry a test measures of a BasicSR file that holds both the weights and their average; else ''.

    A warning says so where it is not the average, which the validations of the training measured.
    """
    try:
        content = torch.load(path, map_location='meta', weights_only=True)
    except Exception:  # no torch file, or one for `mirage_arch.checkpoints` to judge
        return ''
    if not isinstance(content, Mapping) or not {'params', AVERAGED} <= content.keys():
        return ''
    entry = key if key and key in content else 'params'
    if entry != AVERAGED:
        get_root_logger().warning(
            f'{path} also holds {AVERAGED}, the average over the training, which its validations measured. This test '
            f'measures {entry}, the weights themselves; for the average set path: param_key_g: {AVERAGED}.'
        )
    return entry


def read_entry(path: str, key: str | None, *, asked: bool = False) -> tuple[dict[str, Tensor], str]:
    """`load_entry` of ``key`` or, in a file without such an entry, of the one it has; if ``asked`` with a warning."""
    try:
        return load_entry(path, key=key)
    except CheckpointError as error:
        state_dict, entry = load_entry(path)
        if asked and entry:
            get_root_logger().warning(f'{error}. path: param_key_g asks for {key!r}; used instead is {entry!r}.')
        return state_dict, entry


def _load_what_fits(net: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    own = net.state_dict()
    fitting = {k: v for k, v in state_dict.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise CheckpointError(f'{source}: no tensor fits this network by name and shape (strict_load_g: false)')
    left_out = [name for name in own if name not in fitting]
    net.load_state_dict(fitting, strict=False)
    get_root_logger().warning(
        f"{source}: loaded {len(fitting)} of the network's {len(own)} tensors; as they were: {left_out or 'none'}; "
        f'not used from the file: {[name for name in state_dict if name not in fitting] or "none"}'
    )


@torch.no_grad()
def update_average(
    average: nn.Module, net: nn.Module, decay: float, buffers: Mapping[str, Tensor] | None = None
) -> None:
    """Moves ``average`` towards ``net``: ``average = decay * average + (1 - decay) * net``.

    Floating-point buffers are averaged like the weights: without them an averaged network would keep the batch norm
    statistics it was built with (0 and 1). Whole-number buffers (counters) are copied.

    Args:
        average: Network to change.
        net: Network of the same structure, unwrapped.
        decay: Share that is kept, 0 <= decay < 1. At 0 the average becomes an exact copy.
        buffers: Buffers by name to take instead of those that ``net`` has now.

    Raises:
        ValueError: ``decay`` lies outside [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f'ema_decay is {decay}; it must lie in [0, 1)')
    current = {**net.state_dict(keep_vars=True), **(buffers or {})}
    own = average.state_dict(keep_vars=True)
    floating = [name for name, tensor in own.items() if tensor.is_floating_point()]
    counters = [name for name in own if name not in floating]
    if counters:
        torch._foreach_copy_([own[name] for name in counters], [current[name] for name in counters])
    torch._foreach_lerp_([own[name] for name in floating], [current[name] for name in floating], 1 - decay)


class BufferCopy:
    """A copy of a network's buffers as they are at one moment, in memory that is used again for the next.

    Args:
        net: The network, unwrapped.
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._copies: dict[str, Tensor] = {}

    @torch.no_grad()
    def take(self) -> dict[str, Tensor]:
        """Copies the buffers as they are now, with one launch for each type; returns the copies by name."""
        buffers = dict(self._net.named_buffers())
        if not self._copies:
            self._copies = {name: torch.empty_like(buffer) for name, buffer in buffers.items()}
        if buffers:
            torch._foreach_copy_([self._copies[name] for name in buffers], list(buffers.values()))
        return self._copies

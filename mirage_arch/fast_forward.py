"""Exact evaluation of a MIRAGE network in strips: the whole image's result, in a fraction of time and memory.

    fast = prepare_fast(net)          # reads the weights once
    restored = fast(images)           # what net.eval()(images) gives

The blocks are in ``fast_block``; here are the U around them and the decision what can be evaluated so.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import mirage_arch as arch
from .fast_block import FastBlock, tile_shape
from .fast_kernels import as_image, as_rows, choose_kernels, has_half_arithmetic
from .ieee import evaluation_kernels
from .spd_heads import GeometryHeads

__all__ = ['FastMIRAGE', 'prepare_fast', 'supports']

# What the strips keep, in maps: where two levels meet (4.6 to 4.8, and what allocators lose), and in the widest blocks
# beside the map itself (7.1 to 7.5 of a tile's size).
_MAPS_KEPT = 5.5
_MAPS_OF_TILE = 8
_BYTES_BESIDES = 200e6
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_KNOWN = (
    arch.MIRAGEArch,
    arch.ChannelNorm,
    arch.FeedForward,
    arch.GatedConvolution,
    arch.PointwiseConv,
    arch.BranchFusion,
    arch.MixedBranches,
    arch.MixedDegradationBlock,
    arch.Resample,
    GeometryHeads,
    nn.Sequential,
    nn.Conv2d,
    nn.Linear,
    nn.LayerNorm,
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    nn.GELU,
    nn.AdaptiveAvgPool2d,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
)


def supports(net: nn.Module) -> tuple[bool, str]:
    """Whether a network can be evaluated in strips, and why not.

    Returns:
        (True, '') or (False, reason): another class, a module that was replaced, wrapped or given a hook, several
        devices, or weights that are not plain floating-point tensors.
    """
    if type(net) is not arch.MIRAGEArch:
        return False, f'{type(net).__name__} is not MIRAGEArch itself'
    for name, module in net.named_modules():
        where = name or 'the network'
        if type(module) not in _KNOWN:
            return False, f'{where} is a {type(module).__name__}, which MIRAGEArch does not build'
        if 'forward' in vars(module):
            return False, f'the forward of {where} has been replaced'
        if any((module._forward_hooks, module._forward_pre_hooks)):
            return False, f'{where} has a forward hook'
        if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)) and module.running_mean is None:
            return False, f'{where} keeps no running statistics'
    tensors = [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]
    if len({t.device for t in tensors}) > 1 or tensors[0].device.type == 'meta':
        return False, f'its weights are on {sorted({str(t.device) for t in tensors})}'
    if not all(t.is_floating_point() and t.layout == torch.strided for t in tensors):
        return False, 'its weights are not plain floating-point tensors'
    return True, ''


def prepare_fast(net: nn.Module, dtype: torch.dtype = torch.float32, strip_rows: int | None = None) -> FastMIRAGE:
    """Prepare a network for fast evaluation on the device it is on.

    Args:
        net: The network. It is not changed, and later changes of its weights are not seen: prepare again.
        dtype: Type of the convolutions: float32 (equal to ``net.eval()(x)`` within 1e-5 of the largest value),
            bfloat16 or float16. Where a CPU has no float16 arithmetic, float32 is used and logged.
        strip_rows: Height of the strips; chosen from width, channels and device where None.

    Raises:
        ValueError: Another dtype, or a strip height below 1.
    """
    return FastMIRAGE(net, dtype, strip_rows)


class FastMIRAGE(nn.Module):
    """A network prepared by ``prepare_fast``. What ``supports`` refuses runs as ``net.eval()(x)``, and is logged.

    Attributes:
        on_progress: Called with the share of an image's blocks that is done, 0 to 1; None by default.
    """

    def __init__(self, net: nn.Module, dtype: torch.dtype = torch.float32, strip_rows: int | None = None) -> None:
        super().__init__()
        if dtype not in _DTYPES:
            raise ValueError(f'dtype must be one of {", ".join(map(str, _DTYPES))}, got {dtype}')
        if strip_rows is not None and strip_rows < 1:
            raise ValueError(f'strip_rows must be at least 1 or None, got {strip_rows}')
        self.strip_rows = strip_rows
        self.on_progress: Callable[[float], None] | None = None
        self._done = 0
        self.device = next(net.parameters()).device
        logger = logging.getLogger(__name__)
        if dtype == torch.float16 and self.device.type == 'cpu' and not has_half_arithmetic():
            logger.warning('This CPU has no float16 arithmetic: evaluating in float32.')
            dtype = torch.float32
        self.dtype = dtype
        self.is_fast, self.reason = supports(net)
        with torch.no_grad():
            if self.is_fast:
                self._prepare(net)
            else:
                logger.warning('Evaluating the whole image at once, not in strips: %s.', self.reason)
                self._plain = copy.deepcopy(net).eval()

    def _prepare(self, net: arch.MIRAGEArch) -> None:
        kernels = choose_kernels(self.device, self.dtype)

        def stage(blocks: nn.Sequential) -> list[FastBlock]:
            return [FastBlock(block, kernels, self.dtype) for block in blocks]

        def conv(module: nn.Conv2d) -> tuple[Tensor, Tensor | None]:
            bias = None if module.bias is None else module.bias.detach().to(self.dtype)
            weight = module.weight.detach().to(self.dtype)
            return weight.clone(memory_format=torch.channels_last), None if bias is None else bias.clone()

        self._stages = {
            name: stage(getattr(net, name))
            for name in (
                'encoder_level1',
                'encoder_level2',
                'encoder_level3',
                'latent',
                'decoder_level3',
                'decoder_level2',
                'decoder_level1',
                'refinement',
            )
        }
        self._convs = {
            name: conv(getattr(net, name))
            for name in ('reduce_dim_level3', 'reduce_chan_level3', 'reduce_chan_level2', 'output')
        }
        self._convs['patch_embed'] = conv(net.patch_embed.proj)
        for name in ('down1_2', 'down2_3', 'down3_4', 'up4_3', 'up3_2', 'up2_1'):
            self._convs[name] = conv(getattr(net, name).body[0])

    def peak_bytes(self, height: int, width: int, strip_rows: int | None = None) -> float:
        """About how much memory one image takes on the device, workspaces of its libraries included; rather too much.

        Args:
            height: Of the image.
            width: Of the image.
            strip_rows: Height of the strips; None for what the network would choose.
        """
        dim = self._convs['patch_embed'][0].shape[0] if self.is_fast else next(self._plain.parameters()).shape[0]
        whole = height * width * dim * 4  # a full-resolution map of the first level
        row_bytes = 2 * dim * width * self.dtype.itemsize  # the last levels work on maps twice as wide
        rows, columns = tile_shape(height, width, row_bytes, self.device)
        rows, columns = (rows, columns) if strip_rows is None else (min(strip_rows, height), width)
        tile = row_bytes * rows * columns / width
        return max(_MAPS_KEPT * whole, 2.2 * whole + _MAPS_OF_TILE * tile) + _BYTES_BESIDES

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Restore an image batch (b, c, h, w) in [0, 1], any h, w >= 1; the result has its shape and type.

        Raises:
            ValueError: An input that is no batch of images, or on another device than the network was on.
        """
        if x.dim() != 4:
            raise ValueError(f'expected a batch of images (b, c, h, w), got a tensor of shape {tuple(x.shape)}')
        if x.device != self.device:
            raise ValueError(
                f'the network was prepared on {self.device}, the image is on {x.device}: '
                f'move the network first and prepare it again'
            )
        if not self.is_fast:
            autocast = torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32)
            with evaluation_kernels(), autocast:
                return self._plain(x.to(next(self._plain.parameters()).dtype)).to(x.dtype)
        # The statistics are each image's own, so a batch is its images one after the other.
        # The caller's autocast must not touch what is float32 here.
        with evaluation_kernels(), torch.autocast(x.device.type, enabled=False):
            return torch.stack([self._restore(image) for image in x]) if len(x) else x.clone()

    def _restore(self, image: Tensor) -> Tensor:
        h, w = image.shape[-2:]
        self._done = 0
        padded = arch.pad_to_multiple(image.float(), 8)
        level1 = self._run('encoder_level1', self._convolve('patch_embed', padded.permute(1, 2, 0)))
        level2 = self._run('encoder_level2', self._down('down1_2', level1))
        level3 = self._run('encoder_level3', self._down('down2_3', level2))
        y = self._run('latent', self._down('down3_4', level3))
        y = self._convolve('reduce_dim_level3', y)
        y = self._convolve('reduce_chan_level3', self._up_and_join('up4_3', y, level3))
        y = self._run('decoder_level3', y)
        y = self._convolve('reduce_chan_level2', self._up_and_join('up3_2', y, level2))
        del level2, level3
        y = self._run('decoder_level2', y)
        y = self._up_and_join('up2_1', y, level1)
        del level1
        y = self._run('refinement', self._run('decoder_level1', y))
        restored = self._convolve('output', y).permute(2, 0, 1) + padded
        return restored[:, :h, :w].to(image.dtype)

    def _run(self, name: str, x: Tensor) -> Tensor:
        shape = self._tile_shape(x)
        for block in self._stages[name]:
            block(x, shape)
            self._done += 1
            if self.on_progress is not None:
                self.on_progress(self._done / sum(len(stage) for stage in self._stages.values()))
        return x

    def _tile_shape(self, x: Tensor) -> tuple[int, int]:
        height, width = x.shape[:2]
        rows, columns = tile_shape(height, width, x[0].numel() * self.dtype.itemsize, x.device)
        return (rows, columns) if self.strip_rows is None else (self.strip_rows, width)

    def _convolve(self, name: str, x: Tensor) -> Tensor:
        """Dense convolution (h, w, i) -> float32 (h, w, o), in strips."""
        weight, bias = self._convs[name]
        k = weight.shape[-1] // 2
        height, width = x.shape[:2]
        out = torch.empty(height, width, weight.shape[0], device=x.device)
        rows, _ = self._tile_shape(x)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            strip = x[max(0, top - k) : min(height, bottom + k)].to(self.dtype)
            above, below = max(0, k - top), max(0, bottom + k - height)
            if above != below:
                strip, above = F.pad(strip, (0, 0, 0, 0, above, below)), 0
            out[top:bottom] = as_rows(F.conv2d(as_image(strip), weight, bias, padding=(above, k)))
        return out

    def _down(self, name: str, x: Tensor) -> Tensor:
        y = self._convolve(name, x)
        h, w, c = y.shape
        y = y.view(h // 2, 2, w // 2, 2, c).permute(0, 2, 4, 1, 3)
        return y.reshape(h // 2, w // 2, 4 * c)

    def _up_and_join(self, name: str, x: Tensor, skip: Tensor) -> Tensor:
        y = self._convolve(name, x)
        h, w, c = y.shape
        out = skip.new_empty(2 * h, 2 * w, c // 4 + skip.shape[2])
        out[..., : c // 4].view(h, 2, w, 2, c // 4).copy_(y.view(h, w, c // 4, 2, 2).permute(0, 3, 1, 4, 2))
        out[..., c // 4 :] = skip
        return out

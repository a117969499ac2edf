"""The MIRAGE network (ICLR 2026, https://arxiv.org/abs/2505.18679) in one file.

It needs PyTorch alone (1.10 or later; 2.1 for ``checkpoint_blocks``) and registers itself with BasicSR where BasicSR is
loaded, so this file may be copied as it is into ``basicsr/archs`` or ``basicsr/models/archs`` of another project.

    image (b, 3, h, w)                                                     image + output(...)
      patch_embed -> encoder_level1 -------------- skip --------------> decoder_level1 -> refinement
                       down1_2 -> encoder_level2 -- skip --> decoder_level2 -> up2_1
                                    down2_3 -> encoder_level3 -> decoder_level3 -> up3_2
                                                 down3_4 -> latent -> reduce_dim_level3 -> up4_3

Tensor names and shapes are those of the checkpoints that the paper's authors released.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

if not hasattr(torch, 'autocast'):
    raise ImportError(f'the MIRAGE network needs PyTorch 1.10 or later, and this is {torch.__version__}')
try:
    from . import channel_norm, dynamic_depthwise
except ImportError:  # this file alone: PyTorch's own operations
    channel_norm = dynamic_depthwise = None  # type: ignore[assignment]

# Where BasicSR is in use, it is loaded by now, and this file registers itself; nobody else should wait for it.
ARCH_REGISTRY = getattr(sys.modules.get('basicsr.utils.registry'), 'ARCH_REGISTRY', None)

__all__ = ['MIRAGEArch', 'branch_widths', 'mirage_mini', 'mirage_nano', 'mirage_small', 'mirage_tiny']

_MULTIPLE = 8  # three halvings of the resolution
_GATED_EXPANSION = 8 / 3
_DYNAMIC_KERNEL = 7
_SHALLOW_CHANNELS, _LATENT_CHANNELS, _EMBEDDING = 12, 24, 64  # of the SPD heads, whatever the width
_CHOICES = {
    'contrast': ('spd', 'euclidean'),
    'spd_tap': ('level1', 'patch_embed'),
    'geometry': ('vectorised', 'log_euclidean', 'cholesky', 'covariance'),
}


def branch_widths(width: int, ratio: Sequence[float], heads: int) -> tuple[int, int, int]:
    """Share ``width`` channels among the attention, convolution and MLP branches.

    Args:
        width: Channels of the level.
        ratio: Three non-negative shares; a 0 leaves that branch out. (1, 1, 1) is the paper's.
        heads: Attention heads; an uneven share of attention is rounded to a multiple of it.

    Returns:
        The three widths, in the order of ``ratio``; they add up to ``width``.

    Raises:
        ValueError: A wrong ratio, or widths that cannot be shared so.
    """
    if len(ratio) != 3 or min(ratio) < 0 or sum(ratio) <= 0:
        raise ValueError(f'branch_ratio must be three shares >= 0, not all 0, got {tuple(ratio)}')
    share, total = [width * r / sum(ratio) for r in ratio], sum(ratio)
    if len({r for r in ratio if r}) == 1 and width * ratio[0] % total:
        raise ValueError(
            f'dim must give widths divisible by {sum(r > 0 for r in ratio)} (the number of branches), '
            f'got a level of {width} channels'
        )
    attention = int(share[0]) if share[0] == int(share[0]) else max(1, round(share[0] / heads)) * heads
    if attention % heads:
        raise ValueError(
            f'the attention branch has {attention} of {width} channels, which {heads} heads do not '
            f'divide: change dim, heads or branch_ratio'
        )
    rest = width - attention
    conv = rest if not ratio[2] else round(rest * ratio[1] / (ratio[1] + ratio[2]))
    widths = (attention, conv, rest - conv)
    if any(w < 0 or (w > 0) != (r > 0) for w, r in zip(widths, ratio)):
        raise ValueError(f'branch_ratio {tuple(ratio)} cannot share {width} channels: it gives {widths}')
    return widths


class ChannelNorm(nn.Module):
    """Layer norm over the channels of every pixel, (b, c, h, w) -> (b, c, h, w)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        if channel_norm is not None and channel_norm.applies(x, self.body):
            return channel_norm.channel_norm(x, self.body.weight, self.body.bias, self.body.eps)
        # Channels are the fastest axis of a channels_last tensor, so neither permutation moves data.
        return self.body(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class FeedForward(nn.Module):
    """Gated feed-forward with a depthwise convolution. The first GELU is the released network's, not the paper's."""

    def __init__(self, dim: int, expansion: float, bias: bool) -> None:
        super().__init__()
        hidden = int(dim * expansion)
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(F.gelu(self.project_in(x))).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


def drop_path(x: Tensor, rate: float, training: bool) -> Tensor:
    """Stochastic depth: zero whole samples of (b, ...) with probability ``rate`` and rescale the others."""
    if not training or rate == 0:
        return x
    keep = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(1 - rate)
    return x * keep / (1 - rate)


class GatedConvolution(nn.Module):
    """Convolution branch (Algorithm 1, lines 6-11): gated, with a 7x7 depthwise kernel made for each sample."""

    def __init__(self, dim: int, bias: bool, drop_path_rate: float, dynamic: bool) -> None:
        super().__init__()
        hidden = int(_GATED_EXPANSION * dim)
        self.widths = (hidden, hidden - dim, dim)  # gate, identity, convolution
        self.drop_path_rate = drop_path_rate
        self.temperature = nn.Parameter(torch.ones(1))
        self.norm = nn.BatchNorm2d(dim)
        self.gic1 = nn.Conv2d(dim, 2 * hidden, 1, bias=bias)
        if dynamic:
            self.kernel_generator = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(dim, dim, 1, bias=bias),
                nn.GELU(),
                nn.Conv2d(dim, dim * _DYNAMIC_KERNEL**2, 1, bias=bias),
            )
        else:
            self.static_conv = nn.Conv2d(dim, dim, _DYNAMIC_KERNEL, padding=_DYNAMIC_KERNEL // 2, groups=dim, bias=bias)
        self.gic2 = nn.Conv2d(hidden, dim, 1, bias=bias)
        self.proj_out = nn.Conv2d(dim, dim, 1, bias=bias)
        self.dynamic = dynamic

    def _depthwise(self, x: Tensor) -> Tensor:
        if not self.dynamic:
            return self.static_conv(x)
        b, c, h, w = x.shape
        kernel = self.kernel_generator(x).reshape(-1, 1, _DYNAMIC_KERNEL, _DYNAMIC_KERNEL)
        if dynamic_depthwise is not None and dynamic_depthwise.applies(x):
            return dynamic_depthwise.dynamic_depthwise(x, kernel.reshape(-1, c, _DYNAMIC_KERNEL, _DYNAMIC_KERNEL))
        groups = int(b) * int(c)  # one kernel per sample and channel: the batch becomes channels
        out = F.conv2d(x.reshape(1, groups, h, w), kernel.to(x.dtype), padding=_DYNAMIC_KERNEL // 2, groups=groups)
        return out.reshape(b, c, h, w)

    def forward(self, x: Tensor) -> Tensor:
        gate, identity, conv = self.gic1(self.norm(x)).split(self.widths, dim=1)
        y = F.gelu(gate / self.temperature) * torch.cat([identity, self._depthwise(conv)], dim=1)
        return self.proj_out(drop_path(self.gic2(y), self.drop_path_rate, self.training) + x)


class PointwiseConv(nn.Conv1d):
    """A map of every pixel's channels on (b, c, h, w); the released checkpoints store it as a Conv1d of kernel 1."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.unsqueeze(-1), self.bias)


class BranchFusion(nn.Module):
    """1x1 maps for the fusion of branches of unequal width: one for each ordered pair of different widths."""

    def __init__(self, widths: dict[str, int]) -> None:
        super().__init__()
        for to, width in widths.items():
            for source, other in widths.items():
                if other != width:
                    self.add_module(f'{source}_to_{to}', nn.Conv2d(other, width, 1, bias=False))

    def forward(self, features: Tensor, source: str, to: str) -> Tensor:
        resize = getattr(self, f'{source}_to_{to}', None)
        return features if resize is None else resize(features)


class MixedBranches(nn.Module):
    """Channel-wise functional decomposition (Algorithm 1): attention, convolution and MLP side by side, then fused."""

    def __init__(
        self,
        dim: int,
        heads: int,
        bias: bool,
        widths: Sequence[int],
        drop_path_rate: float,
        fusion: bool,
        dynamic_conv: bool,
    ) -> None:
        super().__init__()
        self.widths = {name: width for name, width in zip(('att', 'gated', 'mlp'), widths) if width}
        if 'att' in self.widths:
            c = self.widths['att']
            self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
            self.qkv = nn.Conv2d(c, 3 * c, 1, bias=bias)
            self.qkv_dwconv = nn.Conv2d(3 * c, 3 * c, 3, padding=1, groups=3 * c, bias=bias)
        if 'gated' in self.widths:
            self.gatedcnn = GatedConvolution(self.widths['gated'], bias, drop_path_rate, dynamic_conv)
        if 'mlp' in self.widths:
            c = self.widths['mlp']
            self.mlp = nn.Sequential(
                PointwiseConv(c, 2 * c, 1, bias=bias), nn.GELU(), PointwiseConv(2 * c, c, 1, bias=bias)
            )
        self.fusion = fusion and len(self.widths) > 1
        if self.fusion:
            for name in self.widths:
                self.register_parameter(f'alpha_{name}', nn.Parameter(torch.ones(1)))
            self.resize = BranchFusion(self.widths)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=bias)
        self.heads = heads

    def _attention(self, x: Tensor) -> Tensor:
        """Attention among channels (Restormer): softmax over q k^T of pixel-normalised q and k."""
        b, c, h, w = x.shape
        # (b, heads, c / heads, h * w); channels_last memory stays as it is, the matrix products take the strides
        q, k, v = (
            t.permute(0, 2, 3, 1).reshape(b, h * w, self.heads, c // self.heads).permute(0, 2, 3, 1)
            for t in self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        )
        # Normalising q before the product keeps it in the range of float16; k's norms divide the small matrix.
        q = q * (1 / _pixel_norm(q)).to(q.dtype)
        weights = (q @ k.transpose(-2, -1)) / _pixel_norm(k).transpose(-2, -1) * self.temperature
        out = weights.softmax(dim=-1).to(v.dtype) @ v
        return out.permute(0, 3, 1, 2).reshape(b, h, w, c).permute(0, 3, 1, 2)

    def _fuse(self, features: dict[str, Tensor]) -> list[Tensor]:
        fused = []
        for to, x in features.items():
            others = sum(self.resize(y, source, to) for source, y in features.items() if source != to)
            fused.append(x + getattr(self, f'alpha_{to}') * torch.sigmoid(others))
        return fused

    def forward(self, x: Tensor) -> Tensor:
        branches: dict = {
            'att': self._attention,
            'gated': getattr(self, 'gatedcnn', None),
            'mlp': getattr(self, 'mlp', None),
        }
        parts = x.split(list(self.widths.values()), dim=1)
        features = {name: branches[name](part) for name, part in zip(self.widths, parts)}
        outputs = self._fuse(features) if self.fusion else list(features.values())
        return self.project_out(torch.cat(outputs, dim=1))


def _pixel_norm(x: Tensor) -> Tensor:
    """L2 norm over the last axis, never 0, in float32 or better."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype).clamp_min(1e-12)


class MixedDegradationBlock(nn.Module):
    """MDAB (Fig. 2f): mixed branches and feed-forward, each behind a norm and with a residual."""

    def __init__(self, dim: int, heads: int, ffn_expansion_factor: float, bias: bool, **branch_options) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(dim)
        self.attn = MixedBranches(dim, heads, bias, **branch_options)
        self.norm2 = ChannelNorm(dim)
        self.ffn = FeedForward(dim, ffn_expansion_factor, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Resample(nn.Module):
    """3x3 convolution and pixel (un)shuffle: ``down`` (b, c, h, w) -> (b, 2c, h/2, w/2), else (b, c/2, 2h, 2w)."""

    def __init__(self, dim: int, down: bool) -> None:
        super().__init__()
        conv = nn.Conv2d(dim, dim // 2 if down else dim * 2, 3, padding=1, bias=False)
        self.body = nn.Sequential(conv, nn.PixelUnshuffle(2) if down else nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).contiguous(memory_format=torch.channels_last)


def channel_covariance(x: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Covariance of the channels over the pixels plus ``epsilon`` I (Eq. 3), (b, c, h, w) -> (b, c, c).

    Raises:
        ValueError: ``x`` has one pixel only, whose covariance is undefined.
    """
    pixels = x.shape[-2] * x.shape[-1]
    if pixels < 2:
        raise ValueError(
            'a covariance needs at least 2 pixels, got a feature map of 1x1: '
            'embeddings need an image of more than 8 pixels in height or width'
        )
    x = x.flatten(2)
    x = x - x.mean(dim=-1, keepdim=True)
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return x @ x.transpose(-2, -1) / (pixels - 1) + epsilon * identity


@contextlib.contextmanager
def _without_statistics(module: nn.Module):
    """Recomputation for gradient checkpointing must not update running statistics a second time."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({name: buffer.clone() for name, buffer in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept):
            norm._buffers.update(buffers)


class MIRAGEArch(nn.Module):
    """MIRAGE: a four-level U-Net of mixed degradation adaptation blocks, with SPD heads for contrastive training.

    Args:
        inp_channels: Channels of the input image.
        out_channels: Channels of the output image; must equal ``inp_channels`` (the output is a residual).
        dim: Width of the first level; level i is ``dim * 2**i`` wide.
        num_blocks: Blocks on the four levels (decoder levels repeat the encoder's).
        num_refinement_blocks: Blocks after the last decoder level.
        heads: Attention heads on the four levels.
        ffn_expansion_factor: Hidden width of the feed-forward over its width.
        bias: Biases in convolutions of the blocks, patch embedding and output. The released network has none.
        drop_path_rate: Stochastic depth of the convolution branch while training.
        branch_ratio: Shares of the attention, convolution and MLP branches, one triple or one for each level;
            0 leaves a branch out (Table 7).
        fusion: Inter-branch fusion (Algorithm 1, lines 14-17); False concatenates only (Table 7).
        dynamic_conv: False replaces the kernel made for each sample by one learned 7x7 depthwise kernel.
        spd_head: Build the heads that ``return_embeddings=True`` needs. Restoration never uses them.
        contrast: 'spd' embeds covariances (Eq. 3-4), 'euclidean' pooled features (Table 7, "CL Euclidean").
        spd_tap: Shallow feature of the heads: 'level1' as in the released code or 'patch_embed' as in Algorithm B.
        geometry: What the heads make of covariances: 'vectorised' projects their entries (Eq. 4), 'log_euclidean' and
            'cholesky' project logarithms, 'covariance' returns the matrices; see ``mirage_arch/spd_heads.py``.
        checkpoint_blocks: Recompute every block in the backward pass, to save memory.

    Raises:
        ValueError: Arguments that do not fit together, named with the values allowed.

    Example:
        >>> net = MIRAGEArch()
        >>> net(torch.rand(1, 3, 61, 83)).shape
        torch.Size([1, 3, 61, 83])
    """

    OPTIONS = {  # what the signature cannot say, for the check of option files
        'dim': {'low': 2},
        'num_blocks': {'low': 1, 'length': 4},
        'num_refinement_blocks': {'low': 0},
        'heads': {'low': 1, 'length': 4},
        'ffn_expansion_factor': {'low': 0, 'open_low': True},
        'drop_path_rate': {'low': 0, 'high': 1, 'open_high': True},
        **{name: {'choices': choices} for name, choices in _CHOICES.items()},
    }

    def __init__(
        self,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 24,
        num_blocks: Sequence[int] = (3, 5, 5, 7),
        num_refinement_blocks: int = 2,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.0,
        bias: bool = False,
        drop_path_rate: float = 0.1,
        branch_ratio: Sequence = (1, 1, 1),
        fusion: bool = True,
        dynamic_conv: bool = True,
        spd_head: bool = True,
        contrast: str = 'spd',
        spd_tap: str = 'level1',
        geometry: str = 'vectorised',
        checkpoint_blocks: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(branch_ratio, Sequence) or not branch_ratio:
            raise ValueError(f'branch_ratio must be three shares, or three for each level, got {branch_ratio!r}')
        ratios = [branch_ratio] * 4 if not isinstance(branch_ratio[0], Sequence) else list(branch_ratio)
        _check_arguments(
            inp_channels,
            out_channels,
            dim,
            num_blocks,
            num_refinement_blocks,
            heads,
            ratios,
            drop_path_rate,
            checkpoint_blocks,
            contrast=contrast,
            spd_tap=spd_tap,
            geometry=geometry,
        )
        self.spd_tap, self.contrast, self.geometry, self.has_spd_head = spd_tap, contrast, geometry, spd_head
        self.checkpoint_blocks = checkpoint_blocks

        def stage(level: int, width: int, blocks: int) -> nn.Sequential:
            own = dim * 2**level
            widths = [width // own * share for share in branch_widths(own, ratios[level], heads[level])]
            return nn.Sequential(
                *(
                    MixedDegradationBlock(
                        width,
                        heads[level],
                        ffn_expansion_factor,
                        bias,
                        widths=widths,
                        fusion=fusion,
                        drop_path_rate=drop_path_rate,
                        dynamic_conv=dynamic_conv,
                    )
                    for _ in range(blocks)
                )
            )

        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(inp_channels, dim, 3, padding=1, bias=bias)))
        self.encoder_level1 = stage(0, dim, num_blocks[0])
        self.down1_2 = Resample(dim, down=True)
        self.encoder_level2 = stage(1, 2 * dim, num_blocks[1])
        self.down2_3 = Resample(2 * dim, down=True)
        self.encoder_level3 = stage(2, 4 * dim, num_blocks[2])
        self.down3_4 = Resample(4 * dim, down=True)
        self.latent = stage(3, 8 * dim, num_blocks[3])
        self.reduce_dim_level3 = nn.Conv2d(8 * dim, 4 * dim, 1, bias=bias)

        self.up4_3 = Resample(4 * dim, down=False)
        self.reduce_chan_level3 = nn.Conv2d(6 * dim, 4 * dim, 1, bias=bias)
        self.decoder_level3 = stage(2, 4 * dim, num_blocks[2])
        self.up3_2 = Resample(4 * dim, down=False)
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1, bias=bias)
        self.decoder_level2 = stage(1, 2 * dim, num_blocks[1])
        self.up2_1 = Resample(2 * dim, down=False)
        self.decoder_level1 = stage(0, 2 * dim, num_blocks[0])
        self.refinement = stage(0, 2 * dim, num_refinement_blocks)
        self.output = nn.Conv2d(2 * dim, out_channels, 3, padding=1, bias=bias)

        if spd_head and geometry != 'vectorised':
            try:  # not at the top: this file alone builds the published network
                from mirage_arch.spd_heads import GeometryHeads
            except ImportError as error:
                raise ImportError(
                    f"geometry='{geometry}' needs the packages mirage_arch and mirage_losses; this file "
                    f"alone has geometry='vectorised', and restores with spd_head=False"
                ) from error
            self.spd_heads = GeometryHeads(dim, geometry)
        elif spd_head:
            power = 2 if contrast == 'spd' else 1  # a covariance matrix or a pooled vector
            self.reduce_shallow = nn.Conv2d(dim, _SHALLOW_CHANNELS, 1)
            self.reduce_latent = nn.Conv2d(4 * dim, _LATENT_CHANNELS, 1)
            self.spd_proj_shallow = nn.Linear(_SHALLOW_CHANNELS**power, _EMBEDDING)
            self.spd_proj_latent = nn.Linear(_LATENT_CHANNELS**power, _EMBEDDING)

        # DistributedDataParallel reads this. It sends other buffers from process 0 to the rest in every forward pass,
        # for which a model that validates on process 0 alone (SRModel and its relatives) would wait for ever. So each
        # process keeps its own batch-norm statistics, unless a model that validates on all of them empties the list.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def forward(self, x: Tensor, return_embeddings: bool = False) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Restore an image batch.

        Args:
            x: (b, c, h, w) in [0, 1], any h, w >= 1. The result is not clipped.
            return_embeddings: Also return the contrastive embeddings of Eq. 4.

        Returns:
            The restored batch (b, c, h, w), or that and ``{'shallow': (b, 64), 'latent': (b, 64)}``; see `embed`.

        Raises:
            ValueError: Embeddings of a network without SPD heads or of an image of at most 8x8 pixels.
        """
        if return_embeddings and not self.has_spd_head:
            raise ValueError('return_embeddings=True needs a network built with spd_head=True')
        h, w = x.shape[-2:]
        padded = pad_to_multiple(x, _MULTIPLE).contiguous(memory_format=torch.channels_last)
        embedded = self.patch_embed(padded)
        level1 = self._run(self.encoder_level1, embedded)
        level2 = self._run(self.encoder_level2, self.down1_2(level1))
        level3 = self._run(self.encoder_level3, self.down2_3(level2))
        latent = self.reduce_dim_level3(self._run(self.latent, self.down3_4(level3)))

        y = self.reduce_chan_level3(torch.cat([self.up4_3(latent), level3], dim=1))
        y = self._run(self.decoder_level3, y)
        y = self.reduce_chan_level2(torch.cat([self.up3_2(y), level2], dim=1))
        y = self._run(self.decoder_level2, y)
        y = self._run(self.decoder_level1, torch.cat([self.up2_1(y), level1], dim=1))
        restored = (self.output(self._run(self.refinement, y)) + padded)[..., :h, :w]
        if not return_embeddings:
            return restored
        shallow = level1 if self.spd_tap == 'level1' else embedded
        return restored, self.embed(shallow, latent)

    def embed(self, shallow: Tensor, latent: Tensor) -> dict[str, Tensor]:
        """Features (b, dim, h, w), (b, 4 dim, h/8, w/8) -> float32 embeddings (b, 64) (Eq. 3-4) or covariances."""
        describe = channel_covariance if self.contrast == 'spd' else (lambda x: x.mean(dim=(-2, -1)))
        with torch.autocast(shallow.device.type, enabled=False):
            if self.geometry != 'vectorised':
                return self.spd_heads(shallow, latent)
            dtype = self.reduce_shallow.weight.dtype
            z_shallow = self.spd_proj_shallow(describe(self.reduce_shallow(shallow.to(dtype))).flatten(1))
            z_latent = self.spd_proj_latent(describe(self.reduce_latent(latent.to(dtype))).flatten(1))
            return {'shallow': F.normalize(z_shallow, dim=-1), 'latent': F.normalize(z_latent, dim=-1)}

    def _run(self, blocks: nn.Sequential, x: Tensor) -> Tensor:
        if not (self.checkpoint_blocks and torch.is_grad_enabled()):
            return blocks(x)
        for block in blocks:
            x = checkpoint(
                block,
                x,
                use_reentrant=False,
                context_fn=lambda b=block: (contextlib.nullcontext(), _without_statistics(b)),
            )
        return x


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (..., h, w) below and at the right to multiples of ``multiple``.

    Reflects, or repeats the last row or column where an edge is no longer than its padding. Written with index
    tensors, so that a traced network pads at sizes other than the traced one.
    """
    h, w = x.shape[-2:]
    if not torch.jit.is_tracing() and h % multiple == 0 and w % multiple == 0:
        return x
    rows, cols = (_padded_index(n, multiple, x.device) for n in (h, w))
    return x.index_select(-2, rows).index_select(-1, cols)


def _padded_index(length: int | Tensor, multiple: int, device: torch.device) -> Tensor:
    if isinstance(length, int):  # while tracing it is a tensor already
        length = torch.tensor(length, device=device)
    padding = (multiple - length % multiple) % multiple
    index = torch.arange(length + padding, device=device)
    last = length - 1
    return torch.where(padding < length, (last - (index - last).abs()).clamp_min(0), torch.minimum(index, last))


def _check_arguments(
    inp_channels,
    out_channels,
    dim,
    num_blocks,
    num_refinement_blocks,
    heads,
    ratios,
    drop_path_rate,
    checkpoint_blocks,
    **chosen,
):
    if checkpoint_blocks and 'context_fn' not in inspect.signature(checkpoint).parameters:
        raise ValueError(f'checkpoint_blocks=True needs PyTorch 2.1 or later, and this is {torch.__version__}')
    if inp_channels != out_channels:
        raise ValueError(
            f'out_channels must equal inp_channels (the output is a residual on the input), '
            f'got {out_channels} and {inp_channels}'
        )
    for name, value in (('num_blocks', num_blocks), ('heads', heads), ('branch_ratio', ratios)):
        if len(value) != 4:
            raise ValueError(f'{name} must have 4 entries, one for each level, got {value}')
    if min(*num_blocks, *heads, num_refinement_blocks + 1) < 1:
        raise ValueError(
            f'num_blocks and heads must be positive and num_refinement_blocks 0 or more, got '
            f'{tuple(num_blocks)}, {tuple(heads)} and {num_refinement_blocks}'
        )
    if dim < 2 or dim % 2:
        raise ValueError(f'dim must be even and positive (a down-sampling halves it), got {dim}')
    if not 0 <= drop_path_rate < 1:
        raise ValueError(f'drop_path_rate must be in [0, 1), got {drop_path_rate}')
    for name, value in chosen.items():
        if value not in _CHOICES[name]:
            raise ValueError(f'{name} must be one of {", ".join(map(repr, _CHOICES[name]))}, got {value!r}')
    if chosen['contrast'] == 'euclidean' and chosen['geometry'] != 'vectorised':
        raise ValueError(f"geometry {chosen['geometry']!r} is one of covariances: it needs contrast 'spd'")


def mirage_nano(**kwargs) -> MIRAGEArch:
    """Not in the paper: a network of the same make that a CPU can train, 0.78 M parameters with the SPD heads."""
    return MIRAGEArch(**{'dim': 12, 'num_blocks': (1, 2, 2, 3), 'num_refinement_blocks': 1, **kwargs})


def mirage_mini(**kwargs) -> MIRAGEArch:
    """Not in the paper: `mirage_nano` with twice the blocks, 1.39 M parameters with the SPD heads."""
    return mirage_nano(**{'num_blocks': (2, 4, 4, 6), 'num_refinement_blocks': 2, **kwargs})


def mirage_tiny(**kwargs) -> MIRAGEArch:
    """MIRAGE-T (Table A): 6,207,412 parameters with the SPD heads."""
    return MIRAGEArch(**{'dim': 24, 'num_refinement_blocks': 2, **kwargs})


def mirage_small(**kwargs) -> MIRAGEArch:
    """MIRAGE-S (Table A): 9,678,983 parameters with the SPD heads."""
    return MIRAGEArch(**{'dim': 30, 'num_refinement_blocks': 3, **kwargs})


if ARCH_REGISTRY is not None and 'MIRAGEArch' not in ARCH_REGISTRY:
    ARCH_REGISTRY.register(MIRAGEArch)

"""Learned channel ratios: a network in which the shares of the three branches train with the weights.

The paper gives attention, convolution and MLP a third of the channels each and leaves learned shares as future work
(appendix E). Here every level has three numbers whose softmax are its shares. The branches run at full width behind
masks over the channels, whose soft edges carry gradients to the shares; the edges sharpen while training goes on. From
``harden_at`` of the run the shares are whole channels and stay, and the weights settle for them: what is then cut out,
`export`, is an ordinary `MIRAGEArch` that gives the same images.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .checkpoints import CheckpointError, infer_arguments, load_into, load_weights
from .mirage_arch import ARCH_REGISTRY, MIRAGEArch
from .ratio_branches import (
    BranchMasks,
    MaskedBranches,
    SearchedBlock,
    SearchedBlocks,
    cut_branches,
    hard_masks,
    soft_masks,
    whole_widths,
)

__all__ = ['RatioSearchArch', 'discrete_ratios', 'export', 'load_search']

_LEVELS = {
    'encoder_level1': 0,
    'encoder_level2': 1,
    'encoder_level3': 2,
    'latent': 3,
    'decoder_level3': 2,
    'decoder_level2': 1,
    'decoder_level1': 0,
    'refinement': 0,
}
_SHARPEST = 0.1  # channels: an edge that reaches one channel at most


class RatioSearchArch(MIRAGEArch):
    """`MIRAGEArch` whose channel ratios train; its arguments, and those below.

    It takes the memory and time of three full-width branches a block. Whoever trains it calls `set_progress`;
    `MIRAGEModel` does.

    Args:
        branch_ratio: Where the shares start, all above 0.
        harden_at: Fraction of the run after which shares are whole channels and fixed, above 0 and below 1.
        softness: Width of the masks' edges at the start, as a share of the level's channels; they shrink
            exponentially to a tenth of a channel.
        ratio_gain: Speed of the shares. Adam moves a weight by about its learning rate a step whatever its gradient,
            which is slow for a logarithm; this factor multiplies it.
        **network: Arguments of `MIRAGEArch`.

    Raises:
        ValueError: As `MIRAGEArch`; a share that is 0 (it has no gradient), heads that do not divide a level's
            channels, or a number out of its range.
    """

    def __init__(
        self,
        *,
        branch_ratio: Sequence = (1, 1, 1),
        harden_at: float = 0.75,
        softness: float = 0.1,
        ratio_gain: float = 10.0,
        **network,
    ) -> None:
        own = {name: p.default for name, p in inspect.signature(MIRAGEArch).parameters.items()} | network
        super().__init__(**{**network, 'branch_ratio': (0, 0, 1)})  # branches of any ratio: they are replaced
        start = [branch_ratio] * 4 if not isinstance(branch_ratio[0], Sequence) else list(branch_ratio)
        for name, value, most in (
            ('harden_at', harden_at, 1),
            ('softness', softness, 1),
            ('ratio_gain', ratio_gain, math.inf),
        ):
            if not 0 < value < most:
                raise ValueError(f'{name} must be above 0 and below {most:g}, got {value}')
        if len(start) != 4 or any(len(ratio) != 3 or min(ratio) <= 0 for ratio in start):
            raise ValueError(f'branch_ratio must be three shares above 0, or four such triples, got {branch_ratio}')
        self.harden_at, self.softness = harden_at, softness
        self.arguments = network
        self.heads = tuple(own['heads'])
        options = {name: own[name] for name in ('bias', 'drop_path_rate', 'fusion', 'dynamic_conv')}
        for name, level in _LEVELS.items():
            blocks = []
            for block in getattr(self, name):
                width = block.norm1.body.weight.shape[0]
                if width % self.heads[level]:
                    raise ValueError(
                        f'heads must divide the channels of their level: {self.heads[level]} do not divide {width}'
                    )
                blocks.append(SearchedBlock(block, MaskedBranches(width, self.heads[level], **options)))
            setattr(self, name, SearchedBlocks(level, *blocks))
        self.ratio_logits = nn.Parameter(torch.tensor(start, dtype=torch.float32).log() / ratio_gain)
        self.register_buffer('ratio_gain', torch.tensor(float(ratio_gain)))
        self.register_buffer('ratio_progress', torch.tensor(0.0))
        self.register_buffer('ratio_widths', torch.zeros(4, 3, dtype=torch.int64))  # 0 until they are whole

    def shares(self) -> Tensor:
        """Shares of attention, convolution and MLP on the four levels, (4, 3); every row adds up to 1."""
        return (self.ratio_gain * self.ratio_logits).softmax(dim=-1)

    def level_widths(self) -> list[int]:
        """Channels of the four levels."""
        dim = self.patch_embed.proj.out_channels
        return [dim * 2**level for level in range(4)]

    @torch.no_grad()
    def set_progress(self, fraction: float) -> None:
        """Tell the network how far its training is, 0 to 1; edges sharpen, and at ``harden_at`` ratios become whole."""
        self.ratio_progress.fill_(min(max(fraction, 0.0), 1.0))
        if fraction >= self.harden_at and not self.ratio_widths.any():
            self.ratio_widths.copy_(torch.tensor(discrete_ratios(self)))

    def masks(self, level: int, channels: int) -> BranchMasks:
        """Masks of a stage of ``channels`` channels on a level (the last decoder is twice as wide as its level)."""
        scale = channels // self.level_widths()[level]
        hard = hard_masks(self.ratio_widths[level] * scale, channels, self.heads[level])
        sharpened = (self.ratio_progress / self.harden_at).clamp(max=1)
        start = math.log(self.softness * channels)
        temperature = torch.exp(start + sharpened * min(math.log(_SHARPEST) - start, 0))
        soft = soft_masks(self.shares()[level] * channels, channels, self.heads[level], temperature)
        is_whole = self.ratio_widths.sum() > 0
        # Whole widths have no gradient, but distributed training waits for one of each parameter: it gets 0.
        return BranchMasks(*(torch.where(is_whole, h + 0 * s, s) for h, s in zip(hard, soft)))

    def _run(self, blocks: SearchedBlocks, x: Tensor) -> Tensor:
        masks = self.masks(blocks.level, x.shape[1])
        return blocks(x, masks, self.checkpoint_blocks and torch.is_grad_enabled())


def _signature() -> inspect.Signature:
    """All arguments by name, for those who read them: option files are checked against it."""
    own = inspect.signature(RatioSearchArch.__init__).parameters
    ordinary = inspect.signature(MIRAGEArch).parameters
    added = [p for name, p in own.items() if name not in ordinary and name not in ('self', 'network')]
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in ordinary.values()]
    return inspect.Signature([*keyword, *added])


RatioSearchArch.__signature__ = _signature()


def discrete_ratios(net: RatioSearchArch) -> tuple[tuple[int, int, int], ...]:
    """Channels of attention, convolution and MLP on the four levels: the fixed ones, or what the shares now come to."""
    if net.ratio_widths.any():
        return tuple(tuple(level) for level in net.ratio_widths.tolist())
    return tuple(
        whole_widths(shares, channels, heads)
        for shares, channels, heads in zip(net.shares().tolist(), net.level_widths(), net.heads)
    )


@torch.no_grad()
def export(net: RatioSearchArch) -> MIRAGEArch:
    """The ordinary network of the learned ratios, with the weights that belong to it, in evaluation mode.

    Once ratios are whole (`set_progress` beyond ``harden_at``) it gives the images that ``net`` gives. Before, masks
    have soft edges and it is a start for fine-tuning: channels on an edge lose or gain weight, and where two branches
    come to one width the learned map between them is dropped, since an ordinary block has none there.
    """
    widths = discrete_ratios(net)
    device = net.ratio_logits.device
    ordinary = MIRAGEArch(**{**net.arguments, 'branch_ratio': widths}).to(net.ratio_logits)
    state = {
        name: tensor
        for name, tensor in net.state_dict().items()
        if '.attn.' not in name and not name.startswith('ratio_')
    }
    for stage, level in _LEVELS.items():
        for number, block in enumerate(getattr(net, stage)):
            channels = block.norm1.body.weight.shape[0]
            scale = channels // net.level_widths()[level]
            whole = torch.tensor(widths[level], device=device) * scale
            cut = cut_branches(block.attn, hard_masks(whole, channels, net.heads[level]))
            state.update({f'{stage}.{number}.attn.{name}': tensor for name, tensor in cut.items()})
    load_into(ordinary, state, 'exported ratios')
    return ordinary.eval()


def load_search(path: str | Path, *, key: str | None = None) -> RatioSearchArch:
    """Build the `RatioSearchArch` that a weights file is of and load it, in evaluation mode.

    Args:
        path: A file that `mirage_arch.checkpoints.load_weights` reads.
        key: Its entry.

    Raises:
        CheckpointError: A file that cannot be read, or weights of another network.
    """
    state = load_weights(path, key=key)
    if 'ratio_logits' not in state:
        raise CheckpointError(
            f'{path}: has no learned ratios (ratio_logits is missing): weights of a RatioSearchArch are needed'
        )
    arguments = infer_arguments({name: t for name, t in state.items() if not name.startswith('ratio_')})
    net = RatioSearchArch(**{**arguments, 'branch_ratio': (1, 1, 1), 'ratio_gain': float(state['ratio_gain'])})
    load_into(net, state, str(path))
    return net.eval()


if ARCH_REGISTRY is not None and 'RatioSearchArch' not in ARCH_REGISTRY:
    ARCH_REGISTRY.register(RatioSearchArch)

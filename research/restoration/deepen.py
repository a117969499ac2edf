"""Give a network more blocks without changing what it does: what a small one has learned is where a larger one begins.

    python research/restoration/deepen.py WEIGHTS --out deeper.safetensors

After every block of every level comes a copy of it whose last two maps, those that lead back into the residual stream,
are zero: it adds nothing until training moves them (as in Chen et al., "Net2Net", 2016, which grows a network by layers
that are the identity). The SPD heads are left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_arch.checkpoints import save_weights
from research.common import ended, parser_of
from research.restoration.mix_weights import averaged

_BLOCK = re.compile(r'((?:encoder|decoder)_level\d|latent|refinement)\.(\d+)\.(.+)')
_LAST = ('attn.project_out.', 'ffn.project_out.')


def deepened(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of `mirage_arch.MIRAGEArch` with twice the blocks on every level, which computes the same.

    Args:
        weights: By name, as in a checkpoint.

    Raises:
        ValueError: There is no block among them.
    """
    deeper: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        found = _BLOCK.fullmatch(name)
        if not found:
            deeper[name] = tensor
            continue
        level, number, rest = found[1], int(found[2]), found[3]
        deeper[f'{level}.{2 * number}.{rest}'] = tensor
        deeper[f'{level}.{2 * number + 1}.{rest}'] = (
            torch.zeros_like(tensor) if rest.startswith(_LAST) else tensor.clone()
        )
    if len(deeper) == len(weights):
        raise ValueError('these weights have no block of MIRAGE')
    return deeper


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('weights', type=Path)
    parser.add_argument('--out', type=Path, required=True, help='file to write, .safetensors')
    args = parser.parse_args(argv)
    return ended(lambda: deepen(args.weights, args.out))


def deepen(source: Path, out: Path) -> None:
    """Writes the deeper network."""
    result = deepened(averaged(source))
    save_weights(result, out)
    print(f'{out}: {len(result)} tensors')


if __name__ == '__main__':
    sys.exit(main())

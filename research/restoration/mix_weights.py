"""Mix two weights files of one network: what one training has learned and another has not forgotten.

    python research/restoration/mix_weights.py EARLIER LATER --share 0.6 --out mixed.safetensors

Every tensor becomes ``(1 - share) * earlier + share * later``; of files with an average of the weights it is taken. The
SPD heads are left out (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_arch.checkpoints import CheckpointError, load_weights, save_weights
from research.common import ended, parser_of

HEADS = ('reduce_shallow.', 'reduce_latent.', 'spd_')


def averaged(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a file without its SPD heads; the average where there is one.

    Raises:
        CheckpointError: The file holds no weights.
    """
    try:
        weights = load_weights(path, key='params_ema')
    except CheckpointError:
        weights = load_weights(path)
    return {name: tensor for name, tensor in weights.items() if not name.startswith(HEADS)}


def mixed(
    earlier: Mapping[str, torch.Tensor], later: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Tensor by tensor ``(1 - share) * earlier + share * later``; counters are the later ones.

    Raises:
        ValueError: The two are not of one network, or ``share`` is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f'--share {share}; allowed is 0 to 1')
    odd = sorted(earlier.keys() ^ later.keys()) or [n for n, t in earlier.items() if t.shape != later[n].shape]
    if odd:
        raise ValueError(f'the two files are of different networks: {len(odd)} tensors, the first is {odd[0]}')
    return {
        name: torch.lerp(tensor, later[name], share) if tensor.is_floating_point() else later[name].clone()
        for name, tensor in earlier.items()
    }


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('earlier', type=Path)
    parser.add_argument('later', type=Path)
    parser.add_argument('--share', type=float, default=0.5, help='of the later file')
    parser.add_argument('--out', type=Path, required=True, help='file to write, .safetensors')
    args = parser.parse_args(argv)
    return ended(lambda: mix(args))


def mix(args: argparse.Namespace) -> None:
    """Writes the mixture."""
    result = mixed(averaged(args.earlier), averaged(args.later), args.share)
    save_weights(result, args.out)
    print(f'{args.out}: {len(result)} tensors')


if __name__ == '__main__':
    sys.exit(main())

"""Export weights to ONNX with free batch, height and width, or to TorchScript, and check the result.

    pip install "mirage-ir[export]"
    mirage-basicsr export weights.safetensors mirage.onnx
    mirage-basicsr export weights.safetensors mirage.torchscript

TorchScript keeps the batch size 1; height and width are free in both.
"""
import sys
import warnings
from pathlib import Path

import torch
from tqdm import tqdm

from mirage_arch.checkpoints import load_network
from mirage_arch.exportable import export_onnx

from . import command_parser

TOLERANCE = 1e-4  # largest difference allowed, in units of the largest output
SIZES = ((1, 64, 64), (2, 61, 83), (1, 5, 40), (1, 1, 1))  # batch, height, width


def export_torchscript(net: torch.nn.Module, path: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # of tracing: the batch is a constant, as said above
        torch.jit.trace(net, torch.rand(1, 3, 64, 64)).save(str(path))


def runner(path: Path):
    """What computes with the exported file: array (b, 3, h, w) -> array."""
    if path.suffix == '.onnx':
        import onnxruntime
        session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
        return lambda x: torch.from_numpy(session.run(None, {'image': x.numpy()})[0])
    return torch.jit.load(str(path))


@torch.no_grad()
def largest_difference(net: torch.nn.Module, path: Path) -> float:
    run = runner(path)
    worst = 0.0
    sizes = [size for size in SIZES if path.suffix == '.onnx' or size[0] == 1]
    for b, h, w in tqdm(sizes, desc='checking'):
        x = torch.rand(b, 3, h, w)
        expected = net(x)
        worst = max(worst, ((run(x) - expected).abs().max() / expected.abs().max()).item())
    return worst


def main(argv: list[str] | None = None) -> int:
    parser = command_parser('export', __doc__)
    parser.add_argument('weights')
    parser.add_argument('output', type=Path, help='file to write: .onnx or .torchscript')
    parser.add_argument('--allow-pickle', action='store_true', help='unpickle objects; only for files you trust')
    args = parser.parse_args(argv)
    if args.output.suffix not in ('.onnx', '.torchscript'):
        parser.error(f'{args.output}: give a name that ends in .onnx or .torchscript')
    try:
        net = load_network(args.weights, allow_pickle=args.allow_pickle, spd_head=False)
        print('Exporting takes a minute or more.')
        if args.output.suffix == '.onnx':
            export_onnx(net, str(args.output))
        else:
            export_torchscript(net, args.output)
    except ImportError as error:
        print(f'{error}: pip install "mirage-ir[export]"', file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    difference = largest_difference(net, args.output)
    print(f'{args.output}: {args.output.stat().st_size / 2**20:.1f} MiB; differs from the network by at most '
          f'{difference:.1e} of the largest value at {len(SIZES)} sizes')
    if difference > TOLERANCE:
        print(f'that is more than {TOLERANCE}: do not use this file', file=sys.stderr)
        return 1
    return 0

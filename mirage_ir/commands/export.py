"""Export weights to ONNX with free batch, height and width, or to TorchScript, and check the result.

    pip install "mirage-ir[export]"
    mirage-basicsr export weights.safetensors mirage.onnx
    mirage-basicsr export weights.safetensors mirage.torchscript

TorchScript keeps the batch size 1; height and width are free in both.
"""

import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from mirage_arch.checkpoints import load_network
from mirage_arch.exportable import export_onnx

from . import command_parser, existing, failed, print_json

TOLERANCE = 1e-4  # largest difference allowed, in units of the largest output
SIZES = ((1, 64, 64), (2, 61, 83), (1, 5, 40), (1, 1, 1))  # batch, height, width


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
        write: ``write(net, path)``.
        open: ``open(path)`` gives what computes with the file: images (b, 3, h, w) to images.
        any_batch: Whether the batch size is free.
    """

    write: Callable[[torch.nn.Module, Path], None]
    open: Callable[[Path], Callable[[torch.Tensor], torch.Tensor]]
    any_batch: bool


def write_torchscript(net: torch.nn.Module, path: Path) -> None:
    """By tracing; the batch is a constant then."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        torch.jit.trace(net, torch.rand(1, 3, 64, 64)).save(str(path))


def open_onnx(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """By ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda x: torch.from_numpy(session.run(None, {'image': x.numpy()})[0])


FORMATS = {
    '.onnx': Format(lambda net, path: export_onnx(net, str(path)), open_onnx, any_batch=True),
    '.torchscript': Format(write_torchscript, lambda path: torch.jit.load(str(path)), any_batch=False),
}


@torch.no_grad()
def largest_difference(net: torch.nn.Module, path: Path) -> float:
    kind = FORMATS[path.suffix]
    run = kind.open(path)
    worst = 0.0
    sizes = [size for size in SIZES if kind.any_batch or size[0] == 1]
    for b, h, w in tqdm(sizes, desc='checking'):
        x = torch.rand(b, 3, h, w)
        expected = net(x)
        worst = max(worst, ((run(x) - expected).abs().max() / expected.abs().max()).item())
    return worst


def main(argv: list[str] | None = None) -> int:
    parser = command_parser('export', __doc__, as_json='what was written')
    parser.add_argument('weights', type=existing)
    parser.add_argument('output', type=Path, help='file to write: .onnx or .torchscript')
    parser.add_argument('--allow-pickle', action='store_true', help='unpickle objects; only for files you trust')
    args = parser.parse_args(argv)
    if args.output.suffix not in FORMATS:
        parser.error(f'{args.output}: give a name that ends in {" or ".join(FORMATS)}')
    try:
        net = load_network(args.weights, allow_pickle=args.allow_pickle, spd_head=False)
        print('Exporting takes a minute or more.', file=sys.stderr)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        # beside its place, so that a failure, also one that ends the process, leaves an earlier file as it was
        with tempfile.TemporaryDirectory(prefix='.export_', dir=args.output.parent) as folder:
            aside = Path(folder, args.output.name)
            FORMATS[args.output.suffix].write(net, aside)
            difference = largest_difference(net, aside)
            if difference <= TOLERANCE:
                os.replace(aside, args.output)
    except ImportError as error:
        return failed(f'{error}: pip install "mirage-ir[export]"')
    except (ValueError, OSError, RuntimeError) as error:
        return failed(error)
    said = f'differs from the network by at most {difference:.1e} of the largest value at {len(SIZES)} sizes'
    if not difference <= TOLERANCE:
        return failed(f'not written: it {said}; allowed are {TOLERANCE}')
    size = args.output.stat().st_size
    if args.json:
        print_json({'file': args.output, 'bytes': size, 'difference': difference, 'tolerance': TOLERANCE})
    else:
        print(f'{args.output}: {size / 2**20:.1f} MiB; {said}')
    return 0

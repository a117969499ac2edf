"""What a network costs: parameters, multiply-adds, peak memory, time (the paper's Table 6)."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mirage_arch.mirage_arch import mirage_small, mirage_tiny
from mirage_data.files import plain_yaml

VARIANTS: dict[str, Callable[..., nn.Module]] = {'tiny': mirage_tiny, 'small': mirage_small}


@dataclass(frozen=True)
class Cost:
    """What counting yields, without running the network.

    Args:
        parameters: Number of parameters.
        products: Multiply-adds of convolutions and matrix products.
        other: What fvcore counts besides in the released network: 2 for every value that a batch norm takes, 1 for
            every value that an average pooling takes. The released layer norm is written out in operations that
            fvcore does not count, so neither does this.
    """

    parameters: int
    products: int
    other: int

    @property
    def multiply_adds(self) -> int:
        """The figure of Table 6, which the paper calls FLOPs."""
        return self.products + self.other


@dataclass(frozen=True)
class Use:
    """What running takes on a device.

    Args:
        device: Name of the device.
        eval_mb: Peak memory over what the loaded network took, in MiB, of one restoration.
        train_mb: The same of one forward pass in train mode with its graph kept, as in Table 6.
        seconds: Median time of a restoration.
    """

    device: str
    eval_mb: float
    train_mb: float
    seconds: float


def network_options(option_file: str | Path) -> dict:
    """The `network_g` section of an option file; ValueError if there is none."""
    content = plain_yaml.load_file(option_file)
    options = content.get('network_g') if isinstance(content, Mapping) else None
    if not isinstance(options, Mapping) or 'type' not in options:
        raise ValueError(f'{option_file}: has no network_g section with a type')
    return dict(options)


def build(spec: str | Mapping, head: bool = True) -> nn.Module:
    """A network from a name of `VARIANTS` or the options of any registered one.

    Args:
        spec: 'tiny', 'small', or a `network_g` section.
        head: False leaves out MIRAGE's SPD heads; other networks have none to leave out.
    """
    if isinstance(spec, str):
        if spec not in VARIANTS:
            raise ValueError(f'variant {spec!r}: allowed are {", ".join(VARIANTS)}')
        return VARIANTS[spec](spd_head=head)
    from basicsr.archs import build_network

    options = deepcopy(dict(spec))
    if options['type'] in ('MIRAGEArch', 'RatioSearchArch'):
        options['spd_head'] = head and options.get('spd_head', True)
    return build_network(options)


def count(make: Callable[[], nn.Module], size: tuple[int, int] = (224, 224), channels: int = 3) -> Cost:
    """Count parameters and multiply-adds of one image, by the rules of fvcore.

    Nothing is computed: the pass runs on tensors without content, so any size takes seconds and no memory.

    Args:
        make: Builds the network. SPD heads count if it has them.
        size: Height and width of the image.
        channels: Its channels.
    """
    with FakeTensorMode(), torch.no_grad():
        net = make().eval()
        other = 0

        def add(values_each: int) -> Callable:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
                nonlocal other
                other += values_each * inputs[0].numel()

            return hook

        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(add(2))
            elif isinstance(module, nn.AdaptiveAvgPool2d):
                module.register_forward_hook(add(1))
        image = torch.empty(1, channels, *size)
        with FlopCounterMode(display=False) as counter:
            _forward(net, image)
        # PyTorch counts a multiplication and an addition as two.
        products = counter.get_total_flops() // 2
    return Cost(sum(p.numel() for p in net.parameters()), products, other)


def measure(
    spec: str | Mapping, size: tuple[int, int] = (224, 224), device: str = 'cpu', repeats: int = 5, head: bool = True
) -> Use:
    """Run a network in a process of its own and measure time and peak memory.

    Args:
        spec: As in `build`.
        size: Height and width of the image.
        device: 'cpu' or a CUDA device.
        repeats: Timed restorations, after one that is not timed.
        head: Whether the SPD heads are built; they take part in the training pass only.

    Raises:
        ValueError: The measurement failed; the message holds what the process said last.
    """
    task = json.dumps({'spec': spec, 'size': list(size), 'device': device, 'repeats': repeats, 'head': head})
    root = Path(__file__).resolve().parents[2]
    code = f'import sys; sys.path.insert(0, {str(root)!r}); from mirage_ir.measuring.cost import _child; _child()'
    done = subprocess.run([sys.executable, '-c', code], input=task, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ['killed, probably for lack of memory']
        raise ValueError(f'measuring {spec if isinstance(spec, str) else spec["type"]} at {size}: {last[0]}')
    return Use(**json.loads(done.stdout.splitlines()[-1]))


def _child() -> None:
    """Body of the measuring process: task on standard input, `Use` on standard output."""
    task = json.load(sys.stdin)
    device = torch.device(task['device'])
    on_gpu = device.type == 'cuda'
    net = build(task['spec'], task['head']).to(device)
    image = torch.rand(1, 3, *task['size'], device=device)
    peak = _gpu_peak if on_gpu else process_peak

    def restore() -> float:
        start = time.perf_counter()
        with torch.no_grad():
            net(image)
        if on_gpu:
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    net.eval()
    eval_mb = peak(restore)
    seconds = statistics.median(restore() for _ in range(task['repeats']))
    net.train()
    # A batch norm in train mode and the covariances need no second image: one has many pixels.
    train_mb = peak(lambda: _forward(net, image))
    name = torch.cuda.get_device_name(device) if on_gpu else f'CPU, {torch.get_num_threads()} threads'
    print(json.dumps(asdict(Use(name, eval_mb, train_mb, seconds))))


def _forward(net: nn.Module, image: Tensor) -> object:
    """One pass, with the embeddings where the network makes them."""
    return net(image, return_embeddings=True) if getattr(net, 'has_spd_head', False) else net(image)


def _gpu_peak(run: Callable) -> float:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = run()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    del result
    return (peak - before) / 2**20


def process_peak(run: Callable) -> float:
    """Growth of this process's resident memory's high-water mark while ``run`` runs, in MiB."""
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')  # Linux: start the mark again from what is in use now
    before = resident('VmRSS')
    result = run()
    peak = resident('VmHWM')
    del result
    return max(peak - before, 0.0)


def resident(field: str) -> float:
    """A field of /proc/self/status in MiB; elsewhere the maximum that the system recorded, or NaN without one.

    That maximum is inherited from the process that started this one on Linux, hence the file there.
    """
    status = Path('/proc/self/status')
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(f'{field}:'))
        return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # not a Unix
        return float('nan')
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20

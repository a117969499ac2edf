"""Training steps as CUDA graphs: the launches of a step are recorded once and repeated as one (``train: cuda_graph``).

A step of MIRAGE is thousands of small operations, and a GPU does most of them faster than Python can ask for them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

Found = TypeVar('Found')

#: Steps of a kind that run as without a graph first: kernels are built, and the fastest convolutions are looked for.
WARM_STEPS = 2
#: Kinds of batches (size, number, with tasks or without) that are recorded; further ones run as without.
MOST_GRAPHS = 8


class Outcome(NamedTuple):
    """What the work on a batch leaves beside gradients; all without a history.

    Args:
        losses: Scalars by log name.
        figures: (b,) by name, of each sample; empty where nobody asked.
        output: (b, c, h, w) of the network.
        embeddings: Of two depths by name; empty without a contrastive loss.
        features: What `diagnostics.CovarianceTap` kept.
    """

    losses: OrderedDict[str, Tensor]
    figures: dict[str, Tensor]
    output: Tensor
    embeddings: dict[str, Tensor]
    features: dict[str, Tensor]


Work = Callable[[Tensor, Tensor, bool], Outcome]


class Recorder:
    """Records what is launched on a GPU.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool: Any = None  # one for all: their steps follow one another, never at once

    def aside(self, work: Callable[[], Found]) -> Found:
        """Runs on the stream that is recorded later, which everything that autograd sets up stays bound to."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            found = work()
        current.wait_stream(self._stream)
        return found

    def record(self, work: Callable[[], Found]) -> tuple[Callable[[], None], Found]:
        """A function that repeats ``work``, and the tensors that every repetition writes; nothing is computed yet."""
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as the one that locks the pages of the next batch, may go on meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode='thread_local'):
            found = work()
        self._pool = graph.pool()
        return graph.replay, found


class _Recorded(NamedTuple):
    lq: Tensor
    gt: Tensor
    repeat: Callable[[], None]
    outcome: Outcome
    gradients: list[Tensor | None]


class StepGraphs:
    """Does the work on a batch, its gradients included, by a graph as soon as there is one for such a batch.

    The optimizer stays outside, so that a step that is not finite is skipped as without a graph. What is computed is
    the same: random numbers go on from step to step, and batch norm moves its statistics.

    Args:
        parameters: Whose gradients are computed.
        recorder: Records and repeats.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], recorder: Recorder) -> None:
        self._parameters = list(parameters)
        self._recorder = recorder
        self._seen: Counter[tuple] = Counter()
        self._told = False
        self._recorded: dict[tuple, _Recorded] = {}

    def run(self, work: Work, lq: Tensor, gt: Tensor, figures: bool) -> Outcome:
        """``work(lq, gt, figures)``. The tensors of its outcome and the gradients are written to again by later steps.

        Args:
            work: Leaves gradients in the parameters, which have none before, and waits for nothing on the way.
            lq: (b, c, h, w) on the device.
            gt: The same.
            figures: Passed on.

        Raises:
            RuntimeError: The work cannot be recorded.
        """
        kind = (*((*t.shape, *t.stride(), t.dtype) for t in (lq, gt)), figures)
        recorded = self._recorded.get(kind)
        if recorded is None:
            if not self._may_record(kind):
                return self._recorder.aside(lambda: work(lq, gt, figures))
            recorded = self._recorded[kind] = self._record(work, lq, gt, figures)
        recorded.lq.copy_(lq)
        recorded.gt.copy_(gt)
        recorded.repeat()
        for parameter, gradient in zip(self._parameters, recorded.gradients, strict=True):
            parameter.grad = gradient
        return recorded.outcome

    def _may_record(self, kind: tuple) -> bool:
        if len(self._recorded) == MOST_GRAPHS:
            if not self._told:
                self._told = True
                get_root_logger().warning(
                    f'train: cuda_graph: batches of more than {MOST_GRAPHS} sizes; those after them run as without'
                )
            return False
        self._seen[kind] += 1
        return self._seen[kind] > WARM_STEPS

    def _record(self, work: Work, lq: Tensor, gt: Tensor, figures: bool) -> _Recorded:
        own_lq, own_gt = lq.clone(), gt.clone()
        try:
            repeat, outcome = self._recorder.record(lambda: work(own_lq, own_gt, figures))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeError(
                'train: cuda_graph: the step cannot be recorded; a loss or network that waits for the GPU '
                f'(.item(), .cpu(), a choice by a value) needs cuda_graph: false. {error}'
            ) from error
        return _Recorded(own_lq, own_gt, repeat, outcome, [p.grad for p in self._parameters])


def step_graphs(
    train_opt: Mapping, net: nn.Module, device: torch.device, parameters: Sequence[nn.Parameter], shared: bool
) -> StepGraphs | None:
    """Graphs for a run with ``cuda_graph: true``; None without, and on a CPU after a warning.

    Args:
        train_opt: The ``train`` options.
        net: Network, unwrapped.
        device: Where it computes.
        parameters: What the optimizer moves.
        shared: Several GPUs train together, or a launcher started the run, be it with one process.

    Raises:
        ValueError: ``cuda_graph`` does not go with another option.
    """
    if not train_opt.get('cuda_graph', False):
        return None
    if device.type != 'cuda':
        get_root_logger().warning('cuda_graph is left out: there is no GPU')
        return None
    unfit = {
        'several GPUs, torchrun or SLURM (the exchange of gradients is not recorded)': shared,
        'checkpoint_blocks (it asks for the state of the random numbers)': train_opt.get('checkpoint_blocks'),
        f'network_g: type: {type(net).__name__}, which changes with the run': hasattr(net, 'set_progress'),
    }
    for reason, applies in unfit.items():
        if applies:
            raise ValueError(f'train: cuda_graph is not possible with {reason}; set cuda_graph: false')
    return StepGraphs(parameters, Recorder(device))

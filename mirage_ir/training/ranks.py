"""Decisions that one process takes for all processes of a distributed run."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist


class RunError(RuntimeError):
    """A run cannot start or go on; the message names the cause and the cure, so no traceback is needed."""


def is_distributed() -> bool:
    """Whether this process belongs to a process group."""
    return dist.is_available() and dist.is_initialized()


def rank_zero_decides(function: Callable[[], Any]) -> Any:
    """Call a function on rank 0 only and give its result to every rank, so that no rank can see another disk.

    Args:
        function: Takes nothing, returns something that can be pickled.

    Returns:
        What `function` returned on rank 0.

    Raises:
        RunError: On every rank, if `function` raised it on rank 0.
    """
    if not is_distributed():
        return function()
    answer: list = [None, None]
    if dist.get_rank() == 0:
        try:
            answer = [function(), None]
        except RunError as error:
            answer = [None, str(error)]
    dist.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise RunError(answer[1])
    return answer[0]


def gather_on_rank_zero(value: Any) -> list[Any] | None:
    """Collect one picklable value of every rank.

    Returns:
        The values in the order of ranks on rank 0, None on the others.
    """
    if not is_distributed():
        return [value]
    values = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values, dst=0)
    return values


def largest_of_all_ranks(value: int) -> int:
    """Return the largest of one small integer per rank; a CPU tensor goes through gloo and waits for no GPU."""
    if not is_distributed():
        return value
    tensor = torch.tensor([value])
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor)

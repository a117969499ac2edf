"""How much memory there is for the next image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CGROUP = Path('/sys/fs/cgroup')  # the limit of a container


def available_bytes(device: torch.device) -> float:
    """Memory that can be taken on a device without swapping; infinity where the system does not tell."""
    if device.type == 'cuda':
        import torch  # not needed to read photographs

        return torch.cuda.mem_get_info(device)[0] + (
            torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        )
    return available_in_machine()


def available_in_machine() -> float:
    """Memory in bytes that the processor can take without swapping; infinity where the system does not tell."""
    return min(_memory_of_machine(), _memory_of_container())


def _memory_of_machine() -> float:
    try:
        for line in Path('/proc/meminfo').read_text().splitlines():
            if line.startswith('MemAvailable:'):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    return math.inf


def _memory_of_container() -> float:
    try:
        limit = (_CGROUP / 'memory.max').read_text().strip()
        used = int((_CGROUP / 'memory.current').read_text())
        return math.inf if limit == 'max' else int(limit) - used
    except (OSError, ValueError):
        return math.inf

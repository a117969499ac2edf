"""What the operations with Triton kernels share: one switch, where a kernel may run, and going on without it.

``MIRAGE_TRITON=0`` in the environment, or ``enabled = False`` here, keeps all of them to PyTorch's own operations; so
does, after one warning for each operation, a machine on which its kernels cannot be built. Imports no Triton.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .memory import is_out_of_memory

__all__ = ['Kernels', 'applies', 'enabled', 'launch']

_Result = TypeVar('_Result')

enabled = os.environ.get('MIRAGE_TRITON', '1') != '0'
INTERPRETED = os.environ.get('TRITON_INTERPRET', '0') == '1'  # Triton's interpreter: the kernels run on a CPU
THERE = (
    importlib.util.find_spec('triton') is not None
    and hasattr(getattr(torch, 'library', None), 'register_autograd')
    and hasattr(getattr(torch, 'compiler', None), 'is_exporting')
)  # PyTorch 2.7 or later
_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def _can_run(x: Tensor) -> bool:
    return (x.is_cuda or (INTERPRETED and x.device.type == 'cpu')) and x.dtype in _TYPES


def applies(x: Tensor) -> bool:
    """Whether an operator with a kernel should take this tensor, not PyTorch's own operations.

    Not while a network is traced or exported, nor under functorch's transforms or with derivatives carried forward,
    none of which the operators have.
    """
    return (
        THERE
        and enabled
        and _can_run(x)
        and not torch.jit.is_tracing()
        and not torch.compiler.is_exporting()
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )


class Kernels:
    """The kernels of one operation, in a module of their own, until one of them fails.

    Args:
        module: Name of the module within this package; imported when a kernel is to run.
        what: The operation, for the warning.
        instead: What happens without its kernels.

    Attributes:
        failed: Whether a kernel could not be run; none is tried again.
    """

    def __init__(self, module: str, what: str, instead: str) -> None:
        self._module, self._what, self._instead = f'{__package__}.{module}', what, instead
        self.failed = False

    def attempt(self, x: Tensor, run: Callable[[Any], _Result]) -> _Result | None:
        """What ``run`` makes of the module of kernels, or None where ``x`` or this machine is nothing for them.

        Raises:
            Exception: Memory ran out, which is the caller's to mend and passes; the kernels stay in use.
        """
        if self.failed or not _can_run(x):
            return None
        try:
            return run(sys.modules.get(self._module) or importlib.import_module(self._module))
        except Exception as error:  # no compiler, no ptxas, an unknown GPU, an unwritable cache: they have no class
            if is_out_of_memory(error):
                raise
            self.failed = True
            logging.getLogger(__name__).warning(
                'the Triton kernel of %s cannot be used here, %s instead (slower); MIRAGE_TRITON=0 hides this '
                'message. %s: %s',
                self._what,
                self._instead,
                type(error).__name__,
                str(error).strip()[:500],
            )
            return None


def launch(kernel: Any, device: torch.device, programs: int, *args: Any, **constants: Any) -> None:
    """Start ``programs`` programs of a Triton kernel on a GPU, or in Triton's interpreter."""
    if device.type == 'cuda':
        with torch.cuda.device(device):
            kernel[(programs,)](*args, **constants)
    else:
        kernel[(programs,)](*args, **constants)

"""What says that memory ran out, and going on after it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import torch

__all__ = ['is_out_of_memory', 'unless_out_of_memory']

_Result = TypeVar('_Result')

# PyTorch's allocators, the driver, cuBLAS, cuDNN, cuFFT, cuSOLVER and C++ each have words of their own. cuBLAS and
# cuDNN that find no memory for their handle say that they are not initialised, cuDNN that finds none for its workspace
# that there is no engine.
_OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out[ _]of[ _]memory|ALLOC(ATION)?_FAILED|bad_alloc|insufficient memory"
    r'|(CUBLAS|CUDNN)_STATUS_NOT_INITIALIZED|unable to find an engine to execute',
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch, a library below it, or Python says that memory ran out."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
    )


def unless_out_of_memory(function: Callable[[], _Result]) -> _Result | None:
    """Calls a function; None where memory ran out, with all that it held given back."""
    try:
        return function()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Only here is the error gone, whose traceback kept every tensor of the attempt alive.
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return None

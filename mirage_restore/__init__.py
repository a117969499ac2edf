"""Photographs and videos in, photographs and videos out. Needs PyTorch and what reads pictures, never BasicSR.

`Restorer` is imported when it is first used, so that ``mirage-restore --help`` does not wait for PyTorch.
"""

__all__ = ['Restorer']


def __getattr__(name: str) -> object:
    if name != 'Restorer':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from .restorer import Restorer

    return Restorer

"""MIRAGE as a plugin of BasicSR: importing this package registers everything that option files may name."""

from mirage_restore.machine import bound_spinning

bound_spinning()  # before compat, which imports torch
try:
    from . import compat  # noqa: F401  first: without its repairs BasicSR cannot be imported
except ImportError as error:
    from .doctor import cure_of

    raise ImportError(f'BasicSR cannot be imported ({error}); {cure_of(error)}', name=error.name) from error
from .registration import register_all  # noqa: E402

__all__ = ['Restorer']

register_all()


def __getattr__(name: str):
    if name == 'Restorer':  # imported on demand: training does not need it
        from mirage_restore import Restorer

        return Restorer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

"""MIRAGE as a plugin of BasicSR: importing this package registers everything that option files may name."""
from . import compat  # noqa: F401  first: without its repairs BasicSR cannot be imported
from .registration import register_all

__all__ = ['Restorer']

register_all()


def __getattr__(name: str):
    if name == 'Restorer':  # imported on demand: training does not need it
        from .restorer import Restorer
        return Restorer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

"""Packages that only the classical methods need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class PackageMissingError(ImportError):
    """A classical method needs a package that is not installed; the message says how to get it."""


def needed(name: str, method: str) -> ModuleType:
    """Import a package of the extra `classical`.

    Args:
        name: as in an import statement.
        method: what needs it, for the message.

    Raises:
        PackageMissingError: it is not installed, or cannot be loaded on this machine.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise PackageMissingError(
            f"{method} needs the package {name.split('.')[0]!r} ({error}): pip install 'mirage-ir[classical]', "
            'or leave the method out'
        ) from error

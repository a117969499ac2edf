"""The BasicSR of the folder one stands in, where that is a linked checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .link_files import is_shim

_DONE = 'MIRAGE_CHECKOUT'


def use_linked_checkout() -> None:
    """Starts ``mirage-basicsr train`` again with the current folder's BasicSR in front of the installed one.

    That checkout was linked in order to use its own networks and models. By now this process has the installed BasicSR,
    which cannot be exchanged; so the process is replaced by one that finds the other first. Elsewhere nothing happens.
    """
    here = Path.cwd()
    linked = is_shim(here / 'basicsr' / 'models' / 'mirage_model.py')
    by_command = Path(sys.argv[0]).name in ('mirage-basicsr', '__main__.py')
    if not (linked and by_command) or os.environ.get(_DONE) == str(here):
        return
    path = os.pathsep.join(filter(None, [str(here), os.environ.get('PYTHONPATH')]))
    os.environ.update({'PYTHONPATH': path, _DONE: str(here)})
    print(f'Using the linked checkout {here / "basicsr"}', flush=True)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

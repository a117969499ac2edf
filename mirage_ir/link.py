"""Making the names of this project known to another BasicSR checkout, and taking them back.

BasicSR imports every ``*_arch.py`` in ``basicsr/archs`` and every ``*_model.py`` in ``basicsr/models`` when it starts.
`link` puts small files there, after which the checkout's unmodified ``python basicsr/train.py -opt ...`` finds
``MIRAGEArch``, ``MIRAGEModel``, the losses, data sets and metrics:

- ``models/mirage_model.py`` registers everything. It comes last, when all that ours builds on has been imported;
- ``archs/mirage_repair_arch.py`` comes first, when nothing of ours can be imported yet (our model needs BasicSR's,
  which needs the archs), and makes the repair without which BasicSR's data sets don't import on a current torchvision;
- ``basicsr.py``, beside ``train.py``, is what ``import basicsr`` in that script finds first. Without it Python would
  take the installed BasicSR, which this project requires, instead of the checkout that the script stands in.

Forks with an older ``basicsr`` (NAFNet, Restormer) have no registry and look for classes in ``basicsr/models/archs``:
there the one file of the network is copied.
"""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mirage_arch

MARKER = '# Written by `mirage-basicsr link`, which may overwrite it; `mirage-basicsr unlink` removes it.'
PROJECT = Path(__file__).resolve().parents[1]
_NETWORK = Path(mirage_arch.__file__).with_name('mirage_arch.py')

_REPAIR_SHIM = f'''{MARKER}
"""Stands in for a torchvision module that was removed and that basicsr/data/degradations.py imports."""
import importlib.util
import sys
import types

_NAME = 'torchvision.transforms.functional_tensor'
if _NAME not in sys.modules and importlib.util.find_spec(_NAME) is None:
    from torchvision.transforms.functional import rgb_to_grayscale

    sys.modules[_NAME] = types.ModuleType(_NAME)
    sys.modules[_NAME].rgb_to_grayscale = rgb_to_grayscale
'''

_PATH_SHIM = f'''{MARKER}
"""Hands over to the package that this file lies in, when a script beside it (train.py, test.py) imports basicsr."""
import importlib
import os
import sys

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _PACKAGE]
sys.path.insert(0, os.path.dirname(_PACKAGE))
del sys.modules[__name__]
importlib.import_module(__name__)
'''

_MODEL_SHIM = '''{marker}
"""Registers MIRAGE: network, model, losses, data sets and metrics."""
import importlib.util
import os
import sys

_PROJECT = {project!r}
if importlib.util.find_spec('mirage_ir') is None:  # not installed: use the folder it was linked from
    if not os.path.isdir(os.path.join(_PROJECT, 'mirage_ir')):
        raise ImportError(f'MIRAGE was linked from {{_PROJECT}}, which is gone: link this checkout again, or unlink it')
    sys.path.append(_PROJECT)  # at the end: this checkout's own basicsr comes first
import mirage_ir  # noqa: E402, F401
'''


class LinkError(ValueError):
    """A folder that cannot be linked or unlinked; nothing was changed in it."""


def shims_for(checkout: str | Path) -> dict[Path, str]:
    """The files that `link` writes into a checkout, with their content.

    Args:
        checkout: A checkout of BasicSR or of a fork, or the ``basicsr`` folder in it.

    Raises:
        LinkError: No BasicSR is there, or an installed package, which is never edited.
    """
    package = _package_in(Path(checkout).expanduser())
    if (package / 'archs').is_dir() and (package / 'utils' / 'registry.py').is_file():
        model = _MODEL_SHIM.format(marker=MARKER, project=str(PROJECT))
        return {package / 'basicsr.py': _PATH_SHIM,
                package / 'archs' / 'mirage_repair_arch.py': _REPAIR_SHIM,
                package / 'models' / 'mirage_model.py': model}
    if (package / 'models' / 'archs').is_dir():
        network = f'{MARKER}\n{_NETWORK.read_text(encoding="utf-8")}'
        return {package / 'models' / 'archs' / 'mirage_arch.py': network}
    raise LinkError(f'{package} has neither archs and a registry (BasicSR 1.3 and later) nor models/archs (NAFNet, '
                    'Restormer and other forks): copy mirage_arch/mirage_arch.py to where it keeps its networks')


def link(checkout: str | Path) -> list[Path]:
    """Writes the shims, or writes them again.

    Args:
        checkout: See `shims_for`.

    Returns:
        The files written.

    Raises:
        LinkError: As `shims_for`, or a file of that name is there that this did not write.
    """
    shims = shims_for(checkout)
    _refuse_foreign(shims)
    for path, content in shims.items():
        path.write_text(content, encoding='utf-8')
    return list(shims)


def unlink(checkout: str | Path) -> list[Path]:
    """Removes what `link` wrote, and nothing else.

    Args:
        checkout: See `shims_for`.

    Returns:
        The files removed; none if the checkout was not linked.

    Raises:
        LinkError: As `link`.
    """
    shims = shims_for(checkout)
    _refuse_foreign(shims)
    present = [path for path in shims if path.exists()]
    for path in present:
        path.unlink()
    return present


def is_shim(path: Path) -> bool:
    """Whether a file begins with the marker line of `link`."""
    try:
        with open(path, encoding='utf-8') as file:
            return file.readline().rstrip('\n') == MARKER
    except (OSError, UnicodeDecodeError):
        return False


def _package_in(checkout: Path) -> Path:
    for package in (checkout / 'basicsr', checkout):
        if package.name == 'basicsr' and (package / 'models').is_dir():
            if {'site-packages', 'dist-packages'} & set(package.resolve().parts):
                raise LinkError(f'{package} is an installed package, which is never edited. It needs no link: run '
                                '`mirage-basicsr train` and `mirage-basicsr test`')
            return package
    found = 'does not exist' if not checkout.exists() else 'has no folder basicsr with models in it'
    raise LinkError(f'{checkout} {found}; give the folder of a BasicSR checkout')


def _refuse_foreign(shims: Mapping[Path, str]) -> None:
    foreign = [str(path) for path in shims if path.exists() and not is_shim(path)]
    if foreign:
        raise LinkError(f'{", ".join(foreign)}: not written by `mirage-basicsr link`, so left as it is; move it away')

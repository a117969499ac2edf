"""Making the names of this project known to another project, and taking them back.

The projects of this field find networks in a handful of ways: BasicSR and its plugins import every file of a folder,
its older forks do and look for a class by its name, others have registries of their own or import one name.
`KINDS` has a function for each, which returns a `Plan`, or None if the project is not of its kind; `link` writes those
files, edits none, and says which lines a person has to add where files do not suffice.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from mirage_data.files.write import write_file

# ---- what is written into which project -----------------------------------------------------------------------------
MARKER = '# Written by `mirage-basicsr link`, which may overwrite it; `mirage-basicsr unlink` removes it.'
PROJECT = Path(__file__).resolve().parents[1]
OLDEST_BASICSR = (1, 3, 4, 4)
"""The first release that `MIRAGEModel` works with."""
_NETWORK = PROJECT / 'mirage_arch' / 'mirage_arch.py'
_DIGEST = '# SHA-256 of what follows: '


class Plan(NamedTuple):
    """What makes MIRAGE known to one project.

    Args:
        files: Path -> content; each content begins with the marker line.
        known: What the project's option files may name afterwards.
        lines: What a person has to write into the project's own files, where files beside them do not suffice.
        package: Where the scripts are that use a BasicSR; None if the project uses none.
    """

    files: dict[Path, str]
    known: str
    lines: tuple[str, ...] = ()
    package: Path | None = None


_REPAIR = f'''{MARKER}
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

_IMPORT_OURS = """
_PROJECT = {project!r}
if importlib.util.find_spec('mirage_ir') is None:  # not installed: use the folder it was linked from
    if not os.path.isdir(os.path.join(_PROJECT, 'mirage_ir')):
        raise ImportError(f'MIRAGE was linked from {{_PROJECT}}, which is gone: link this project again, or unlink it')
    sys.path.append(_PROJECT)  # at the end: this project's own packages come first
import mirage_ir  # noqa: E402, F401
"""

_REGISTER = (
    '''{marker}
"""Registers MIRAGE: network, model, losses, data sets and metrics."""
import importlib.util
import os
import sys
'''
    + _IMPORT_OURS
)

# A script beside it has the package's folder in front of the path, not the project's; so it finds this file first.
_HAND_OVER = '''{marker}
"""Hands over to {what}, when a script beside this file (train.py, test.py) imports it."""
import importlib.util
import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _FOLDER]
sys.path.insert(0, os.path.dirname(_FOLDER))
del sys.modules[__name__]
{register}importlib.import_module(__name__)
'''

# Old forks have no __init__.py, and a package that has one, the installed BasicSR, wins over them from any place.
_IS_PACKAGE = f'''{MARKER}
"""Makes a package of the folder it lies in, when a script beside it (train.py, test.py) imports basicsr."""
import os

__path__ = [os.path.dirname(os.path.abspath(__file__))]
'''

_VERSION = '''{marker}
"""What this project's setup.py writes when it is run; its package cannot be imported without."""
__version__ = {version!r}
__gitsha__ = 'unknown'
'''

_BUILDERS = """

from {package}.utils.registry import ARCH_REGISTRY as _HERE  # noqa: E402


def _register(make):
    def build(scale=1, **options):
        if scale != 1:
            raise ValueError(f'scale must be 1 for MIRAGE, which restores and does not enlarge; got {{scale}}')
        return make(**options)

    build.__name__ = make.__name__
    _HERE.register(build)


for _make in (MIRAGEArch, mirage_nano, mirage_mini, mirage_tiny, mirage_small):
    _register(_make)
"""


def plan_for(root: Path) -> Plan | None:
    """The plan of the first kind that a project belongs to."""
    plan = next(filter(None, (kind(root) for kind in KINDS)), None)
    return plan and plan._replace(files={path: _with_digest(text) for path, text in plan.files.items()})


def linked_files(root: Path, plan: Plan) -> list[Path]:
    """What `link` wrote into a project, now or when it or the project was of another version."""
    places = {path.parent for path in plan.files} | {root / 'basicsr' / name for name in ('archs', 'models')}
    return [path for place in sorted(places) for path in sorted(place.glob('*.py')) if is_shim(path)]


def basicsr_checkout(root: Path) -> Plan | None:
    """BasicSR 1.3 or later, and copies of it that people work in: every name, by its own scripts."""
    package = root / 'basicsr'
    if not ((package / 'archs').is_dir() and (package / 'utils' / 'registry.py').is_file()):
        return None
    files = {
        package / 'basicsr.py': _HAND_OVER.format(marker=MARKER, what="this checkout's package", register=''),
        package / 'archs' / 'mirage_repair_arch.py': _REPAIR,
        **_missing_version(root, package),
    }
    if (found := version_of(package)) and found < OLDEST_BASICSR:
        return Plan(
            {**files, package / 'archs' / 'mirage_arch.py': _network()},
            f'MIRAGEArch alone; MIRAGEModel needs BasicSR {text_of(OLDEST_BASICSR)}, this is {text_of(found)}',
            package=package,
        )
    register = _REGISTER.format(marker=MARKER, project=str(PROJECT))
    return Plan({**files, package / 'models' / 'mirage_model.py': register}, 'every name of MIRAGE', package=package)


def old_fork(root: Path) -> Plan | None:
    """NAFNet, Restormer and their relatives: a BasicSR without registries that looks for classes by their names."""
    package = root / 'basicsr'
    if not (package / 'models' / 'archs').is_dir():
        return None
    hand_over = _HAND_OVER.format(marker=MARKER, what="this fork's package", register='')
    return Plan(
        {
            package / 'basicsr.py': hand_over if (package / '__init__.py').is_file() else _IS_PACKAGE,
            package / 'models' / 'archs' / 'mirage_arch.py': _network(),
        },
        'MIRAGEArch (set spd_head: false where you train on several processes)',
        package=package,
    )


def plugin(root: Path) -> Plan | None:
    """HAT, X-Restormer, Real-ESRGAN: a package whose train.py calls the installed BasicSR's pipeline."""
    for script in sorted(root.glob('*/train.py')):
        package = script.parent
        text = script.read_text(encoding='utf-8', errors='replace')
        if (package / 'archs').is_dir() and re.search(r'^from basicsr\.train import', text, re.MULTILINE):
            ours = _IMPORT_OURS.format(project=str(PROJECT)).lstrip('\n')
            files = {
                package / f'{name}.py': _HAND_OVER.format(marker=MARKER, what=f'{name}, with MIRAGE', register=ours)
                for name in ('basicsr', package.name)
            }
            return Plan({**files, **_missing_version(root, package)}, 'every name of MIRAGE', package=package)
    return None


def other_registry(root: Path) -> Plan | None:
    """traiNNer-redux and neosr: registries of their own, whose networks are functions that are told the scale."""
    for name in ('traiNNer', 'neosr'):
        package = root / name
        if (package / 'utils' / 'registry.py').is_file() and (package / 'archs').is_dir():
            return Plan(
                {package / 'archs' / 'mirage_arch.py': _network() + _BUILDERS.format(package=name)},
                'MIRAGEArch, mirage_nano, mirage_mini, mirage_tiny, mirage_small',
            )
    return None


def kair(root: Path) -> Plan | None:
    """KAIR: networks are chosen in a chain of ifs."""
    if not (root / 'models' / 'select_network.py').is_file():
        return None
    return Plan(
        {root / 'models' / 'network_mirage.py': _network()},
        '"net_type": "mirage"',
        (
            "models/select_network.py, in define_G before `elif net_type == 'fdncnn':`",
            "    elif net_type == 'mirage':",
            '        from models.network_mirage import MIRAGEArch',
            '        netG = MIRAGEArch(spd_head=False, **{k: v for k, v in opt_net.items() if k in '
            "('dim', 'num_blocks', 'num_refinement_blocks', 'heads')})",
            'and in the option file  "netG": {"net_type": "mirage", "dim": 24, "init_type": "none"}',
        ),
    )


def swinir(root: Path) -> Plan | None:
    """SwinIR: its test script alone; training is in KAIR."""
    if not (root / 'main_test_swinir.py').is_file():
        return None
    return Plan(
        {root / 'models' / 'network_mirage.py': _network()},
        'MIRAGEArch, by its test script',
        (
            'main_test_swinir.py, in define_model below '
            "`elif args.task == 'color_dn':`, in place of `model = net(...)`",
            '        from models.network_mirage import MIRAGEArch',
            '        model = MIRAGEArch(spd_head=False)',
        ),
    )


def lightning(root: Path) -> Plan | None:
    """PromptIR, AdaIR and others of their make: one network, imported by name."""
    if not ((root / 'net' / 'model.py').is_file() and (root / 'train.py').is_file()):
        return None
    text = (root / 'train.py').read_text(encoding='utf-8', errors='replace')
    found = re.search(r'^from net\.model import (\w+)', text, re.MULTILINE)
    name = found[1] if found else 'the network'
    return Plan(
        {root / 'net' / 'mirage_arch.py': _network()},
        'mirage_tiny and its relatives',
        (
            f'train.py, test.py and demo.py, after the line that imports {name}',
            '    from net.mirage_arch import mirage_tiny',
            f'and where the network is made, in place of `self.net = {name}(decoder=True)`',
            '    self.net = mirage_tiny(spd_head=False)',
        ),
    )


KINDS: tuple[Callable[[Path], Plan | None], ...] = (
    basicsr_checkout,
    old_fork,
    plugin,
    other_registry,
    kair,
    swinir,
    lightning,
)


def version_of(package: Path) -> tuple[int, ...] | None:
    """The version of a BasicSR, from its version.py or the file VERSION of its checkout; None if neither tells."""
    for path in (package / 'version.py', package.parent / 'VERSION'):
        try:
            text = path.read_text(encoding='utf-8')
        except (OSError, UnicodeDecodeError):
            continue
        if found := re.search(r'^(?:__version__ = [\'"])?(\d+(?:\.\d+)+)', text, re.MULTILINE):
            return tuple(map(int, found[1].split('.')))
    return None


def text_of(version: tuple[int, ...]) -> str:
    """A version as it is written."""
    return '.'.join(map(str, version))


def lacks_version(package: Path) -> bool:
    """Whether a package imports its version.py, which only its setup.py writes, and does not have it."""
    try:
        text = (package / '__init__.py').read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError):
        return False
    return not (package / 'version.py').is_file() and bool(re.search(r'^from \.version import', text, re.MULTILINE))


def _missing_version(root: Path, package: Path) -> dict[Path, str]:
    path = package / 'version.py'
    if not lacks_version(package) and not is_shim(path):
        return {}
    try:
        version = (root / 'VERSION').read_text(encoding='utf-8').strip()
    except (OSError, UnicodeDecodeError):
        version = 'unknown'
    return {path: _VERSION.format(marker=MARKER, version=version)}


def is_shim(path: Path) -> bool:
    """Whether a file begins with the marker line of `link`; a link to such a file is somebody's own."""
    try:
        if path.is_symlink():
            return False
        with open(path, encoding='utf-8') as file:
            return file.readline().rstrip('\n') == MARKER
    except (OSError, UnicodeDecodeError):
        return False


def is_edited(path: Path) -> bool:
    """Whether a file of `link` was changed since it was written; those of versions that noted no sum were not."""
    noted, _, rest = path.read_text(encoding='utf-8', errors='replace').partition('\n')[2].partition('\n')
    return noted.startswith(_DIGEST) and noted != _DIGEST + _sum(rest)


def _with_digest(content: str) -> str:
    marker, rest = content.split('\n', 1)
    return f'{marker}\n{_DIGEST}{_sum(rest)}\n{rest}'


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode('utf-8')).hexdigest()


def _network() -> str:
    return f'{MARKER}\n{_NETWORK.read_text(encoding="utf-8")}'


# ---- writing and removing -------------------------------------------------------------------------------------------
class LinkError(ValueError):
    """A folder that cannot be linked or unlinked; nothing was changed in it."""


def plan_of(checkout: str | Path) -> Plan:
    """What `link` does in a project.

    Args:
        checkout: The project's folder, or the ``basicsr`` folder in it.

    Raises:
        LinkError: It is of no known kind, or an installed package, which is never edited, or cannot be read.
    """
    root = _root(checkout)
    if {'site-packages', 'dist-packages'} & set(root.resolve().parts):
        raise LinkError(
            f'{checkout} is an installed package, which is never edited. It needs no link: run '
            '`mirage-basicsr train` and `mirage-basicsr test`'
        )
    try:
        plan = plan_for(root)
    except OSError as error:
        raise LinkError(f'{error.filename} cannot be read ({error.strerror}); it tells what {checkout} is') from error
    if plan is None:
        found = 'is of no kind that is known' if root.is_dir() else 'is no folder'
        raise LinkError(
            f'{checkout} {found}. Known are BasicSR (basicsr/archs with a registry), its older forks '
            '(basicsr/models/archs), projects that call its pipeline, traiNNer-redux, neosr, KAIR, SwinIR, '
            'PromptIR and AdaIR. Elsewhere copy mirage_arch/mirage_arch.py to where the networks are'
        )
    return plan


def link(checkout: str | Path) -> Plan:
    """Writes the files of a project's plan, or writes them again.

    Args:
        checkout: See `plan_of`.

    Returns:
        The plan: what was written and what is left to do.

    Raises:
        LinkError: As `plan_of`, or a file of that name is there that this did not write or that was edited since, or
            the project cannot be written to.
    """
    plan = plan_of(checkout)
    _refuse_others(plan.files)
    for path, content in plan.files.items():
        try:
            write_file(path, content)
        except OSError as error:
            raise LinkError(
                f'{path} cannot be written ({error.strerror}). `mirage-basicsr unlink` removes what was before it'
            ) from error
    return plan


def unlink(checkout: str | Path) -> list[Path]:
    """Removes what `link` wrote, and nothing else.

    Args:
        checkout: See `plan_of`.

    Returns:
        The files removed; none if the project was not linked.

    Raises:
        LinkError: As `link`.
    """
    plan = plan_of(checkout)
    present = linked_files(_root(checkout), plan)
    _refuse_others({*plan.files, *present})
    for path in present:
        try:
            path.unlink()
        except OSError as error:
            raise LinkError(f'{path} cannot be removed ({error.strerror})') from error
    return present


def _root(checkout: str | Path) -> Path:
    root = Path(os.path.abspath(os.path.expanduser(checkout)))  # its name, also that of `.`; links are not followed
    return root.parent if root.name == 'basicsr' and (root / 'models').is_dir() else root


def _refuse_others(files: Iterable[Path]) -> None:
    present = sorted(path for path in files if os.path.lexists(path))
    if foreign := [str(path) for path in present if not is_shim(path)]:
        raise LinkError(f'{", ".join(foreign)}: not written by `mirage-basicsr link`, so left as it is; move it away')
    if edited := [str(path) for path in present if is_edited(path)]:
        raise LinkError(
            f'{", ".join(edited)}: changed since `mirage-basicsr link` wrote it, so left as it is. Copy elsewhere what '
            'you want to keep of it, then delete it and run this again'
        )


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

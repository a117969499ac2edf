"""What is installed, which BasicSR is used, what is registered, and what will fail.

Run by ``mirage-basicsr doctor``. Where even ``import mirage_ir`` fails, run this file itself: ``python
.../mirage_ir/doctor.py``. Therefore it imports nothing at the top but the standard library.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

PACKAGES = (
    'torch',
    'torchvision',
    'numpy',
    'opencv-python',
    'lmdb',
    'PyYAML',
    'tqdm',
    'safetensors',
    'pillow',
    'pyvips',
    'av',
    'basicsr',
)
_GIB = 2**30
_BF16_SINCE = 8  # major compute capability: Ampere
OLDEST = (3, 10)
SAFE_TORCH = (2, 6)
_HERE = Path(__file__).resolve().parent
INSTALL = shlex.join([sys.executable, str(_HERE / 'install_basicsr.py')])
"""Installs BasicSR, and an OpenCV that needs no desktop where the usual one cannot be imported."""


class Finding(NamedTuple):
    """One line of the report.

    Args:
        level: 'ok', 'note' (worth knowing) or 'FAIL' (something a user does will fail).
        text: What was found.
        cure: What to do; empty where nothing need be done.
    """

    level: str
    text: str
    cure: str = ''


def main() -> int:
    """Prints the report.

    Returns:
        1 if something will fail, otherwise 0.
    """
    failed = 0
    for title, examine in SECTIONS.items():
        print(title)
        for finding in examine():
            failed += finding.level == 'FAIL'
            print(f'  {finding.level:<4} {finding.text}')
            if finding.cure:
                print(f'       -> {finding.cure}')
    print(f'\n{failed} thing{"s" if failed > 1 else ""} will fail.' if failed else '\nNothing found that will fail.')
    return 1 if failed else 0


def examine_versions() -> Iterator[Finding]:
    """Python and the packages."""
    version = platform.python_version()
    if sys.version_info[:2] < OLDEST:
        yield Finding('FAIL', f'Python {version}', 'install Python 3.10 to 3.14')
    else:
        yield Finding('ok', f'Python {version} ({sys.executable})')
    for name in PACKAGES:
        found = _version(name)
        if found is None and name == 'opencv-python':
            found = _version('opencv-python-headless')
        if found is None:
            yield Finding('FAIL', f'{name} is missing', INSTALL if name == 'basicsr' else f'pip install {name}')
        else:
            yield Finding('ok', f'{name} {found}')
    torch = re.match(r'(\d+)\.(\d+)', _version('torch') or '')
    if torch and tuple(map(int, torch.groups())) < SAFE_TORCH:
        yield Finding(
            'FAIL',
            f'torch {torch[0]}: its torch.load, with which BasicSR loads weights and states, runs code in these files',
            f'pip install "torch>={SAFE_TORCH[0]}.{SAFE_TORCH[1]}" torchvision; until then load only your own files',
        )


def cure_of(error: ImportError) -> str:
    """One line to run against an import of BasicSR that failed."""
    lacking_basicsr = isinstance(error, ModuleNotFoundError) and error.name == 'basicsr'
    if lacking_basicsr or 'cannot open shared object file' in str(error):
        return f'install what is missing with: {INSTALL}'
    return f'to see why: {shlex.join([sys.executable, __file__])}'


def examine_opencv() -> Iterator[Finding]:
    """OpenCV needs libraries of a desktop, unless it is the headless one."""
    try:
        import cv2  # noqa: F401
    except Exception as error:  # a library that does not fit the system fails in many ways
        yield Finding('FAIL', f'OpenCV cannot be imported: {_line(error)}', INSTALL)
    else:
        yield Finding('ok', 'OpenCV can be imported')


def examine_tensorboard() -> Iterator[Finding]:
    """TensorBoard comes under two package names that overwrite each other's files."""
    present = [name for name in ('tb-nightly', 'tensorboard') if _version(name)]
    if len(present) == 2:
        yield Finding(
            'note',
            f'tb-nightly {_version("tb-nightly")} and tensorboard {_version("tensorboard")} are both '
            'installed, and each overwrites files of the other',
            'pip uninstall -y tensorboard tb-nightly && pip install tb-nightly',
        )
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except Exception as error:  # a mixture of the two fails in many ways
        yield Finding(
            'FAIL',
            f'TensorBoard cannot be used: {_line(error)}',
            'pip uninstall -y tensorboard tb-nightly && pip install tb-nightly, or set use_tb_logger: false',
        )
    else:
        yield Finding('ok', f'TensorBoard logging works ({", ".join(present) or "from an unknown package"})')


def examine_basicsr() -> Iterator[Finding]:
    """Which BasicSR is found, whether it can be imported plainly and with our repairs."""
    folder = _basicsr_folder()
    if folder is None:
        yield Finding('FAIL', 'no package basicsr is found', INSTALL)
        return
    installed = bool({'site-packages', 'dist-packages'} & set(folder.parts))
    yield Finding(
        'ok' if installed else 'note',
        f'basicsr is taken from {folder}',
        '' if installed else 'a checkout, not the installed package: our tests were made with version 1.4.2',
    )
    if not (folder / 'utils' / 'registry.py').is_file():
        yield Finding(
            'FAIL',
            'that one has no registry (an older fork): our names cannot be registered in it',
            'copy the network there with `mirage-basicsr link CHECKOUT`, or put BasicSR 1.4.2 first',
        )
        return
    reason = _import_plainly()
    if reason:
        yield Finding(
            'note',
            f'by itself `import basicsr` fails here ({reason})',
            'our commands repair it; in scripts of your own import mirage_ir before basicsr',
        )
    try:
        _import_ours()
        from mirage_ir.link import OLDEST_BASICSR, text_of, version_of
    except Exception as error:  # anything that another package throws at import
        yield Finding('FAIL', f'`import mirage_ir` fails: {_line(error)}', 'pip install . in the project folder')
        return
    yield Finding('ok', f'`import mirage_ir` works (from {_HERE})')
    version = version_of(folder)
    if version and version < OLDEST_BASICSR:
        yield Finding(
            'FAIL',
            f'that is BasicSR {text_of(version)}, and MIRAGEModel needs {text_of(OLDEST_BASICSR)}',
            'use the network under a model of its own, or pip install basicsr==1.4.2',
        )


def examine_registry() -> Iterator[Finding]:
    """Our names in BasicSR's registries, and who owns them."""
    try:
        _import_ours()
        from mirage_ir.registration import _PROVIDED
    except Exception:  # reported by examine_basicsr
        yield Finding('FAIL', 'nothing is registered, see above')
        return
    for registry, _, names in _PROVIDED:
        kind = registry._name
        owners = {name: registry.get(name).__module__ if name in registry else None for name in names}
        for name, owner in owners.items():
            if owner is None:
                yield Finding('FAIL', f'{kind} {name} is not registered', 'pip install . in the project folder')
            elif not owner.startswith('mirage_'):
                yield Finding('FAIL', f'{kind} {name} is that of {owner}, not ours', f'remove {owner}')
        ours = [name for name, owner in owners.items() if owner and owner.startswith('mirage_')]
        yield Finding('ok', f'{kind}: {", ".join(ours) or "none"}')


def examine_folder() -> Iterator[Finding]:
    """The project in the current folder: what `link` wrote into it, and the BasicSR that its own scripts will use."""
    try:
        _import_ours()
        from mirage_ir.link import is_edited, lacks_version, linked_files, plan_for
    except Exception:  # reported by examine_basicsr
        return
    here = Path.cwd()
    try:
        plan = plan_for(here)
    except OSError as error:
        yield Finding('note', f'{error.filename} cannot be read ({error.strerror}); it tells what project this is')
        return
    if plan is None:
        yield Finding('ok', f'{here} is no project that `mirage-basicsr link` knows')
        return
    shims = linked_files(here, plan)
    for path in shims:
        if path not in plan.files:
            yield Finding('FAIL', f'{path} is left from an earlier version', 'mirage-basicsr unlink . and link again')
        elif is_edited(path):
            yield Finding('note', f'{path} was edited since it was linked, and is left as it is')
        elif path.read_text(encoding='utf-8', errors='replace') != plan.files[path]:
            yield Finding(
                'FAIL',
                f'{path} is stale: it was linked from another place or version',
                'run `mirage-basicsr link .` again, or `mirage-basicsr unlink .`',
            )
        else:
            yield Finding('ok', f'{path} is up to date')
    if not shims:
        yield Finding('note', f'{here} is not linked: its own scripts know nothing of MIRAGE', 'mirage-basicsr link .')
    if plan.package is None:
        return
    if lacks_version(plan.package):
        yield Finding(
            'FAIL',
            f'{plan.package / "version.py"} is missing, which setup.py writes: the package cannot be imported',
            'mirage-basicsr link .   (writes it, too)',
        )
    yield from _examine_script(plan.package)


def _examine_script(package: Path) -> Iterator[Finding]:
    """The BasicSR that ``python PACKAGE/train.py`` imports, found by doing so."""
    from mirage_ir.link import OLDEST_BASICSR, text_of, version_of

    script = f'`python {package.name}/train.py`'
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            f'import sys; sys.path[0] = {str(package)!r}; import {package.name}, basicsr; '
            'print("\\n" + list(basicsr.__path__)[0])',
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ['for an unknown reason'])[-1]
        yield Finding(
            'FAIL',
            f'{script} will fail at its imports: {reason}',
            'mirage-basicsr link .' if _is_ours(reason) else f'install what {package.parent.name} needs',
        )
        return
    used = Path(done.stdout.splitlines()[-1]).resolve()
    own = package if package.name == 'basicsr' else None
    if own and used != own.resolve():
        yield Finding('FAIL', f'{script} uses the BasicSR in {used}, not the one it lies in', 'mirage-basicsr link .')
    else:
        yield Finding('ok', f'{script} uses the BasicSR in {used}')
    version = version_of(used)
    if version and version < OLDEST_BASICSR and (used / 'utils' / 'registry.py').is_file():
        yield Finding(
            'FAIL',
            f'that is version {text_of(version)}, and MIRAGEModel needs {text_of(OLDEST_BASICSR)}',
            'use the network under a model of its own, or a newer BasicSR',
        )
    wanted = _pinned(package.parent / 'requirements.txt')
    if wanted and version and not own and wanted != text_of(version):
        yield Finding(
            'FAIL',
            f'{package.parent.name} wants BasicSR {wanted}, and {text_of(version)} is used',
            f'pip install basicsr=={wanted}',
        )


def _is_ours(reason: str) -> bool:
    return any(word in reason for word in ('functional_tensor', "No module named 'basicsr", 'version'))


def _pinned(requirements: Path) -> str | None:
    """The only BasicSR that a project's list of requirements allows."""
    try:
        found = re.search(r'^basicsr==([\d.]+)', requirements.read_text(encoding='utf-8'), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return None
    return found[1] if found else None


def examine_devices() -> Iterator[Finding]:
    """GPUs, and processes that are able to talk to each other."""
    try:
        import torch
    except Exception as error:  # a torch that does not fit the system fails in many ways
        yield Finding('FAIL', f'torch cannot be imported: {_line(error)}', 'see pytorch.org for the right command')
        return
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            yield Finding('ok', f'GPU {number}: {properties.name}, {properties.total_memory / _GIB:.0f} GiB')
            # is_bf16_supported() says yes where bfloat16 is emulated, which is slower than float32
            if torch.version.hip is None and properties.major < _BF16_SINCE:
                yield Finding(
                    'note',
                    f'GPU {number} computes bfloat16 by emulation (compute capability '
                    f'{properties.major}.{properties.minor}, it is native from {_BF16_SINCE}.0 on)',
                    'use amp: fp16 there, and precision fp16 for restoring',
                )
    elif torch.version.cuda and any(Path('/dev').glob('nvidia[0-9]*')):
        yield Finding(
            'FAIL',
            f'a GPU is there, but torch (for CUDA {torch.version.cuda}) cannot use it',
            'update the driver, or install a torch for the CUDA version that `nvidia-smi` shows',
        )
    else:
        yield Finding('note', f'no GPU: everything runs on {os.cpu_count()} CPU cores, and num_gpu must be 0 or auto')
    if not torch.distributed.is_available():
        yield Finding('note', 'this torch has no torch.distributed: one process only')


def examine_resources() -> Iterator[Finding]:
    """The current folder, where runs write, and the memory through which DataLoader workers hand over batches."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free / _GIB
    if not os.access(here, os.W_OK):
        yield Finding(
            'FAIL',
            f'{here} cannot be written to, and runs put experiments/ and results/ into the current folder',
            'change to a folder of your own',
        )
    elif free < 1:
        yield Finding('note', f'{free:.2f} GiB of disk space are left in {here}', 'free some before training')
    else:
        yield Finding('ok', f'{free:.0f} GiB of disk space in {here}')
    shared = Path('/dev/shm')
    if shared.is_dir() and shutil.disk_usage(shared).total < _GIB:
        yield Finding(
            'note',
            f'/dev/shm has only {shutil.disk_usage(shared).total / _GIB:.2f} GiB: DataLoader workers '
            'may die with a bus error',
            'start a container with --shm-size=8g, or set num_worker_per_gpu: 0',
        )


SECTIONS: dict[str, Callable[[], Iterator[Finding]]] = {
    'Versions': examine_versions,
    'OpenCV': examine_opencv,
    'TensorBoard': examine_tensorboard,
    'BasicSR': examine_basicsr,
    'Registered names': examine_registry,
    'This folder': examine_folder,
    'Devices': examine_devices,
    'Disk and shared memory': examine_resources,
}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _basicsr_folder() -> Path | None:
    """Folder of the package ``basicsr`` that an import would take, found without importing it."""
    loaded = sys.modules.get('basicsr')
    spec = getattr(loaded, '__spec__', None) or importlib.util.find_spec('basicsr')
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def _import_plainly() -> str:
    """Why ``import basicsr`` fails in a process of its own, without our repairs; empty if it does not."""
    done = subprocess.run([sys.executable, '-c', 'import basicsr'], capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ['for an unknown reason'])[-1] if done.returncode else ''


def _import_ours() -> None:
    if importlib.util.find_spec('mirage_ir') is None:
        sys.path.append(str(_HERE.parent))
    importlib.import_module('mirage_ir')


def _line(error: BaseException) -> str:
    return f'{type(error).__name__}: {(str(error).splitlines() or [""])[0]}'


if __name__ == '__main__':
    sys.path = [entry for entry in sys.path if entry != str(_HERE)]  # its modules are not top-level ones
    raise SystemExit(main())

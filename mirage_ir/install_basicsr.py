"""Puts BasicSR, and an OpenCV that can be imported, into the environment of the Python that runs this file.

Run it as a file, ``python mirage_ir/install_basicsr.py``: it needs nothing but pip, and not this project installed.

BasicSR is pure Python, and its release installs on Python 3.13 and later once it is a wheel. Only making that wheel
fails there: its ``setup.py`` runs its version file with ``exec`` inside a function and reads the result from
``locals()``, which since PEP 667 are two different snapshots. While pip makes the wheel, this lets that one ``exec``
write into the function itself. The release's files are unchanged, and nothing of this stays installed.

It also avoids what ``pip install basicsr`` does on every Python: download a second PyTorch in order to build.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

RELEASE = 'basicsr==1.4.2'

# Python imports a module of this name when it starts; its folder is on the path of the build alone
_HELP_EXEC = """\
import builtins
import sys

_exec = builtins.exec


def _exec_in_get_version(code, *scopes, **options):
    caller = sys._getframe(1)
    if not scopes and caller.f_code.co_name == 'get_version':
        scopes = caller.f_globals, caller.f_locals  # written through to the function since Python 3.13
    return _exec(code, *scopes, **options)


if sys.version_info >= (3, 13):
    builtins.exec = _exec_in_get_version
"""


class InstallError(RuntimeError):
    """pip failed; it has printed why."""


def main(words: list[str] | None = None) -> int:
    """Installs both, or only what is missing.

    Args:
        words: Command line without the program's name; that of the process if not given.

    Returns:
        0, or 1 if pip failed.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--wheel', metavar='FOLDER', help="only write BasicSR's wheel there and install nothing")
    wanted = parser.parse_args(words)
    try:
        if wanted.wheel:
            print(build_wheel(Path(wanted.wheel)))
        else:
            install()
    except InstallError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def install() -> None:
    """Installs BasicSR with all that it needs unless it is there, then sees to OpenCV.

    A PyTorch that is there stays as it is.

    Raises:
        InstallError: Pip failed.
    """
    if _version('basicsr') is None:
        with tempfile.TemporaryDirectory() as folder:
            _pip('install', str(build_wheel(Path(folder))))
    mend_opencv()


def build_wheel(folder: Path) -> Path:
    """Lets pip fetch BasicSR's release and make a wheel of it.

    Args:
        folder: Where the wheel goes; made if it is not there.

    Returns:
        The wheel.

    Raises:
        InstallError: Pip failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tools:
        # beside the environment, which need not have them; the build must not be isolated, else it downloads PyTorch
        _pip('install', '--target', tools, 'setuptools', 'wheel')
        Path(tools, 'sitecustomize.py').write_text(_HELP_EXEC, encoding='utf-8')
        _pip(
            'wheel',
            '--no-deps',
            '--no-build-isolation',
            '--use-pep517',
            '--no-binary',
            'basicsr',
            '--wheel-dir',
            str(folder),
            RELEASE,
            path=tools,
        )
    return max(folder.glob('basicsr-*.whl'), key=os.path.getmtime)


def mend_opencv() -> None:
    """Puts the headless OpenCV over the usual one where that misses libraries of a desktop (libGL, glib, xcb).

    The usual one is not uninstalled: BasicSR requires it, and pip would bring it back at the next occasion.

    Raises:
        InstallError: Pip failed, or OpenCV cannot be imported for another reason.
    """
    reason = why_not('cv2')
    if not reason:
        return
    found = _version('opencv-python')
    if found and 'cannot open shared object file' in reason:
        print(f'OpenCV cannot be imported here ({reason}): opencv-python-headless takes its place')
        _pip('install', '--force-reinstall', '--no-deps', f'opencv-python-headless=={found}')
        reason = why_not('cv2')
    if reason:
        raise InstallError(f'OpenCV cannot be imported: {reason}')


def why_not(module: str) -> str:
    """The last line of what importing a module in a process of its own fails with; empty if it does not fail."""
    done = subprocess.run([sys.executable, '-c', f'import {module}'], capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ['for an unknown reason'])[-1] if done.returncode else ''


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _pip(*words: str, path: str | None = None) -> None:
    environment = {**os.environ, 'PYTHONPATH': path} if path else None
    done = subprocess.run([sys.executable, '-m', 'pip', words[0], '--quiet', *words[1:]], env=environment, check=False)
    if done.returncode:
        raise InstallError(f'`pip {" ".join(words)}` failed, see above')


if __name__ == '__main__':
    raise SystemExit(main())

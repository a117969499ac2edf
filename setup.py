"""What cannot stand in pyproject.toml: the one line that pip shows where BasicSR has to be installed first."""

import os
import site
import sys
import sysconfig
from pathlib import Path

from setuptools import setup


def basicsr_is_installed() -> bool:
    """Looks into the environment's own folders, which pip hides from this process while it builds."""
    folders = [sysconfig.get_path('purelib'), *site.getsitepackages(), site.getusersitepackages()]
    return any(any(Path(folder).glob('*basicsr*')) for folder in folders)


# `python -m build` makes the same wheel on every Python and does not need BasicSR; pip sets this variable
if sys.version_info >= (3, 13) and 'PIP_BUILD_TRACKER' in os.environ and not basicsr_is_installed():
    raise SystemExit(
        'On Python 3.13 and later pip cannot build BasicSR by itself. First run:  python mirage_ir/install_basicsr.py'
    )

setup()

"""The version stands in one place, and what tells the world about the release agrees with it."""

import re
import sys
from pathlib import Path

import pytest

from mirage_ir.doctor import SAFE_TORCH

ROOT = Path(__file__).resolve().parents[1]


def test_the_newest_entry_of_the_changes_is_the_version():
    version = re.search(r"^version = '([\d.]+)'", (ROOT / 'pyproject.toml').read_text(), re.MULTILINE)[1]
    assert re.search(r'^## ([\d.]+)', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)[1] == version


def test_the_pythons_are_those_that_the_set_up_script_takes():
    text = (ROOT / 'pyproject.toml').read_text()
    named = [tuple(map(int, found.split('.'))) for found in re.findall(r'Python :: (3\.\d+)', text)]
    oldest, newest = re.search(
        r'\((3, \d+)\) <= sys.version_info\[:2\] <= \((3, \d+)\)', (ROOT / 'scripts' / 'environment.sh').read_text()
    ).groups()
    assert f'{named[0]}' == f'({oldest})' and f'{named[-1]}' == f'({newest})'
    assert f'>={named[0][0]}.{named[0][1]}' in text


def test_the_torch_that_is_required_is_the_one_that_doctor_asks_for():
    assert f"'torch>={'.'.join(map(str, SAFE_TORCH))}'" in (ROOT / 'pyproject.toml').read_text()


@pytest.mark.skipif(sys.version_info < (3, 11), reason='tomllib')
def test_every_package_is_in_the_wheel():
    from fnmatch import fnmatch

    import tomllib

    settings = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']['setuptools']
    included = settings['packages']['find']['include']
    folders = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob('mirage_*/**/*.py')}
    assert all(any(fnmatch(folder, pattern) for pattern in included) for folder in folders)
    assert not any(fnmatch('basicsr', pattern) or fnmatch('research', pattern) for pattern in included)

"""The site builds without a warning, every page is in it, its links lead somewhere, and the first page's code runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'scripts'))

from check_links import broken_links  # noqa: E402


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r': (\w+\.md)$', (ROOT / 'mkdocs.yml').read_text(), re.MULTILINE))
    assert listed == {page.name for page in (ROOT / 'docs').glob('*.md')}


def test_the_code_of_the_first_page_runs():
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / 'index.md').read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        names = {}
        exec(block, names)
        assert names['restored'].shape == names['image'].shape and names['restored'].dtype == names['image'].dtype


def test_links_are_checked(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'index.html').write_text('<a id="top" href="a/#there">x</a><a href="a/#gone">x</a><img src="no.png">')
    (tmp_path / 'a' / 'index.html').write_text('<h1 id="there">x</h1><a href="../#top">x</a><a href="http://x/y">x</a>')
    assert broken_links(tmp_path) == ['index.html: a/#gone', 'index.html: no.png']


def test_the_site_builds_strictly(tmp_path):
    pytest.importorskip('material', reason='needs the extra docs')
    pytest.importorskip('mkdocstrings_handlers.python', reason='needs the extra docs')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet', '--site-dir', str(tmp_path / 'site')]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert broken_links(tmp_path / 'site') == []

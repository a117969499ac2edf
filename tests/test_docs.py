"""The site builds without a warning, every page is in it, its links lead somewhere, and the tutorials' code runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'

TUTORIALS = sorted((DOCS / 'tutorials').glob('*.md'))
BLOCK = re.compile(r'^```(\w+)(?: title="([\w.]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def test_every_page_is_in_the_navigation():
    listed = re.findall(r': ([\w/]+\.md)$', (ROOT / 'mkdocs.yml').read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob('*.md'))


def photographs(folder, count=2, size=(48, 40), ending='png', dark=1.0):
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize(size, Image.BICUBIC)
        Image.fromarray((np.asarray(coarse) * dark).astype(np.uint8)).save(folder / f'{number}.{ending}')


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder in which each tutorial finds what it begins with, much smaller."""
    import torch

    from mirage_arch import MIRAGEArch

    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / 'photos' / 'holiday')
    photographs(tmp_path / 'CBSD68')
    photographs(tmp_path / 'my' / 'bright', 3)
    photographs(tmp_path / 'my' / 'dark', 3, dark=0.4)
    for name in ('photos/street.jpg', 'photo.jpg'):
        Image.open('photos/holiday/0.png').save(name)
    (tmp_path / 'options').symlink_to(ROOT / 'options')
    (tmp_path / 'project' / 'models').mkdir(parents=True)
    torch.manual_seed(0)
    torch.save({'params': MIRAGEArch().state_dict()}, 'mirage_tiny.ckpt')
    small = MIRAGEArch(dim=6, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, heads=(1, 1, 2, 2), spd_head=False)
    torch.save(small.state_dict(), 'mine.pth')
    return tmp_path


def run_line(line):
    """A command of a tutorial; ours in this process, where that may be."""
    from mirage_ir.cli import main as basicsr
    from mirage_restore.cli import main as restore
    from mirage_web.cli import _parser as web_arguments

    program, *words = shlex.split(line, comments=True)
    if line.startswith('pip install'):
        extras = re.search(
            r'^\[project.optional-dependencies\]\n(.*?)\n\[', (ROOT / 'pyproject.toml').read_text(), re.M | re.S
        )
        for name, extra in re.findall(r'([\w-]+)(?:\[([\w,-]+)\])?', ' '.join(words[1:])):
            assert name != 'mirage-ir' or not extra or re.search(f'^{extra} = ', extras[1], re.M), line
    elif program == 'mirage-basicsr' and words[0] in ('train', 'test'):  # they change BasicSR for the whole process
        command = [sys.executable, '-c', 'from mirage_ir.cli import main; raise SystemExit(main())', *words]
        done = subprocess.run(
            command, env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    elif program == 'mirage-web':  # would serve until it is stopped
        web_arguments().parse_args(words)
    elif program in ('mirage-basicsr', 'mirage-restore'):
        assert (basicsr if program == 'mirage-basicsr' else restore)(words) == 0, line
    else:
        subprocess.run(['bash', '-euc', line], check=True)


@pytest.mark.parametrize('page', [DOCS / 'index.md', *TUTORIALS], ids=lambda page: page.stem)
def test_every_block_of_a_page_runs(page, made, monkeypatch):
    if page.stem == 'hub':
        hub = pytest.importorskip('huggingface_hub.hub_mixin', reason='needs the extra hub')
        sent = []
        monkeypatch.setattr(hub, 'HfApi', lambda **_: Hub(sent))
    monkeypatch.syspath_prepend(str(made))
    blocks = BLOCK.findall(page.read_text())
    assert blocks and page.read_text().count('```') == 2 * len(blocks)
    names = {}
    for kind, title, text in blocks:
        if kind == 'python':
            exec(text, names)
        elif kind == 'bash':
            for line in re.sub(r'\\\n\s*', '', text).splitlines():
                run_line(line)
        else:
            assert title, f'{kind} is neither run nor written to a file'
            (made / title).write_text(text)
    if page.stem == 'restore':
        assert names['after'].shape == names['before'].shape
        assert {file.name for file in (made / 'better').rglob('*.*g')} == {'street.jpg', '0.png', '1.png'}
    if page.stem == 'hub':
        assert sent == ['README.md', 'config.json', 'model.safetensors']


class Hub:
    """Stands for the hub's servers."""

    def __init__(self, sent):
        self.sent = sent

    def create_repo(self, repo_id, **_):
        from types import SimpleNamespace

        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, folder_path, **_):
        self.sent += sorted(file.name for file in Path(folder_path).iterdir())
        return 'sent'


def test_the_site_builds_strictly(tmp_path):
    pytest.importorskip('material', reason='needs the extra docs')
    pytest.importorskip('mkdocstrings_handlers.python', reason='needs the extra docs')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet', '--site-dir', str(tmp_path / 'site')]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

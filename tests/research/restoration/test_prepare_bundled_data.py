"""Collecting the photographs of the bundled weights, on made-up ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from research.restoration import collect as script


def picture(path: Path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def run(folder: Path) -> int:
    arguments = [
        '--bsds',
        folder / 'bsds',
        '--list',
        folder / 'list.txt',
        '--packages',
        folder / 'packages',
        '--out',
        folder / 'out',
    ]
    return script.main(['photographs', *map(str, arguments)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(script, 'TRAIN', ('large', 'KDE'))
    monkeypatch.setattr(script, 'HELD_OUT', ('kept',))
    for name in ('a', 'b', 'c'):
        picture(tmp_path / 'bsds' / 'train' / f'{name}.jpg', 321, 481)
    (tmp_path / 'list.txt').write_text('a.jpg\nb.jpg\n\n')  # c is in a test set
    picture(tmp_path / 'packages' / 'x' / 'large.jpg', 800, 1200)
    picture(tmp_path / 'packages' / 'x' / 'kept.png', 300, 400)
    for height, width in ((200, 320), (1080, 1920)):
        picture(tmp_path / 'packages' / 'KDE' / 'contents' / 'images' / f'{width}x{height}.png', height, width)
    return tmp_path


def test_photographs_are_parted_and_larger_ones_scaled_down(folder):
    assert run(folder) == 0
    shapes = {str(p.relative_to(folder / 'out')): cv2.imread(str(p)).shape[:2] for p in (folder / 'out').rglob('*.png')}
    assert shapes == {
        'heldout/bsds500/a.png': (321, 481),
        'train/bsds500/b.png': (321, 481),
        'train_160/bsds500/b.png': (160, 240),
        'heldout/packages/kept.png': (300, 400),
        'train/packages/large.png': (800, 1200),
        'train_160/packages/large.png': (160, 240),
        'train_320/packages/large.png': (320, 480),
        'train/packages/KDE.png': (750, 1333),
        'train_160/packages/KDE.png': (160, 284),
        'train_320/packages/KDE.png': (320, 569),
    }


def test_what_is_absent_is_named_before_anything_is_written(folder, capsys):
    (folder / 'list.txt').write_text('a.jpg\nnowhere.jpg\n')
    assert run(folder) == 2 and 'nowhere' in capsys.readouterr().err
    (folder / 'list.txt').write_text('a.jpg\n')
    (folder / 'packages' / 'x' / 'large.jpg').unlink()
    assert run(folder) == 2 and 'large' in capsys.readouterr().err
    assert not (folder / 'out').exists()


def test_a_broken_picture_is_named(folder, capsys):
    (folder / 'bsds' / 'train' / 'a.jpg').write_bytes(b'no picture')
    assert run(folder) == 2 and 'a.jpg' in capsys.readouterr().err

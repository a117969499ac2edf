"""Shifted, swapped and mismatched pairs are found, sound ones are left alone."""

import cv2
import numpy as np
from made_up_images import write_png

from mirage_data.sets.fingerprint import misaligned
from mirage_ir.commands.check_data import main


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full((96, 128, 3), 128, np.uint8)
    for _ in range(60):
        corner = rng.integers(0, 128, 2)
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        cv2.rectangle(image, tuple(map(int, corner)), tuple(map(int, corner + rng.integers(6, 30, 2))), colour, -1)
    return image


def write_pairs(folder, degraded):
    pairs = []
    for number, image in enumerate(degraded):
        write_png(folder / 'in' / f'{number}.png', image)
        write_png(folder / 'gt' / f'{number}.png', scene(number))
        pairs.append((folder / 'in' / f'{number}.png', folder / 'gt' / f'{number}.png'))
    return pairs


def test_sound_pairs_of_every_kind_are_left_alone(tmp_path):
    rng = np.random.default_rng(1)
    clean = [scene(number).astype(float) for number in range(4)]
    degraded = [
        clean[0] * 0.08,  # dark
        clean[1] * 0.4 + 140,  # hazy
        clean[2] + rng.normal(0, 50, clean[2].shape),
        cv2.GaussianBlur(clean[3], (0, 0), 2),
    ]
    pairs = write_pairs(tmp_path, [np.clip(image, 0, 255).astype(np.uint8) for image in degraded])
    assert misaligned(pairs) == ([], [])


def test_shifted_and_swapped_pairs_are_named(tmp_path):
    degraded = [np.roll(scene(0), (3, -5), (0, 1)), scene(2), scene(1), scene(9), scene(4)]
    shifted, other = misaligned(write_pairs(tmp_path, degraded))
    assert shifted == ['0.png: shifted by -5, 3 pixels against 0.png']
    assert other == [
        '1.png: shows another picture than 1.png; 2.png fits',
        '2.png: shows another picture than 2.png; 1.png fits',
        '3.png: shows another picture than 3.png',
    ]


def test_the_command_checks_pairs_of_ones_own(tmp_path, capsys):
    write_pairs(tmp_path, [scene(0) // 2, np.roll(scene(1), 4, 1)])
    write_png(tmp_path / 'in' / 'alone.png', scene(5))
    options = ['--pairs', str(tmp_path / 'in'), str(tmp_path / 'gt')]
    assert main([*options, '--no-leaks']) == 1
    out = capsys.readouterr().out
    assert 'alone.png' in out and '1.png: shifted by 4, 0 pixels against 1.png' in out
    (tmp_path / 'in' / 'alone.png').unlink()
    write_png(tmp_path / 'in' / '1.png', scene(1) // 2)
    assert main([*options, '--no-leaks']) == 0

"""Tuning finds the best chain, on training pictures, and the stored chains work."""

import numpy as np
import pytest

from mirage_data.degradations import TABLE
from mirage_ir.measuring.metrics import psnr
from research.classical.methods import apply_steps, described, tuned
from research.classical.tune import SLOTS, save_tuned, slots_of, tune
from research.restoration.sets import Picture


def pictures(darken: float = 0.3) -> list[Picture]:
    rng = np.random.default_rng(0)
    clean = [np.kron(rng.random((6, 6, 3), np.float32), np.ones((6, 6, 1), np.float32)) for _ in range(2)]
    result = []
    for number, gt in enumerate(clean):
        lq = gt * darken
        lq[::7, ::7] = 0.9
        result.append(Picture(f'{number}', lq, gt, {}))
    return result


SMALL = (
    (None, {'median': {'size': 3}}, {'median': {'size': 5}}),
    ({'gain': {'target': 0.2}}, {'gain': {'target': 0.5}}, {'gain': {'target': 0.9}}),
)


def test_the_best_of_all_chains_is_found():
    result = tune(SMALL, pictures())
    every = [[step for step in (a, b) if step] for a in SMALL[0] for b in SMALL[1]]
    figures = [np.mean([psnr(apply_steps(p.lq, steps), p.gt) for p in pictures()]) for steps in every]
    assert list(result.steps) == every[int(np.argmax(figures))] == [{'median': {'size': 3}}, {'gain': {'target': 0.5}}]
    assert result.psnr == pytest.approx(max(figures)) and result.tried <= 9
    assert result.input_psnr == pytest.approx(np.mean([psnr(p.lq, p.gt) for p in pictures()]))


def test_a_file_of_chains_is_read_back(tmp_path):
    path = tmp_path / 'tuned.yml'
    assert tuned(tmp_path / 'absent.yml') == {}
    result = tune(SMALL, pictures())
    save_tuned(path, {'low_light': result}, 'from two pictures')
    assert path.read_text(encoding='utf-8').startswith('# from two pictures\n')
    assert tuned(path)['low_light'].steps == result.steps
    assert tuned(path)['low_light'].psnr == round(result.psnr, 2)


def test_slots_follow_the_degradations():
    assert [len(slots_of(f'cdd11_{kind}')) for kind in ('haze', 'low_rain', 'low_haze_snow')] == [1, 3, 4]
    names = {name for step in slots_of('denoise_25_opencv')[0] for name in step}
    assert names == {'opencv_nlm'}
    assert all(values['sigma'] == 50 for step in slots_of('denoise_50')[0] for values in step.values())
    with pytest.raises(ValueError, match='cdd11_fog: no classical method is known'):
        slots_of('cdd11_fog')


def test_every_candidate_can_be_applied():
    image = pictures()[0].lq
    known = {'kernel': np.full((3, 3), 1 / 9, np.float32), 'gamma': 1.0}
    for task in [*SLOTS, 'denoise_15']:
        for slot in slots_of(task):
            for step in {next(iter(step)): step for step in slot if step}.values():
                assert np.isfinite(apply_steps(image, [step], known)).all(), (task, step)


def test_stored_chains_cover_the_degradations_and_gain():
    chains = tuned()
    single = (
        'gaussian_noise',
        'camera_noise',
        'poisson_noise',
        'rain',
        'snow',
        'haze',
        'low_light',
        'motion_blur',
        'defocus_blur',
        'jpeg',
    )
    composite = tuple(name for name in TABLE if name.startswith('cdd11_'))
    assert set(chains) >= {*single, *composite, 'motion_blur_oracle', 'defocus_blur_oracle', 'denoise_25'}
    image = np.random.default_rng(0).random((32, 32, 3), np.float32)
    known = {'kernel': np.full((3, 3), 1 / 9, np.float32), 'gamma': 1.0}
    for task, chosen in chains.items():
        assert chosen.steps and described(chosen.steps)
        assert apply_steps(image, chosen.steps, known).shape == image.shape, task
        assert chosen.psnr > chosen.input_psnr, task

import csv

import cv2
import numpy as np
import pytest
import torch

from mirage_arch.checkpoints import save_weights
from mirage_arch.mirage_arch import MIRAGEArch
from research.features import analyze as analyze_features

SHAPE = {'dim': 12, 'num_blocks': (1, 1, 1, 1), 'num_refinement_blocks': 1, 'heads': (1, 1, 1, 1)}


@pytest.fixture
def setting(tmp_path):
    rng = np.random.default_rng(0)
    for task in ('rain', 'haze'):
        (tmp_path / 'my images' / task).mkdir(parents=True)
        for i in range(2):
            picture = rng.integers(0, 256, (24, 20 + 8 * i, 3), np.uint8)
            cv2.imwrite(str(tmp_path / 'my images' / task / f'{i}.png'), picture)
    torch.manual_seed(0)
    save_weights(MIRAGEArch(**SHAPE).state_dict(), tmp_path / 'full.pth')
    save_weights(MIRAGEArch(**SHAPE, branch_ratio=(1, 0, 0), spd_head=False).state_dict(), tmp_path / 'att.pth')
    return tmp_path


def rows(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_two_networks_are_compared_over_tasks(setting):
    code = analyze_features.main(
        [
            '--weights',
            str(setting / 'full.pth'),
            f'attention={setting / "att.pth"}',
            '--images',
            str(setting / 'my images'),
            '--out',
            str(setting / 'out'),
        ]
    )
    assert code == 0
    scales = rows(setting / 'out' / 'scales.csv')
    assert {(r['network'], r['task'], r['place']) for r in scales} >= {
        ('full', 'rain', 'scale1'),
        ('attention', 'all tasks', 'latent'),
    }
    for row in scales:
        assert float(row['effective_rank_ratio']) == int(row['components_90']) / int(row['channels'])
    pairs = rows(setting / 'out' / 'shallow_latent.csv')
    assert {r['comparison'] for r in pairs} == {'energy', 'pooled'}, 'no embedding: one network has no heads'
    whole = np.load(setting / 'out' / 'matrices.npz')['full/all tasks/samples/energy']
    assert whole.shape == (4, 4)
    row = next(r for r in pairs if (r['network'], r['task'], r['comparison']) == ('full', 'all tasks', 'energy'))
    assert float(row['mean_diagonal']) == pytest.approx(np.diag(whole).mean())
    figures = {
        'spectra',
        'channels_full',
        'channels_attention',
        'shallow_latent_energy',
        'shallow_latent_pooled',
        'samples_energy',
        'samples_pooled',
    }
    assert {p.stem for p in (setting / 'out').glob('*.png')} == figures
    assert all(cv2.imread(str(p)).std() > 1 for p in (setting / 'out').glob('*.png'))
    assert not any('nan' in p.read_text().lower() for p in (setting / 'out').glob('*.csv'))


def test_one_image_and_an_option_file(setting, capsys):
    opt = setting / 'o.yml'
    opt.write_text(
        'network_g: {type: MIRAGEArch, dim: 12, num_blocks: [1, 1, 1, 1], num_refinement_blocks: 1, '
        'heads: [1, 1, 1, 1]}\n'
    )
    out = setting / 'one'
    call = ['--opt', str(opt), '--images', f'rain={setting / "my images" / "rain"}', '--limit', '1', '--out', str(out)]
    assert analyze_features.main(call) == 0
    row = rows(out / 'shallow_latent.csv')[0]
    assert row['mean_off_diagonal'] == '' and row['comparison'] == 'embedding'
    assert analyze_features.main([*call, '--weights', str(setting / 'att.pth')]) == 2
    assert 'att.pth: does not fit this network' in capsys.readouterr().err


def test_bad_input_is_named(setting, capsys):
    (setting / 'empty').mkdir()
    weights = ['--weights', str(setting / 'full.pth'), '--out', str(setting / 'out')]
    for images, more, message in (
        ([str(setting / 'empty')], [], 'empty: no images'),
        ([str(setting / 'absent')], [], 'not a readable folder'),
        ([str(setting / 'my images')] * 2, [], 'has been given already'),
        ([str(setting / 'my images')], ['--crop', '8'], '0.png: a covariance needs at least 2 pixels'),
    ):
        assert analyze_features.main([*weights, '--images', *images, *more]) == 2
        assert message in capsys.readouterr().err
    assert analyze_features.main(['--images', str(setting / 'my images')]) == 2
    assert 'name --weights, --opt or both' in capsys.readouterr().err

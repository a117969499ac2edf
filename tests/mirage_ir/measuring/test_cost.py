import csv
import io
from functools import partial
from pathlib import Path

import pytest
from torch import nn

from mirage_ir.commands.cost import main
from mirage_ir.measuring import cost as complexity

ROOT = Path(__file__).resolve().parents[3]


def test_the_papers_figures():
    tiny, small = (complexity.count(partial(complexity.build, variant)) for variant in ('tiny', 'small'))
    for cost, parameters, total, products in ((tiny, 6_207_412, 16.275, 16.250), (small, 9_678_983, 26.711, 26.676)):
        assert cost.parameters == parameters
        assert (round(cost.multiply_adds / 1e9, 3), round(cost.products / 1e9, 3)) == (total, products)
    bare = complexity.count(partial(complexity.build, 'tiny', False))
    assert bare.parameters == 6_158_576
    # The heads: two 1x1 maps over 224x224 and 28x28 pixels, two covariances over them, two linear maps.
    pixels, latent = 224**2, 28**2
    heads = 24 * 12 * pixels + 96 * 24 * latent + 12**2 * pixels + 24**2 * latent + (12**2 + 24**2) * 64
    assert bare.products == tiny.products - heads


def test_by_hand():
    def make():
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, 2, 1, groups=8),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )

    cost = complexity.count(make, (10, 12))
    assert cost.products == 3 * 8 * 9 * 120 + 8 * 9 * 30 + 40
    assert cost.other == 2 * 8 * 120 + 8 * 30
    assert cost.parameters == 3 * 8 * 9 + 8 + 16 + 72 + 8 + 45


def test_running_is_measured_in_a_process_of_its_own():
    spec = {'type': 'MIRAGEArch', 'dim': 6, 'num_blocks': [1, 1, 1, 1], 'num_refinement_blocks': 1}
    use = complexity.measure(spec, (128, 128), repeats=2)
    # The input of every block alone is 6 channels of 128 x 128 float32.
    assert 128 * 128 * 6 * 4 / 2**20 < use.eval_mb < use.train_mb < 2000
    assert 0 < use.seconds < 60 and use.device.startswith('CPU')


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="variant 'huge': allowed are tiny, small"):
        complexity.build('huge')
    (tmp_path / 'a.yml').write_text('name: a\n')
    with pytest.raises(ValueError, match=r'a\.yml: has no network_g'):
        complexity.network_options(tmp_path / 'a.yml')


def test_script(capsys):
    option_file = ROOT / 'options' / 'ablation' / 'no_contrast.yml'
    assert main(['--opt', str(option_file), '--count-only', '--format', 'csv']) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0]['parameters'] == '6,158,576' and rows[1]['network'] == 'AirNet (published, A100)'
    with pytest.raises(SystemExit):
        main(['--opt', str(ROOT / 'nothing.yml'), '--count-only'])
    assert 'nothing.yml' in capsys.readouterr().err

"""Tuning and measuring from the command line, on made-up photographs and an untrained network."""

import json
import sys
from importlib import import_module

import cv2
import numpy as np
import pytest
import torch
import yaml

from mirage_arch.checkpoints import save_weights
from mirage_arch.mirage_arch import MIRAGEArch

measure_restoration = import_module('research.restoration.measure')
tune_classical = import_module('research.classical.tune')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('a folder')
    (root / 'photographs').mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).random((40, 52, 3), np.float32)
        smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
        cv2.imwrite(str(root / 'photographs' / f'{number}.png'), np.rint(smooth))
    recipe = [{'degradation': 'snow'}, {'degradation': 'defocus_blur'}, {'degradation': 'clean'}]
    (root / 'recipe.yml').write_text(yaml.safe_dump({'datasets': {'train': {'recipe': recipe}}}))
    torch.manual_seed(0)
    net = MIRAGEArch(dim=12, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, heads=(1, 1, 1, 1))
    save_weights(net.state_dict(), root / 'net.safetensors')
    return root


def test_measuring_from_photographs_to_tables(root, capsys):
    command = [
        '--weights',
        str(root / 'net.safetensors'),
        '--cbsd68',
        str(root / 'photographs'),
        '--heldout',
        str(root / 'photographs'),
        '--clean',
        str(root / 'photographs'),
        '--recipe',
        str(root / 'recipe.yml'),
        '--methods',
        'ours',
        'oracle',
        '--device',
        'cpu',
        '--out',
        str(root / 'out'),
    ]
    assert measure_restoration.main(command) == 0
    first = capsys.readouterr().out
    assert '**held-out photographs**' in first and '**photographs, not degraded**' in first
    sets = {row['set']: row for row in json.loads((root / 'out' / 'restoration.json').read_text())['sets']}
    assert {'CBSD68_15', 'CBSD68_25', 'CBSD68_50', 'snow', 'defocus_blur', 'clean', 'clean photographs'} == set(sets)
    assert sets['CBSD68_25']['methods']['ours']['pictures'] == 2
    lines = (root / 'out' / 'scores.jsonl').read_text().count('\n')
    assert measure_restoration.main(command) == 0  # from the figures that are there
    assert capsys.readouterr().out == first
    assert (root / 'out' / 'scores.jsonl').read_text().count('\n') == lines


def test_a_model_of_the_package_and_the_choice_among_them(root, capsys):
    photographs, out = str(root / 'photographs'), str(root / 'named')
    command = ['--cbsd68', photographs, '--sets', '--methods', 'ours', '--out', out]
    found = {}
    for name in ('denoise', 'auto'):
        assert measure_restoration.main([*command, '--model', name]) == 0
        told = json.loads((root / 'named' / 'restoration.json').read_text())
        found[name] = told['about']['network'], told['sets'][1]['methods']['ours']['psnr']
        capsys.readouterr()
    assert found['denoise'][0].startswith('mirage_denoise.safetensors, SHA-256')
    assert found['auto'][0].startswith('auto, SHA-256') and found['auto'][0] != found['denoise'][0]
    assert found['auto'][1] == pytest.approx(found['denoise'][1])  # it takes that one for noise


def test_a_list_and_every_second_picture(root, capsys):
    (root / 'sets.yml').write_text(
        yaml.safe_dump(
            {
                'noise': {'gt': 'photographs', 'sigma': 25},
                'bars': {'gt': 'photographs', 'sigma': 25, 'bars': 0.25, 'against': 'noise'},
                'tiles': {'gt': 'photographs', 'tile': 32},
                'lost': {'gt': 'nowhere'},
            }
        )
    )
    command = [
        '--weights',
        str(root / 'net.safetensors'),
        '--list',
        str(root / 'sets.yml'),
        '--root',
        str(root),
        '--methods',
        'ours',
        '--device',
        'cpu',
        '--quick',
        '2',
        '--out',
        str(root / 'quick'),
    ]
    assert measure_restoration.main(command) == 0
    shown = capsys.readouterr()
    assert 'left out: lost: nowhere is in none of' in shown.err and 'one in 2 of each set' in shown.out
    sets = {row['set']: row for row in json.loads((root / 'quick' / 'restoration.json').read_text())['sets']}
    assert {name: row['pictures'] for name, row in sets.items()} == {'noise': 1, 'bars': 1, 'tiles': 1}
    assert '| bars | noise | 1 |' in shown.out
    assert measure_restoration.main([*command, '--listed', 'bars', 'fog']) == 2
    assert '--listed fog: not in' in capsys.readouterr().err


def test_tuning_writes_chains_and_fills_what_is_missing(root, capsys):
    out = root / 'tuned.yml'
    command = [
        '--photographs',
        str(root / 'photographs'),
        '--recipe',
        str(root / 'recipe.yml'),
        '--size',
        '32',
        '--out',
        str(out),
    ]
    assert tune_classical.main([*command, '--tasks', 'snow']) == 0
    chosen = yaml.safe_load(out.read_text())['tasks']
    assert list(chosen) == ['snow'] and chosen['snow']['psnr'] >= chosen['snow']['input_psnr'] - 20
    assert set(chosen['snow']['steps'][0]) <= {'median', 'bright_median', 'guided'}
    assert tune_classical.main([*command, '--tasks', 'snow', 'defocus_blur', '--missing']) == 0
    both = yaml.safe_load(out.read_text())['tasks']
    assert both['snow'] == chosen['snow'] and 'unsharp' in both['defocus_blur']['steps'][0]
    assert tune_classical.main([*command, '--tasks', 'fog']) == 2
    assert '--tasks fog: there are denoise_15' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (['--sets'], 'nothing to measure on'),
        (['--sets', '--methods', 'ours', '--cbsd68', 'photographs'], '--methods ours needs --weights or --model'),
        (['--sets', '--model', 'giant', '--cbsd68', 'photographs'], 'model must be one of'),
        (['--every', '0'], '--every 0: must be 1 or more'),
        (['--quick', '0'], '--quick 0: must be 1 or more'),
        (['--recipe', 'no_recipe.yml', '--heldout', 'photographs'], 'has no recipe and no datasets: train: recipe'),
        (['--cbsd68', 'absent'], 'absent'),
    ],
)
def test_what_cannot_work_is_said_at_once(root, monkeypatch, capsys, command, message):
    monkeypatch.chdir(root)
    (root / 'no_recipe.yml').write_text('name: x\n')
    assert measure_restoration.main([*command, '--out', str(root / 'unused')]) == 2
    assert message in capsys.readouterr().err
    assert not (root / 'unused').exists()


def test_a_missing_package_stops_with_its_name(root, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'bm3d', None)
    command = ['--methods', 'bm3d', '--cbsd68', str(root / 'photographs'), '--sets', '--out', str(root / 'none')]
    assert measure_restoration.main(command) == 2
    assert "pip install 'mirage-ir[classical]'" in capsys.readouterr().err

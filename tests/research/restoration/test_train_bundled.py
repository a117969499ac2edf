"""The stages of the bundled weights: their option files, and what goes from one to the next."""

from pathlib import Path

import pytest
import torch
import yaml

from mirage_arch import mirage_mini, mirage_nano
from mirage_arch.checkpoints import load_weights
from mirage_data.degradations.compose import parse_recipe
from mirage_data.files import plain_yaml
from mirage_ir.options.check import check_option_file
from research.restoration import mix_weights, train_bundled

STAGES, BASE = plain_yaml.load_file(train_bundled.STAGES), plain_yaml.load_file(train_bundled.BASE)


@pytest.fixture
def files(tmp_path):
    return train_bundled.option_files(STAGES, BASE, tmp_path)


def test_each_stage_differs_from_the_option_file_in_what_it_names(files, tmp_path):
    assert list(files) == [stage['name'] for stage in STAGES['stages']]
    for stage in STAGES['stages']:
        options = files[stage['name']]
        train = options['datasets']['train']
        network = BASE['network_g']
        if stage.get('deepened'):
            blocks = [2 * count for count in network['num_blocks']]
            network = {**network, 'num_blocks': blocks, 'num_refinement_blocks': 2 * network['num_refinement_blocks']}
        assert options['network_g'] == network
        if 'weights' in stage:
            assert [part.get('weight') for part in train['recipe']][: len(stage['weights'])] == stage['weights']
            assert parse_recipe(train['recipe']).entries
        else:
            assert [source['share'] for source in train['sources']] == [share for share in stage['shares'] if share]
            made = {key: share for key, share in zip(('detail', 'scenes'), stage['shares'][-2:]) if share}
            for source, key in zip(train['sources'][-len(made) :], made):
                extra = stage.get('extra', []) if key == 'scenes' else []
                weights = [weight for weight in stage[key] if weight] + [part['weight'] for part in extra]
                assert [part['weight'] for part in source['recipe']] == weights
                assert parse_recipe(source['recipe']).entries
    assert files['bundled_01']['path']['pretrain_network_g'] is None
    assert files['bundled_02']['path'] == {
        **BASE['path'],
        'pretrain_network_g': 'experiments/bundled_01/models/net_g_10000.pth',
        'param_key_g': 'params_ema',
    }
    assert files['bundled_10']['path']['pretrain_network_g'] == str(tmp_path / 'before_bundled_10.safetensors')


def test_the_option_check_finds_only_data_and_weights_that_are_not_there(files, tmp_path):
    for name in ('bundled_01', 'bundled_07', 'bundled_12', 'bundled_denoise', 'bundled_enhance', 'bundled_derain'):
        path = tmp_path / f'{name}.yml'
        path.write_text(yaml.safe_dump(files[name]))
        keys = {problem.key.split(':')[-1] for problem in check_option_file(path, root=tmp_path)}
        assert keys <= {'dataroot_gt', 'dataroot_lq', 'pretrain_network_g', '0', '1', '2', '3', '4'}, keys


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'weights': [1, 2]}, 'bundled_01: weights has 2 values, one for each of 12'),
        ({'from': 'bundled_09'}, "stage bundled_01: from: 'bundled_09' is no stage before it"),
    ],
)
def test_a_wrong_stage_is_named(change, message, tmp_path):
    stages = {**STAGES, 'stages': [{**STAGES['stages'][0], **change}]}
    with pytest.raises(ValueError, match=message):
        train_bundled.option_files(stages, BASE, tmp_path)


def test_finished_stages_are_passed_over_and_a_failed_one_ends_the_run(tmp_path, monkeypatch, capsys, files):
    monkeypatch.setattr(train_bundled, 'ROOT', tmp_path)
    trained = []

    def run(command, cwd, check):
        name = Path(command[command.index('-opt') + 1]).stem
        trained.append((name, command[command.index('-opt') + 2 :]))
        weights = tmp_path / train_bundled.trained(files[name])
        weights.parent.mkdir(parents=True)
        if name != 'bundled_09' or len(trained) > 10:
            torch.save({'params_ema': mirage_nano().state_dict()}, weights)
            return type('Done', (), {'returncode': 0})
        weights.parent.rmdir()
        return type('Done', (), {'returncode': 1})

    monkeypatch.setattr(train_bundled.subprocess, 'run', run)
    out = tmp_path / 'out'
    arguments = ['--out', str(out), '--set', 'train:total_iter=3']
    assert train_bundled.main(arguments) == 1
    names = [stage['name'] for stage in STAGES['stages']]
    assert [name for name, _ in trained] == names[:9]
    assert trained[0][1] == ['--auto_resume', '--force_yml', 'train:total_iter=3']
    assert 'bundled_09 did not come to its end' in capsys.readouterr().err
    trained += [('', [])] * 2
    assert train_bundled.main(arguments) == 0
    assert [name for name, _ in trained[11:]] == names[8:]
    assert (out / 'before_bundled_10.safetensors').is_file()
    deeper = load_weights(out / 'before_bundled_mini.safetensors')
    assert deeper.keys() == mirage_mini(spd_head=False).state_dict().keys()
    models = {file.name for file in out.glob('mirage_*.safetensors')}
    assert models == {f'mirage_{name}.safetensors' for name in STAGES['package']} and len(models) > 1
    assert not any(name.startswith(mix_weights.HEADS) for name in load_weights(out / 'mirage_denoise.safetensors'))
    assert train_bundled.main(['--stages', 'bundled_0']) == 2


def test_what_a_mixture_lacks_is_said_and_nothing_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_bundled, 'ROOT', tmp_path)
    monkeypatch.setattr(train_bundled.subprocess, 'run', lambda *_, **__: pytest.fail('trained'))
    assert train_bundled.main(['--out', str(tmp_path / 'out'), '--stages', 'bundled_mini']) == 1
    assert 'net_g_4352.pth: no such weights file' in capsys.readouterr().err


def test_the_table_of_stages(capsys):
    assert train_bundled.main(['--list']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == '| bundled_01 | nothing | 10,000 | 64x64 | 8 | 0.001 | 0.999 |'
    assert len(lines) == 2 + len(STAGES['stages'])

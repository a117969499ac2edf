"""The choice among models is trained on what each of them makes of a few crops."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mirage_restore.choice import VIEW, Chooser, read_choice
from research.restoration import train_choice as script


class Noisy:
    """Grey squares with noise, or too dark."""

    def __len__(self):
        return 1000

    def __getitem__(self, i):
        rng = np.random.default_rng(i)
        gt = np.full((3, VIEW, VIEW), rng.uniform(0.4, 0.9), np.float32)
        gt[:, :, : int(rng.integers(20, 170))] *= 0.5
        dark = i % 2
        lq = gt * 0.2 if dark else np.clip(gt + rng.normal(0, 0.1, gt.shape), 0, 1)
        task = 'enhance' if dark else 'denoise'
        return {'lq': torch.from_numpy(lq).float(), 'gt': torch.from_numpy(gt), 'task': task}


MODELS = {
    'nano': lambda view: view,
    'denoise': lambda view: torch.nn.functional.avg_pool2d(view, 5, 1, 2, count_include_pad=False),
    'enhance': lambda view: (5 * view).clamp(0, 1),
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(script, 'mixture', lambda count, seed: Noisy())
    monkeypatch.setattr(script, 'models', lambda: list(MODELS))
    monkeypatch.setattr(script, 'bundled_weights', lambda name: tmp_path / name)
    monkeypatch.setattr(script, '_network', lambda name: MODELS[name])
    for name in MODELS:
        (tmp_path / name).write_text(name)
    return tmp_path


def test_the_right_model_is_learned_and_written(made, capsys):
    folder = made / 'choice'
    assert script.main(['--folder', str(folder), '--count', '30', '--seeds', '1', '2']) == 0
    table = capsys.readouterr().out
    rows = {line.split('|')[1].strip(): [cell.strip() for cell in line.split('|')[2:-1]] for line in table.splitlines()}
    heads = rows['task']
    of = {task: dict(zip(heads, cells)) for task, cells in rows.items()}
    assert of['all']['crops'] == '60'
    for task in ('denoise', 'enhance'):
        assert float(of[task]['auto']) == pytest.approx(float(of[task]['best of each']), abs=0.2)
        assert float(of[task]['auto']) > float(of[task]['nano']) + 3
    assert (folder / 'choice.md').read_text().strip() in table
    choice = read_choice(folder / 'choice.safetensors')
    choose = Chooser(choice, list(MODELS.values()))
    assert choice.models == tuple(MODELS)
    for i in (900, 901, 902, 903):
        sample = Noisy()[i]
        assert choose([sample['lq'][None]]) == sample['task']


def test_what_is_there_is_not_made_again(made, monkeypatch):
    folder = made / 'choice'
    assert script.main(['--folder', str(folder), '--count', '50']) == 0
    first = load_file(folder / 'choice.safetensors')

    def fails(*_):
        raise AssertionError('made again')

    monkeypatch.setattr(script, 'mixture', fails)
    monkeypatch.setattr(script, '_network', fails)
    assert script.main(['--folder', str(folder), '--count', '50']) == 0
    again = load_file(folder / 'choice.safetensors')
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_crops_of_another_mixture_or_number_are_not_mixed_in(made, monkeypatch, capsys):
    folder = made / 'choice'
    arguments = ['--folder', str(folder), '--seeds', '1', '--count']
    assert script.main([*arguments, '20']) == 0
    assert script.main([*arguments, '40']) == 2
    assert f'{folder}: has crops already, 20 for each seed; name another --folder' in capsys.readouterr().err
    monkeypatch.setattr(script, 'recipe', lambda: {'sources': []})
    assert script.main([*arguments, '20']) == 2
    assert 'of another mixture' in capsys.readouterr().err
    (folder / 'crops.json').unlink()
    assert script.main([*arguments, '20']) == 2


def test_a_gain_counts_within_its_limits():
    psnr = np.array([[20.0, 25.0, 50.0, 3.0]])
    samples = script.Samples(torch.zeros(1, 3), psnr, np.array(['clean']))
    assert samples.gains.tolist() == [[0.0, 4.0, -20.0]]

"""A search for channel ratios under `MIRAGEModel`, and the report of what came out."""

import csv
import json
from pathlib import Path

import pytest
import torch
from model_setup import build, test_options, train, training_options

from mirage_arch.checkpoints import load_network
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_arch.ratio_search import discrete_ratios, load_search
from research.ratios import report as ratio_report

ROOT = Path(__file__).resolve().parents[3]
SEARCH = {'type': 'RatioSearchArch', 'harden_at': 0.5, 'ratio_gain': 30.0}


@pytest.fixture(scope='module')
def experiment(tmp_path_factory):
    """Folder of a search of 4 iterations, half of them with whole channels, and its model."""
    folder = tmp_path_factory.mktemp('experiments') / 'my search'
    model = build(training_options(folder, network=SEARCH, total_iter=4, ema_decay=0.5))
    before = model.net_g.shares().detach().clone()
    progress = []
    for iteration in range(4):
        train(model, 1, start=iteration)
        progress.append((model.net_g.ratio_progress.item(), bool(model.net_g.ratio_widths.any())))
    (folder / 'models').mkdir(parents=True)
    model.save(epoch=0, current_iter=4)
    return folder, model, before, progress


def test_the_model_tells_the_network_how_far_the_run_is(experiment):
    _, model, before, progress = experiment
    assert progress == [(0.25, False), (0.5, True), (0.75, True), (1.0, True)]
    assert not torch.allclose(model.net_g.shares(), before, atol=1e-4), 'the shares train'
    assert torch.equal(model.net_g_ema.ratio_widths, model.net_g.ratio_widths), 'the average has the same channels'


def test_weights_of_a_search_can_be_tested(experiment, tmp_path):
    folder, model, *_ = experiment
    tested = build(test_options(tmp_path, str(folder / 'models' / 'net_g_4.pth'), network=SEARCH))
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(tested.net_g.eval()(x), model.net_g_ema.eval()(x))


def test_report_of_two_runs(experiment, tmp_path, capsys):
    folder, model, *_ = experiment
    out = tmp_path / 'with space' / 'ratios'
    assert (
        ratio_report.main([str(folder), f'rain={folder / "models" / "net_g_4.pth"}', '--out', str(out), '--export'])
        == 0
    )
    printed = capsys.readouterr().out
    widths = discrete_ratios(model.net_g)
    assert f'branch_ratio: {[list(level) for level in widths]}' in printed
    assert f'| my search | 4 | 48 | {widths[3][0]} ({widths[3][0] / 48:.0%}) |' in printed
    with open(f'{out}.csv', newline='', encoding='utf-8') as file:
        lines = list(csv.DictReader(file))
    assert [(line['run'], line['level']) for line in lines] == [
        (n, str(i)) for n in ('my search', 'rain') for i in (1, 2, 3, 4)
    ]
    content = json.loads(Path(f'{out}.json').read_text(encoding='utf-8'))
    assert content[0]['widths'] == [list(level) for level in widths] and content[0]['fixed']
    assert Path(f'{out}.png').stat().st_size > 5000

    net = load_network(f'{out}_rain.pth')
    assert type(net) is MIRAGEArch
    even = MIRAGEArch(dim=6, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, heads=(1, 1, 2, 4), spd_head=False)
    assert content[0]['parameters_even'] == sum(p.numel() for p in even.parameters())
    assert content[0]['parameters'] == sum(
        p.numel() for n, p in net.named_parameters() if not n.startswith(('spd_', 'reduce_shallow', 'reduce_latent'))
    )
    x = torch.rand(1, 3, 24, 16)
    with torch.no_grad():
        expected = load_search(folder / 'models' / 'net_g_4.pth')(x)
        assert (net(x) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_the_last_weights_of_a_folder_are_taken(tmp_path):
    for name in ('net_g_5.pth', 'net_g_10.pth'):
        (tmp_path / name).touch()
    assert ratio_report.find_weights(tmp_path).name == 'net_g_10.pth'
    (tmp_path / 'net_g_latest.pth').touch()
    assert ratio_report.find_weights(tmp_path).name == 'net_g_latest.pth'


def test_bad_input_is_one_line(experiment, tmp_path, capsys):
    folder, model, *_ = experiment
    (tmp_path / 'empty').mkdir()
    torch.save({'params': MIRAGEArch(dim=6, num_blocks=(1, 1, 1, 1)).state_dict()}, tmp_path / 'ordinary.pth')
    broken = {**model.net_g.state_dict(), 'ratio_logits': torch.full((4, 3), torch.nan)}
    torch.save({'params': broken}, tmp_path / 'broken.pth')
    for arguments, message in (
        ([str(tmp_path / 'gone')], 'no such weights file'),
        ([str(tmp_path / 'empty')], 'holds no weights'),
        ([str(tmp_path / 'ordinary.pth')], 'no learned ratios'),
        ([str(tmp_path / 'broken.pth')], 'NaN or infinity'),
        ([str(folder), str(folder)], 'name them'),
    ):
        assert ratio_report.main([*arguments, '--out', str(tmp_path / 'out')]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1

import numpy as np
import pytest

from mirage_ir.commands import curves as plot_training
from mirage_ir.measuring import curves as training_curves
from mirage_ir.measuring.curves import Run, draw, load_run, smoothed

LINE = (
    '2026-01-02 03:04:05,678 INFO: [demo..][epoch:  1, iter:{:8,d}, lr:({:.3e},)] [eta: 1 day, 2:03:04, '
    'time (data): 0.051 (0.001)] l_pix: {:.4e} l_spd: nan spd/positive_cosine: -1.5000e-01 \n'
)


def log(folder, name, entries):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['2026-01-02 INFO: Start training from epoch: 0, iter: 0\n', *(LINE.format(*e) for e in entries)]
    (folder / f'train_demo_{name}.log').write_text(''.join(lines))


@pytest.fixture
def experiment(tmp_path):
    folder = tmp_path / 'experiments' / 'demo run'
    log(folder, '20260101_000000', [(100, 2e-4, 0.5), (1200, 1e-4, 0.4), (1300, 1e-4, 0.35)])
    log(folder, '20260102_000000', [(1250, 5e-5, 0.3)])
    (folder / 'validation.csv').write_text(
        'iter,dataset,task,metric,value\n100,SOTS,dehaze,psnr,20.5\n'
        '1250,SOTS,dehaze,psnr,22.5\n100,SOTS,dehaze,input_psnr,15\n'
        '100,LOL,enhance,psnr,17.5\n'
    )
    return folder


def test_a_resumed_run_replaces_what_it_repeated(experiment):
    run = load_run(experiment)
    assert run.name == 'demo run'
    assert run.scalars['l_pix'] == {100: 0.5, 1200: 0.4, 1250: 0.3}
    assert run.scalars['lr'] == {100: 2e-4, 1200: 1e-4, 1250: 5e-5}
    assert run.scalars['spd/positive_cosine'][100] == -0.15
    assert set(run.scalars) == {'l_pix', 'lr', 'l_spd', 'spd/positive_cosine'}, 'times are no figures'
    assert run.validation[('SOTS', 'dehaze', 'psnr')] == {100: 20.5, 1250: 22.5}


def test_the_line_of_the_log_is_the_one_the_trainer_writes(tmp_path, caplog):
    from mirage_ir.training.diagnostics import ProgressLogger

    opt = {'name': 'demo', 'logger': {'print_freq': 1, 'use_tb_logger': False}, 'train': {'total_iter': 2000}}
    progress = ProgressLogger(opt, 1, None)
    lines = []
    progress.logger = type('Keep', (), {'info': staticmethod(lines.append)})
    progress({'epoch': 3, 'iter': 1500, 'lrs': [1.5e-4], 'time': 0.1, 'data_time': 0.01, 'l_pix': 0.125})
    tmp_path.joinpath('train_demo_1.log').write_text(''.join(lines))
    assert load_run(tmp_path).scalars == {'lr': {1500: 1.5e-4}, 'l_pix': {1500: 0.125}}


def test_events_serve_where_there_is_no_log(experiment):
    from torch.utils.tensorboard import SummaryWriter

    for old in experiment.glob('*.log'):
        old.unlink()
    with SummaryWriter(str(experiment.parent.parent / 'tb_logger' / 'demo run')) as writer:
        writer.add_scalar('losses/l_pix', 0.25, 7)
        writer.add_scalar('progress/lr', 0.5, 7)
    assert load_run(experiment).scalars == {'l_pix': {7: 0.25}, 'lr': {7: 0.5}}
    assert load_run(experiment, 'log').scalars == {}


def test_smoothing_is_a_weighted_mean_of_the_past():
    np.testing.assert_allclose(smoothed([1, 3, 5], 0.5), [1, (1 + 6) / 3, (1 + 6 + 20) / 7])
    np.testing.assert_array_equal(smoothed([4, 2], 0), [4, 2])
    np.testing.assert_allclose(smoothed([1, np.nan, 1], 0.9), [1, 1, 1])
    with pytest.raises(ValueError, match=r'in \[0, 1\)'):
        smoothed([1], 1)


def test_panels_of_two_runs(experiment):
    first = load_run(experiment)
    second = Run('other', {'l_pix': {1: 0.1}}, {})
    figure = draw([first, second])
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ['l_pix', 'l_spd', 'learning rate', 'psnr, dehaze', 'psnr, enhance']
    dehaze = figure.axes[3].lines
    assert [list(line.get_ydata()) for line in dehaze] == [[20.5, 22.5], [15.0, 15.0]]
    assert len(figure.axes[0].lines) == 4, 'as logged and smoothed, for both'
    with pytest.raises(ValueError, match="'lpips'; there are psnr"):
        draw([first], metrics=['lpips'])
    with pytest.raises(ValueError, match='at least one'):
        draw([])


def test_the_command(experiment, tmp_path, capsys):
    out = tmp_path / 'a.b'
    assert plot_training.main([str(experiment), f'copy={experiment}', '--out', str(out)]) == 0
    assert (tmp_path / 'a.b.png').stat().st_size > 1000
    table = (tmp_path / 'a.b.csv').read_text().splitlines()
    assert 'copy,1250,SOTS,dehaze,psnr,22.5' in table and 'demo run,100,,,l_pix,0.5' in table
    (tmp_path / 'empty').mkdir()
    assert plot_training.main([str(tmp_path / 'empty')]) == 1
    (experiment / 'validation.csv').write_text('iter,dataset,task,metric,value\n1,a,b,psnr\n')
    assert plot_training.main([str(experiment)]) == 1
    text = capsys.readouterr().err
    assert 'empty: no iteration' in text and 'validation.csv: line 2' in text


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match='neither losses'):
        draw([training_curves.Run('bare', {'time': {1: 2.0}})])

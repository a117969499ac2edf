"""Some of the tasks: what stays of a run, and how long it becomes."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from small_run import make_options, make_pictures

from mirage_arch.checkpoints import load_network
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_ir.commands.convert import main as convert
from mirage_ir.commands.run import train as main
from mirage_ir.options.check import check_option_file
from mirage_ir.training.selection import Selection, SelectionError, data_notes, training_notes, write_training_data

OPTIONS = Path(__file__).resolve().parents[3] / 'options'


def five():
    return yaml.safe_load((OPTIONS / 'train_mirage_5deg.yml').read_text(encoding='utf-8'))


def names(options):
    sets = options['datasets']
    tasks = [source['task'] for source in sets['train']['sources']]
    return tasks, [row['name'] for phase, row in sets.items() if phase != 'train']


def test_without_shortens_the_run_by_the_samples_that_are_gone():
    options = five()
    notes = Selection(without=('dehaze', 'deblur')).apply(options)
    kept, sets = names(options)
    assert kept == ['denoise_15', 'denoise_25', 'denoise_50', 'derain', 'enhance']
    assert sets == ['Rain100L', 'BSD68_25', 'LOL']
    # 3 x 15,432 + 24,000 + 9,700 of 162,646 samples an epoch
    part = (3 * 15432 + 24000 + 9700) / (3 * 15432 + 24000 + 72135 + 10515 + 9700)
    assert options['train']['total_iter'] == round(762300 * part) == 374931
    assert options['train']['warmup_iter'] == round(76230 * part)
    text = ' '.join(notes)
    assert 'dehaze, deblur' in text and 'SOTS, GoPro' in text and '762,300 -> 374,931' in text


def test_only_takes_a_task_by_its_kind_or_a_set_by_its_name():
    options = five()
    Selection(only=('denoise',)).apply(options)
    assert names(options) == (['denoise_15', 'denoise_25', 'denoise_50'], ['BSD68_25'])
    options = five()
    Selection(only=('denoise_25', 'RAIN100L', 'derain')).apply(options)
    assert names(options) == (['denoise_25', 'derain'], ['Rain100L', 'BSD68_25'])


def test_forced_iterations_stay():
    options = five()
    options['train']['total_iter'] = 1000
    notes = Selection(only=('derain',)).apply(options, ['train:total_iter=1000'])
    assert options['train']['total_iter'] == 1000 and 'stays 1,000' in ' '.join(notes)


def test_schedules_follow_and_unknown_sizes_are_said(tmp_path):
    make_pictures(tmp_path / 'a', 3)
    options = {
        'datasets': {
            'train': {
                'sources': [
                    {'task': 'x', 'dataroot_gt': str(tmp_path / 'a'), 'sigma': [1, 2], 'repeat': 2},
                    {'task': 'y', 'dataroot_gt': str(tmp_path / 'a'), 'sigma': 5, 'repeat': 4},
                    {'task': 'z', 'dataroot_gt': str(tmp_path / 'absent'), 'sigma': 5},
                ]
            }
        },
        'train': {'total_iter': 100, 'scheduler': {'periods': [30, 70], 'milestones': [10]}},
    }
    notes = Selection(without=('z',)).apply(options)
    assert options['train']['total_iter'] == 100 and 'z would have had is not known' in ' '.join(notes)
    Selection(without=('y',)).apply(options)
    assert options['train'] == {'total_iter': 50, 'scheduler': {'periods': [15, 35], 'milestones': [5]}}


@pytest.mark.parametrize(
    'selection, message',
    [
        (Selection(only=('derian',)), '--only derian: no such task.*denoise_15.*enhance'),
        (Selection(without=('denoise', 'derain', 'dehaze', 'deblur', 'enhance')), 'leaves no training data'),
        (Selection(only=('SOTS',)), 'leaves no training data'),
    ],
)
def test_what_does_not_fit_is_refused(selection, message):
    with pytest.raises(SelectionError, match=message):
        selection.apply(five())


def test_the_check_looks_only_at_what_stays_and_still_names_lines(tmp_path):
    options = make_options(tmp_path)
    here = str(tmp_path / 'pictures' / 'train')
    options['datasets']['train']['sources'] = [
        {'task': 'gone', 'dataroot_gt': str(tmp_path / 'not_there'), 'sigma': 5},
        {'task': 'stays', 'dataroot_gt': here, 'sigma': 25, 'repeat': 0},
    ]
    file = tmp_path / 'run.yml'
    file.write_text(yaml.safe_dump(options), encoding='utf-8')
    problems = check_option_file(file, is_train=True, root=tmp_path, selection=Selection(without=('gone',)))
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if 'repeat: 0' in text)
    assert [(problem.key.split(':')[-1], problem.line) for problem in problems] == [('repeat', line)]
    problems = check_option_file(file, is_train=True, root=tmp_path, selection=Selection(only=('derain',)))
    assert [problem.file for problem in problems if 'no such task' in problem.message] == ['--only']


def test_incomplete_training_data_are_told_with_every_figure(tmp_path):
    class Mixture:
        def ratios(self):
            return [
                {
                    'task': 'derain',
                    'images': 2,
                    'published': 200,
                    'titles': 'Rain100L',
                    'percent': 100.0,
                    'published_percent': 60.0,
                }
            ]

    run = tmp_path / 'experiments' / 'run'
    opt = {'path': {'experiments_root': str(run)}, 'left_out': 'no dehaze'}
    of_run = training_notes(opt, Mixture(), None)
    write_training_data(opt, Mixture(), of_run)
    make_pictures(tmp_path / 'test' / 'denoise' / 'bsd68', 2)
    test_set = {'name': 'BSD68_25', 'dataroot_gt': str(tmp_path / 'test/denoise/bsd68'), 'sigma': 25}
    weights = str(run / 'models' / 'net_g_latest.pth')
    notes = data_notes({'path': {'pretrain_network_g': weights}, 'datasets': {'test_1': test_set}})
    first, second = notes['trained on incomplete data']
    assert first == 'no dehaze' and second.startswith('derain has 2 of the 200 samples of Rain100L')
    assert notes['incomplete test sets'] == ['BSD68_25 2 of 68']
    elsewhere = {'path': {'pretrain_network_g': str(tmp_path / 'a.pth')}, 'datasets': {}}
    assert data_notes(elsewhere) == {}
    torch.save({'params': {}, 'data_notes': of_run}, tmp_path / 'a.pth')  # weights alone, out of their folder
    assert data_notes(elsewhere) == {'trained on incomplete data': of_run}
    weights = MIRAGEArch(dim=6, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, heads=(1, 1, 2, 4)).state_dict()
    torch.save({'params': weights, 'data_notes': of_run}, tmp_path / 'a.pth')
    for source, target in (('a.pth', 'b.safetensors'), ('b.safetensors', 'c.pth')):
        assert convert([str(tmp_path / source), str(tmp_path / target)]) == 0
        elsewhere['path']['pretrain_network_g'] = str(tmp_path / target)
        assert data_notes(elsewhere) == {'trained on incomplete data': of_run}
        assert load_network(tmp_path / target).state_dict().keys() == weights.keys()
    # what was incomplete at first stays said when the run goes on with everything
    state = {'iter': 1200, 'notes': ['no dehaze', second, 'until iteration 600: x']}
    later = training_notes({}, Mixture(), state)
    assert later == [second, 'until iteration 1,200: no dehaze', 'until iteration 600: x']


def test_a_run_without_a_task_trains_the_rest_and_says_so(tmp_path, monkeypatch):
    options = make_options(tmp_path, train={'total_iter': 8})
    options['datasets']['train']['sources'].append(
        {
            'task': 'derain',
            'dataroot_gt': 'pictures/train',
            'dataroot_lq': 'absent/datasets/Train/Derain/rainy',
            'repeat': 120,
        },
    )
    options['datasets']['train']['sources'][0]['repeat'] = 24000 // 7 // 3
    (tmp_path / 'small.yml').write_text(yaml.safe_dump(options))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='2'):  # its folder is not there
        main(['-opt', 'small.yml'], root=str(tmp_path))
    assert main(['-opt', 'small.yml', '--without', 'derain'], root=str(tmp_path)) == 0
    run = tmp_path / 'experiments' / 'small'
    (log,) = run.glob('train_*.log')
    assert 'total_iter 8 -> 2' in log.read_text()  # a quarter of the samples
    for name in ('net_g_2.pth', 'net_g_latest.pth'):
        assert 'derain' in torch.load(run / 'models' / name, weights_only=True)['data_notes'][0]
    kept = json.loads((run / 'training_data.json').read_text())
    assert [row['task'] for row in kept['sources']] == ['denoise_25'] and 'derain' in kept['notes'][0]

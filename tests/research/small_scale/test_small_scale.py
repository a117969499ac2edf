import csv
import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_run import make_options

import mirage_ir  # noqa: F401
from research.small_scale import run as run_small_ablation
from research.small_scale import variants as small_scale
from research.small_scale.run import AVERAGE, draw, markdown, summarise, write

ROOT = Path(__file__).resolve().parents[3]

ABLATIONS = ROOT / 'options' / 'ablation'
PAPER = ROOT / 'options' / 'train_mirage_3deg.yml'
BASE = ROOT / 'options' / 'small_scale' / 'base.yml'


def tiny_options(root, iterations=2):
    options = make_options(
        root,
        train={'total_iter': iterations, 'warmup_iter': 1},
        val={'val_freq': iterations},
        logger={'save_checkpoint_freq': 1, 'keep_checkpoints': 3},
    )
    options['network_g'].update(fusion=True)
    options['val']['input_metrics'] = True
    options['datasets']['val_2'] = {**options['datasets']['val'], 'name': 'val_50', 'sigma': 50}
    for data in options['datasets'].values():
        for part in [data, *data.get('sources', [])]:
            if 'dataroot_gt' in part:
                part['dataroot_gt'] = str(root / part['dataroot_gt'])
    return options


@pytest.fixture
def project(tmp_path):
    """A folder with a space in its name, a tiny base experiment, and two ablations of another experiment."""
    root = tmp_path / 'my project'
    root.mkdir()
    (root / 'base.yml').write_text(yaml.safe_dump(tiny_options(root)))
    paper = {'name': 'paper', 'network_g': {'dim': 24, 'fusion': True}, 'train': {'spd_opt': {'type': 'x'}, 'n': 1}}
    (root / 'paper.yml').write_text(yaml.safe_dump(paper))
    (root / 'ablation').mkdir()
    no_fusion = {**paper, 'name': 'no_fusion', 'network_g': {'dim': 24, 'fusion': False}}
    (root / 'ablation' / 'no_fusion.yml').write_text(yaml.safe_dump(no_fusion))
    return root


def run_script(root, *words):
    return run_small_ablation.main(
        [
            '--base',
            str(root / 'base.yml'),
            '--ablations',
            str(root / 'ablation'),
            '--out',
            str(root / 'out'),
            '--compared-with',
            str(root / 'paper.yml'),
            '--threads',
            '1',
            *words,
        ]
    )


def a_run(root, **changes):
    options = tiny_options(root, **changes)
    return small_scale.plan(options, {'base': {}}, [3], root)[0]


def test_two_variants_two_seeds_and_what_is_done_is_kept(project, capsys):
    assert run_script(project, '--variants', 'no_fusion', '--seeds', '0') == 0
    first = (project / 'out' / 'experiments' / 'base_seed0' / 'validation.csv').stat().st_mtime_ns
    assert run_script(project, '--variants', 'no_fusion', '--seeds', '0', '1') == 0
    assert (project / 'out' / 'experiments' / 'base_seed0' / 'validation.csv').stat().st_mtime_ns == first
    content = json.loads((project / 'out' / 'ablation.json').read_text())
    assert {name: sorted(runs) for name, runs in content['runs'].items()} == {
        'base': ['0', '1'],
        'no_fusion': ['0', '1'],
    }
    # another seed is another network, and the test images stay as they are
    assert content['runs']['base']['0'] != content['runs']['base']['1']
    inputs = []
    for seed in (0, 1):
        with (project / 'out' / 'experiments' / f'base_seed{seed}' / 'validation.csv').open() as file:
            of_input = [row for row in csv.DictReader(file) if row['metric'] == 'input_psnr']
        inputs.append({row['dataset']: row['value'] for row in of_input})
    assert list(inputs[0]) == ['val', 'val_50', AVERAGE] and inputs[0] == inputs[1]
    assert list(content['runs']['base']['0']) == ['val', 'val_50']
    with (project / 'out' / 'ablation.csv').open() as file:
        rows = [(row['variant'], row['column']) for row in csv.DictReader(file)]
    assert rows == [(v, c) for v in ('base', 'no_fusion') for c in ('val', 'val_50', AVERAGE)]
    for variant, fusion in (('base', True), ('no_fusion', False)):
        options = yaml.safe_load((project / 'out' / 'options' / f'{variant}_seed1.yml').read_text())
        assert options['network_g']['fusion'] is fusion
        assert (options['network_g']['dim'], options['manual_seed']) == (6, 1)
    assert (project / 'out' / 'ablation.png').stat().st_size > 1000
    assert '| no_fusion | 2 |' in (project / 'out' / 'ablation.md').read_text()
    capsys.readouterr()
    assert run_script(project, '--variants', 'no_fusion', '--metric', 'sharpness', '--table-only') == 2
    assert "'sharpness'" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_and_ends_the_same(project):
    run = a_run(project, iterations=3)
    out = project / 'out'
    assert small_scale.scores_of(run, out) is None
    small_scale.carry_out(run, out, threads=1)
    scores = small_scale.scores_of(run, out)
    folder = out / 'experiments' / run.name
    weights = (folder / 'models' / 'net_g_3.pth').read_bytes()
    (folder / 'validation.csv').unlink()
    (folder / 'training_states' / '3.state').unlink()
    assert small_scale.scores_of(run, out) is None
    small_scale.carry_out(run, out, threads=1)
    assert small_scale.scores_of(run, out) == scores
    assert (folder / 'models' / 'net_g_3.pth').read_bytes() == weights
    assert 'iter: 2' in (out / 'logs' / f'{run.name}.txt').read_text()
    with pytest.raises(ValueError, match=r'made with other options \(train:total_iter'):
        small_scale.scores_of(a_run(project, iterations=4), out)


def test_a_signal_is_passed_on_and_the_run_saves(project):
    run = a_run(project, iterations=100_000)
    states = project / 'out' / 'experiments' / run.name / 'training_states'

    ended = threading.Event()

    def stop_when_training():
        while not list(states.glob('*.state')):
            if ended.wait(0.02):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=stop_when_training)
    watcher.start()
    try:
        with pytest.raises(SystemExit) as stopped:
            small_scale.carry_out(run, project / 'out', threads=1)
    finally:
        ended.set()
        watcher.join()
    assert stopped.value.code == 128 + signal.SIGTERM
    text = (project / 'out' / 'logs' / f'{run.name}.txt').read_text()
    assert 'Stopped by SIGTERM after iteration' in text
    assert max(int(path.stem) for path in states.glob('*.state')) > 0


def test_a_failed_run_is_named_and_leaves_the_others(project, capsys):
    broken = {
        'name': 'b',
        'network_g': {'dim': 24, 'fusion': True, 'heads': [5, 1, 1, 1]},
        'train': {'spd_opt': {'type': 'x'}, 'n': 1},
    }
    (project / 'ablation' / 'broken.yml').write_text(yaml.safe_dump(broken))
    assert run_script(project, '--variants', 'broken', '--seeds', '0') == 1
    printed = capsys.readouterr().out
    assert 'broken_seed0 ended with 2' in printed and 'ablation.md' in printed


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('no_fusion', {('network_g', 'fusion'): False}),
        ('static_conv', {('network_g', 'dynamic_conv'): False}),
        ('euclidean_contrast', {('network_g', 'contrast'): 'euclidean'}),
    ],
)
def test_changes_are_those_that_the_file_makes(name, expected):
    assert small_scale.changes_of(name, ABLATIONS, PAPER) == expected


@pytest.mark.parametrize('path', sorted(ABLATIONS.glob('*.yml')), ids=lambda path: path.stem)
def test_every_ablation_of_the_paper_can_be_had_small(path):
    from basicsr.archs import build_network
    from basicsr.losses import build_loss

    base = small_scale.read_options(BASE)
    changes = small_scale.changes_of(path.stem, ABLATIONS, PAPER)
    options = small_scale.changed(base, changes)
    assert options != base and base == small_scale.read_options(BASE)
    kept = small_scale.changes_between(base, options)
    assert {key[:2] for key in kept} == {key[:2] for key in changes}
    build_network(options['network_g'])
    for key, loss in options['train'].items():
        if key.endswith('_opt'):
            build_loss(loss)
    if path.stem == 'no_contrast':
        assert 'spd_opt' not in options['train'] and options['network_g']['spd_head'] is False


def test_variants_that_cannot_be_compared_are_refused(project):
    with pytest.raises(ValueError, match=r"'no_fuson'.*there are base, no_fusion"):
        small_scale.changes_of('no_fuson', project / 'ablation', project / 'paper.yml')
    longer = {
        'name': 'l',
        'network_g': {'dim': 24, 'fusion': True},
        'train': {'spd_opt': {'type': 'x'}, 'n': 1, 'total_iter': 9},
    }
    (project / 'ablation' / 'longer.yml').write_text(yaml.safe_dump(longer))
    with pytest.raises(ValueError, match=r'longer\.yml: train:total_iter'):
        small_scale.changes_of('longer', project / 'ablation', project / 'paper.yml')
    with pytest.raises(ValueError, match='no such option file'):
        small_scale.read_options(project / 'absent.yml')
    base = small_scale.read_options(project / 'base.yml')
    with pytest.raises(ValueError, match=r'seeds: \[1, 1\]'):
        small_scale.plan(base, {'base': {}}, [1, 1], project)
    base['val']['val_freq'] = 3
    with pytest.raises(ValueError, match='val_freq: 3 does not divide'):
        small_scale.plan(base, {'base': {}}, [0], project)


def made_up_scores():
    rng = np.random.default_rng(0)
    table = rng.normal(25, 1, (3, 3, 2))  # variants, seeds, data sets
    scores = {
        variant: {seed: dict(zip(('a', 'b'), table[i, seed].tolist())) for seed in range(3)}
        for i, variant in enumerate(('base', 'x', 'y'))
    }
    return table, scores


def test_means_spreads_and_differences_are_numpys():
    table, scores = made_up_scores()
    with_average = np.concatenate([table, table.mean(2, keepdims=True)], 2)
    cells = {(cell.variant, cell.column): cell for cell in summarise(scores)}
    assert len(cells) == 9
    for i, variant in enumerate(('base', 'x', 'y')):
        for j, column in enumerate(('a', 'b', AVERAGE)):
            cell, own, theirs = cells[variant, column], with_average[i, :, j], with_average[0, :, j]
            assert cell.mean == pytest.approx(own.mean(), abs=1e-12)
            assert cell.spread == pytest.approx(np.ptp(own), abs=1e-12)
            if variant != 'base':
                assert cell.difference == pytest.approx(own.mean() - theirs.mean(), abs=1e-12)
                assert cell.threshold == pytest.approx(max(np.ptp(own), np.ptp(theirs)), abs=1e-12)
                expected = (
                    'within spread'
                    if abs(cell.difference) <= cell.threshold
                    else ('better' if cell.difference > 0 else 'worse')
                )
                assert cell.verdict == expected


def test_verdicts():
    scores = {
        'base': {0: {'a': 20.0}, 1: {'a': 20.5}},
        'up': {0: {'a': 21.0}, 1: {'a': 21.1}},
        'down': {0: {'a': 19.0}, 1: {'a': 19.1}},
        'same': {0: {'a': 20.6}, 1: {'a': 20.7}},
        'lone': {1: {'a': 30.0}},
    }
    found = {c.variant: (c.verdict, c.difference) for c in summarise(scores) if c.column == 'a'}
    assert {name: verdict for name, (verdict, _) in found.items()} == {
        'base': 'base',
        'up': 'better',
        'down': 'worse',
        'same': 'within spread',
        'lone': 'one seed',
    }
    assert found['lone'][1] == pytest.approx(9.5), 'against the base of that seed'
    lower = {c.variant: c.verdict for c in summarise(scores, higher_is_better=False) if c.column == 'a'}
    assert (lower['up'], lower['down']) == ('worse', 'better')
    with pytest.raises(ValueError, match="no figures of 'base'"):
        summarise({'x': scores['up']})
    with pytest.raises(ValueError, match='none in common'):
        summarise({'base': {0: {'a': 1.0}}, 'x': {1: {'a': 1.0}}})
    with pytest.raises(ValueError, match=r"measured on \['b'\]"):
        summarise({'base': {0: {'a': 1.0}}, 'x': {0: {'b': 1.0}}})


def test_files_of_a_comparison(tmp_path):
    _, scores = made_up_scores()
    cells = summarise({**scores, 'lone': {0: {'a': 1.0, 'b': 2.0}}})
    text = markdown(cells, 'PSNR', 2000, {'a': 10.0, 'b': 20.0})
    assert '| degraded input | | 10.00 | 20.00 | 15.00 |' in text
    assert '| lone | 1 | 1.00 (' in text and ' ?)' in text
    files = write(tmp_path, 'ablation', cells, scores, text, metric='psnr')
    assert [file.name for file in files] == ['ablation.md', 'ablation.csv', 'ablation.json']
    content = json.loads(files[2].read_text())
    assert content['metric'] == 'psnr' and content['runs']['x']['0']['a'] == scores['x'][0]['a']
    assert 'NaN' not in files[2].read_text() and 'nan' not in files[1].read_text()
    axes = draw(scores, 'PSNR').axes
    assert [axis.get_title() for axis in axes] == ['a', 'b', 'average']
    dots = axes[0].lines[0].get_xdata()
    assert sorted(dots) == sorted(run['a'] for run in scores['base'].values())

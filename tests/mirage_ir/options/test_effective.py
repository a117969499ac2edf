"""The options that a run uses: values of the command line, whole numbers, weights that are there."""

from pathlib import Path

import pytest
import yaml
from small_run import make_options, write_options

from mirage_ir.options.check import check_option_file, effective_text, require_ok, whole_numbers
from mirage_ir.training.command_line import force, value_of


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1e-5', 1e-5),
        ('1.0e-5', 1e-5),
        ('-1', -1),
        ('+2.5E3', 2500.0),
        ('.5', 0.5),
        ('5', 5),
        ('!!float 5', 5.0),
        ('~', None),
        ('none', None),
        ('True', True),
        ('bf16', 'bf16'),
        ('a=b', 'a=b'),
        ('[1, 1e-3]', [1, 1e-3]),
        ("['a', None]", ['a', None]),
        ('{type: disk}', {'type': 'disk'}),
        ('{lr: 1e-5}', {'lr': 1e-5}),
    ],
)
def test_words_of_the_command_line(text, value):
    found = value_of(text)
    assert found == value and type(found) is type(value)


def test_items_of_lists_and_values_with_an_equals_sign_are_forced():
    options = {'datasets': {'train': {'sources': [{'sigma': 15}, {'sigma': 25}]}}}
    assert force(options, 'datasets:train:sources:1:sigma=50') == ('datasets', 'train', 'sources', 1, 'sigma')
    force(options, 'datasets:train:sources:0:pairing=x=y')
    assert options['datasets']['train']['sources'] == [{'sigma': 15, 'pairing': 'x=y'}, {'sigma': 50}]
    with pytest.raises(ValueError, match="list of 2: '2' is none of its positions, 0 to 1"):
        force(options, 'datasets:train:sources:2:sigma=1')
    with pytest.raises(ValueError, match='no such section'):
        force(options, 'datasets:val:sigma=1')
    with pytest.raises(ValueError, match='neither a list nor a section'):
        force(options, 'x=[1, 2')


def test_an_exponent_is_a_number_for_the_check_and_for_the_run(tmp_path):
    path = write_options(tmp_path)
    assert check_option_file(path, root=tmp_path, force_yml=['train:optim_g:lr=1e-5']) == []
    text = require_ok(path, root=tmp_path, force_yml=['train:optim_g:lr=1e-5', 'name=other'])
    assert yaml.safe_load(text)['train']['optim_g']['lr'] == 1e-5 and yaml.safe_load(text)['name'] == 'other'
    (problem,) = check_option_file(path, root=tmp_path, force_yml=['train:optim_g:lr=fast'])
    assert problem.key == 'train:optim_g:lr' and 'the text' in problem.message


def test_whole_numbers_written_as_floats_are_converted_once(tmp_path):
    options = make_options(
        tmp_path,
        logger={'keep_checkpoints': 2.0, 'print_freq': 1.0},
        val={'crop_multiple': 16.0, 'val_freq': 3.0},
        train={'total_iter': 1.2e1, 'optim_g': {'type': 'AdamW', 'lr': 1.0}},
        datasets={
            'train': {
                'batch_size_per_gpu': 2.0,
                'gt_size': 16.0,
                'sources': [{'task': 'denoise_25', 'dataroot_gt': 'pictures/train', 'sigma': 25.0, 'repeat': 2.0}],
            }
        },
        network_g={'dim': 6.0, 'num_blocks': [1.0, 1, 1, 1]},
    )
    found = whole_numbers(options)
    counts = [
        found['logger']['keep_checkpoints'],
        found['logger']['print_freq'],
        found['val']['crop_multiple'],
        found['train']['total_iter'],
        found['datasets']['train']['batch_size_per_gpu'],
        found['datasets']['train']['gt_size'],
        found['network_g']['dim'],
        found['network_g']['num_blocks'][0],
    ]
    assert counts == [2, 1, 16, 12, 2, 16, 6, 1] and {type(count) for count in counts} == {int}
    assert type(found['train']['optim_g']['lr']) is float and type(options['logger']['keep_checkpoints']) is float
    half = whole_numbers({**options, 'logger': {**options['logger'], 'keep_checkpoints': 2.5}})
    assert half['logger']['keep_checkpoints'] == 2.5  # for the check to refuse


def test_the_text_of_the_options_keeps_the_head_of_the_file(tmp_path):
    path = tmp_path / 'a.yml'
    path.write_text('# Table 2\n# expected: 31\nname: a  # why\ncount: 2.0\n')
    assert effective_text(path, {'name': 'a', 'count': 2.0}) == path.read_text()
    text = effective_text(path, {'name': 'b', 'count': 2})
    assert text.startswith('# Table 2\n# expected: 31\n') and yaml.safe_load(text) == {'name': 'b', 'count': 2}


def _test_file(folder: Path, path: dict) -> Path:
    options = make_options(folder)
    options['datasets'] = {'test': options['datasets']['val']}
    options['path'] = path
    del options['train'], options['logger']
    file = folder / 'test.yml'
    file.write_text(yaml.safe_dump(options))
    return file


@pytest.mark.parametrize('path', [{}, {'pretrain_network_g': None}])
def test_a_test_without_weights_is_refused(tmp_path, path):
    problems = check_option_file(_test_file(tmp_path, path), is_train=False, root=tmp_path)
    assert [(p.key, 'random weights' in p.message) for p in problems] == [('path:pretrain_network_g', True)]


@pytest.mark.parametrize('model', ['MIRAGEModel', 'SRModel'])
@pytest.mark.parametrize('training', [True, False])
def test_the_old_key_for_weights_is_refused(tmp_path, model, training):
    old = {'pretrain_model_g': 'a.pth'}
    file = write_options(tmp_path, path=old) if training else _test_file(tmp_path, old)
    problems = check_option_file(file, is_train=training, root=tmp_path, force_yml=[f'model_type={model}'])
    old_key = [p for p in problems if p.key == 'path:pretrain_model_g']
    assert len(old_key) == 1 and 'pretrain_network_g' in old_key[0].cure


def test_the_folder_of_an_experiment_can_be_resumed_from(tmp_path):
    states = tmp_path / 'experiments' / 'OLD' / 'training_states'
    states.mkdir(parents=True)
    (states / '5.state').touch()
    path = write_options(tmp_path, path={'resume_state': 'experiments/OLD'})
    assert check_option_file(path, root=tmp_path) == []
    (problem,) = check_option_file(path, root=tmp_path, force_yml=['path:resume_state=experiments/GONE'])
    assert problem.key == 'path:resume_state' and 'GONE' in problem.message


VAL = {'type': 'GaussianDenoiseDataset', 'task': 'denoise', 'sigma': 25, 'dataroot_gt': 'pictures/val'}


@pytest.mark.parametrize(
    ('key', 'word', 'changes'),
    [
        ('network_g:inp_channels', '3 channels', {'network_g': {'inp_channels': 1, 'out_channels': 1}}),
        ('datasets:val_2:name', "'val' is the name of val", {'datasets': {'val_2': {'name': 'val', **VAL}}}),
        ('datasets:val_2:name', "'/' in it", {'datasets': {'val_2': {'name': 'a/b', **VAL}}}),
        ('name', "'/' in it", {'name': 'sub/exp 1'}),
        ('name', 'cannot be the name', {'name': '..'}),
        ('name', 'bytes', {'name': 'x' * 250}),
        ('scale', 'one size', {'scale': 2}),
        ('datasets:train:persistent_workers', 'no workers', {'datasets': {'train': {'persistent_workers': True}}}),
        ('datasets:val:persistent_workers', 'no workers', {'datasets': {'val': {'persistent_workers': True}}}),
    ],
)
def test_what_would_end_in_a_traceback_is_found_before(tmp_path, key, word, changes):
    problems = check_option_file(write_options(tmp_path, **changes), root=tmp_path)
    assert any(p.key == key and word in p.message for p in problems), [str(p) for p in problems]
    kept = {'datasets': {'train': {'persistent_workers': True, 'num_worker_per_gpu': 1}}, 'scale': 1}
    assert check_option_file(write_options(tmp_path, **kept), root=tmp_path) == []


def test_two_folders_on_a_paired_set_are_refused_by_the_check(tmp_path):
    pair = {
        'name': 'pairs',
        'type': 'PairedTaskDataset',
        'task': 'derain',
        'dataroot_lq': 'pictures/val',
        'dataroot_gt': ['pictures/val', 'pictures/train'],
    }
    problems = check_option_file(write_options(tmp_path, datasets={'val_2': pair}), root=tmp_path)
    assert problems and problems[0].key.startswith('datasets:val_2')

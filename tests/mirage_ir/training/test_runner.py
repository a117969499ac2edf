"""Training and testing by the runner, and BasicSR's own models and data sets under it."""

import json

import yaml
from kill_trial import prepare
from small_run import fingerprint, fork, make_options

from mirage_ir.commands.run import train as main


def test_testing_gives_the_figures_of_the_last_validation(undisturbed, tmp_path):
    prepare(tmp_path)
    options = make_options(tmp_path)
    options['datasets'] = {'test': options['datasets']['val']}
    weights = undisturbed / 'experiments' / 'small' / 'models' / 'net_g_latest.pth'
    options['path'] = {'pretrain_network_g': str(weights), 'param_key_g': 'params_ema', 'strict_load_g': True}
    del options['train'], options['logger']
    (tmp_path / 'test.yml').write_text(yaml.safe_dump(options))
    run = fork(tmp_path, '-opt', 'test.yml', script='test')
    text = run.finish()
    assert run.returncode == 0, text[-3000:]
    results = json.loads((tmp_path / 'results' / 'small' / 'results.json').read_text())
    validation = (undisturbed / 'experiments' / 'small' / 'validation.csv').read_text().splitlines()
    assert validation[-1].startswith('12,val,denoise,psnr,')
    assert results['rows'][0]['psnr'] == float(validation[-1].split(',')[-1])


def test_srmodel_and_a_data_set_of_basicsr_train_and_resume(tmp_path):
    prepare(tmp_path)
    options = make_options(tmp_path, model_type='SRModel', scale=1)
    options['network_g']['spd_head'] = False
    options['datasets'] = {
        'train': {
            'name': 'pairs',
            'type': 'PairedImageDataset',
            'dataroot_gt': 'pictures/train',
            'gt_size': 16,
            'dataroot_lq': 'pictures/train',
            'use_hflip': True,
            'use_rot': True,
            'io_backend': {'type': 'disk'},
            'num_worker_per_gpu': 0,
            'batch_size_per_gpu': 2,
            'dataset_enlarge_ratio': 3,
            'prefetch_mode': 'cpu',
        }
    }
    del options['val']
    options['train'] = {
        'optim_g': {'type': 'Adam', 'lr': 1.0e-3},
        'pixel_opt': options['train']['pixel_opt'],
        'total_iter': 6,
        'scheduler': {'type': 'MultiStepLR', 'milestones': [2, 5], 'gamma': 0.5},
    }
    (tmp_path / 'small.yml').write_text(yaml.safe_dump(options))
    run = fork(tmp_path, '-opt', 'small.yml')
    text = run.finish()
    assert run.returncode == 0, text[-3000:]
    experiment = tmp_path / 'experiments' / 'small'
    end = fingerprint(experiment)
    (experiment / 'training_states' / '6.state').unlink()
    run = fork(tmp_path, '-opt', 'small.yml', '--auto_resume')
    text = run.finish()
    assert run.returncode == 0 and 'Resuming training from epoch: 0, iter: 3' in text, text[-3000:]
    again = fingerprint(experiment)
    assert [again[key] for key in ('iter', 'samples_seen', 'schedulers')] == [
        end[key] for key in ('iter', 'samples_seen', 'schedulers')
    ]


def test_one_process_can_train_twice_and_each_run_has_its_log(tmp_path, monkeypatch):
    prepare(tmp_path, train={'total_iter': 3})
    monkeypatch.chdir(tmp_path)
    for name in ('first', 'second'):
        main(['-opt', 'small.yml', '--force_yml', f'name={name}'], root=str(tmp_path))
        (log,) = (tmp_path / 'experiments' / name).glob('train_*.log')
        assert f'name: {name}' in log.read_text() and 'End of training' in log.read_text()
    assert fingerprint(tmp_path / 'experiments' / 'first') == fingerprint(tmp_path / 'experiments' / 'second')


def test_the_folder_of_a_run_holds_the_options_in_effect(tmp_path, monkeypatch):
    prepare(tmp_path, train={'total_iter': 4.0}, manual_seed=None, logger={'keep_checkpoints': 2.0})
    monkeypatch.chdir(tmp_path)
    main(['-opt', 'small.yml', '--force_yml', 'name=forced', 'train:optim_g:lr=1e-4'], root=str(tmp_path))
    kept = tmp_path / 'experiments' / 'forced' / 'small.yml'
    options = yaml.safe_load(kept.read_text())
    assert options['name'] == 'forced' and options['train']['optim_g']['lr'] == 1e-4
    assert options['train']['total_iter'] == 4 and type(options['logger']['keep_checkpoints']) is int
    assert isinstance(options['manual_seed'], int) and 'name=forced' in kept.read_text().splitlines()[1]
    state = tmp_path / 'experiments' / 'forced' / 'training_states' / '3.state'
    before = fingerprint(tmp_path / 'experiments' / 'forced')
    assert state.is_file()
    # a later command needs no --force_yml: the file in the folder is the run's
    main(['-opt', str(kept), '--auto_resume'], root=str(tmp_path))
    assert fingerprint(tmp_path / 'experiments' / 'forced') == before

"""Training and testing by the runner, and BasicSR's own models and data sets under it."""

import json

import cv2
import numpy as np
import pytest
import torch
import yaml
from kill_trial import prepare
from small_run import NETWORK, fingerprint, fork, make_options

from mirage_arch.mirage_arch import MIRAGEArch
from mirage_ir.commands.evaluate import main as evaluate
from mirage_ir.commands.run import test as measure
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


def test_a_protocol_without_cropping_measures_whole_pictures_as_evaluate_does(undisturbed, tmp_path, capsys):
    prepare(tmp_path)
    for folder, seed in (('lq', 1), ('gt', 2)):
        pictures = np.random.default_rng(seed).integers(0, 256, (2, 27, 45, 3), dtype=np.uint8)
        (tmp_path / folder).mkdir()
        for number, picture in enumerate(pictures):
            cv2.imwrite(str(tmp_path / folder / f'{number}.png'), picture)
    options = make_options(tmp_path, val={'input_metrics': True, 'save_img': True})
    options['datasets'] = {
        'test': {'name': 'odd', 'type': 'PairedTaskDataset', 'dataroot_lq': 'lq', 'dataroot_gt': 'gt', 'task': 't'}
    }
    weights = undisturbed / 'experiments' / 'small' / 'models' / 'net_g_latest.pth'
    options['path'] = {'pretrain_network_g': str(weights), 'param_key_g': 'params_ema', 'strict_load_g': True}
    del options['train'], options['logger']
    (tmp_path / 'test.yml').write_text(yaml.safe_dump(options))
    sizes = {}
    for name, words in (('rgb-8bit', ['--protocol', 'rgb-8bit']), ('as_it_is', []), ('whole', ['val:crop_multiple=0'])):
        forced = ['--force_yml', f'name={name}', *(words if name == 'whole' else [])]
        run = fork(tmp_path, '-opt', 'test.yml', *(words if name != 'whole' else []), *forced, script='test')
        text = run.finish()
        assert run.returncode == 0, text[-3000:]
        results = json.loads((tmp_path / 'results' / name / 'results.json').read_text())
        picture = cv2.imread(str(tmp_path / 'results' / name / 'visualization' / 'odd' / f'0_{name}.png'))
        sizes[name] = (picture.shape[:2], results['protocol']['crop_multiple'])
        assert ('cropped to multiples of 16' if name == 'as_it_is' else 'whole images') in text
        if name == 'rgb-8bit':
            assert (
                evaluate(['--restored', str(tmp_path / 'lq'), '--gt', str(tmp_path / 'gt'), *words, '--json', '-']) == 0
            )
            mean = json.loads(capsys.readouterr().out)['mean']
            assert results['rows'][0]['input_psnr'] == pytest.approx(mean['psnr'], abs=1e-6)
    assert sizes == {'rgb-8bit': ((27, 45), 0), 'as_it_is': ((16, 32), 16), 'whole': ((27, 45), 0)}


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


@pytest.mark.parametrize('launcher, program', [('pytorch', 'torchrun'), ('slurm', 'srun')])
def test_a_launcher_without_its_program_is_wrong_use(launcher, program, tmp_path, monkeypatch, capsys):
    prepare(tmp_path)
    options = make_options(tmp_path)
    weights = tmp_path / 'w.pth'
    torch.save(MIRAGEArch(**{key: value for key, value in NETWORK.items() if key != 'type'}).state_dict(), weights)
    options['datasets'], options['path'] = {'test': options['datasets']['val']}, {'pretrain_network_g': str(weights)}
    del options['train'], options['logger']
    (tmp_path / 'test.yml').write_text(yaml.safe_dump(options))
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    for command, file in ((main, 'small.yml'), (measure, 'test.yml')):
        with pytest.raises(SystemExit) as stop:
            command(['-opt', file, '--launcher', launcher], root=str(tmp_path))
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert stop.value.code == 2
        assert line.startswith(f'--launcher {launcher}: the environment lacks') and program in line
    assert not (tmp_path / 'experiments').exists() and not (tmp_path / 'results').exists()


def test_a_part_of_the_weights_begins_a_training_that_is_not_strict(tmp_path, monkeypatch, capsys):
    prepare(tmp_path, train={'total_iter': 1, 'warmup_iter': 0})
    state = MIRAGEArch(**{key: value for key, value in NETWORK.items() if key != 'type'}).state_dict()
    part = dict(list(state.items())[1::2])
    torch.save({'params': part}, tmp_path / 'part.pth')
    monkeypatch.chdir(tmp_path)
    words = ['-opt', 'small.yml', '--force_yml', 'path:pretrain_network_g=part.pth']
    main([*words, 'path:strict_load_g=false'], root=str(tmp_path))
    (log,) = (tmp_path / 'experiments' / 'small').glob('train_*.log')
    told = f"part.pth: loaded {len(part)} of the network's {len(state)} tensors; as they were: ['patch_embed.proj"
    assert told in log.read_text() and 'End of training' in log.read_text()
    capsys.readouterr()
    for content, strict, said in (
        ({'params': part}, 'true', f'does not fit this network ({len(part)} of its {len(state)} tensors match)'),
        ({'params': {'output.weight': torch.zeros(1)}}, 'false', 'no tensor fits this network'),
        ({'generator': part}, 'false', 'it has generator'),
    ):
        torch.save(content, tmp_path / 'part.pth')
        with pytest.raises(SystemExit) as stop:
            main([*words, f'path:strict_load_g={strict}'], root=str(tmp_path))
        text = capsys.readouterr()
        assert stop.value.code == 2 and said in text.out + text.err

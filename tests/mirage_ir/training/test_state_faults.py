"""Damaged states, full disks, read-only folders, killed workers: nothing saved is lost, and messages help."""

import os
import re
import shutil
import signal
import time

import pytest
import torch
from kill_trial import prepare
from small_run import fingerprint, fork

from mirage_ir.training import guards
from mirage_ir.training.guards import RunLock
from mirage_ir.training.ranks import RunError
from mirage_ir.training.resume import load_resume_state, read_state
from mirage_ir.training.state import atomic_torch_save, remove_old_checkpoints


@pytest.fixture
def experiment(undisturbed, tmp_path):
    """A copy of the finished small run."""
    return shutil.copytree(undisturbed / 'experiments' / 'small', tmp_path / 'small')


def options(experiment, resume_state=None):
    return {
        'auto_resume': resume_state is None,
        'rank': 0,
        'network_g': {},
        'path': {'training_states': str(experiment / 'training_states'), 'resume_state': resume_state},
    }


def change_state(path, **changes):
    torch.save({**torch.load(path, weights_only=True), **changes}, path)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip_a_byte(path):
    with open(path, 'r+b') as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 255]))


STATE_FAULTS = {
    'is empty': lambda state, weights: os.truncate(state, 0),
    'cannot be read': lambda state, weights: truncate(state),
    'cannot be read: damaged, or no state file': lambda state, weights: state.write_bytes(b'not a checkpoint' * 99),
    'is no training state: it lacks epoch': lambda state, weights: shutil.copy(weights, state),
    'newer version (format 99': lambda state, weights: change_state(state, format=99),
    'has no weights': lambda state, weights: weights.unlink(),
    'cannot be read: Is a directory': lambda state, weights: (state.unlink(), state.mkdir()),
    "its iteration is 'x'": lambda state, weights: change_state(state, iter='x'),
    'does not belong to': lambda state, weights: flip_a_byte(weights),
}


@pytest.mark.parametrize('message', STATE_FAULTS)
def test_a_faulty_state_is_passed_over_with_a_warning(experiment, capsys, message):
    STATE_FAULTS[message](experiment / 'training_states' / '12.state', experiment / 'models' / 'net_g_12.pth')
    opt = options(experiment)
    assert load_resume_state(opt)['iter'] == 9
    assert opt['path']['pretrain_network_g'] == str(experiment / 'models' / 'net_g_9.pth')
    warning = capsys.readouterr().err
    assert '12.state' in warning and message in warning


def test_files_of_other_names_are_no_states(experiment, capsys):
    states = experiment / 'training_states'
    foreign = {'009', '6 (copy)', '\u0661\u0662\u0663', '\u00b2', '1e3', 'x_15'}
    for name in foreign:
        shutil.copy(states / '6.state', states / f'{name}.state')
        shutil.copy(states / '6.state', experiment / 'models' / f'net_g_{name}.pth')
    assert load_resume_state(options(experiment))['iter'] == 12
    remove_old_checkpoints({'training_states': str(states), 'models': str(experiment / 'models')}, 2)
    assert {path.stem for path in states.iterdir()} == {'9', '12'} | foreign
    for iteration in (9, 12):
        (states / f'{iteration}.state').unlink()
    with pytest.raises(RunError, match=r'009\.state, .*no state that --auto_resume knows'):
        load_resume_state(options(experiment))


def test_a_renamed_state_is_told_of(experiment, capsys):
    (experiment / 'training_states' / '6.state').rename(experiment / 'training_states' / '20.state')
    assert load_resume_state(options(experiment))['iter'] == 6
    assert re.search(r'20\.state is, whatever its name says, of iteration 6', capsys.readouterr().err)


def test_parts_of_another_run_are_left_alone(experiment, tmp_path):
    part = experiment / 'models' / 'net_g_15.pth.part'  # it may be training
    part.write_bytes(b'half')
    opt = options(tmp_path / 'mine', str(experiment))
    assert load_resume_state(opt)['iter'] == 12 and part.exists()


def test_a_state_named_by_hand_must_be_good(experiment):
    state = experiment / 'training_states' / '12.state'
    truncate(state)
    with pytest.raises(RunError, match=r'12\.state cannot be read'):
        load_resume_state(options(experiment, str(state)))
    with pytest.raises(RunError, match='found no state in'):
        load_resume_state(options(experiment, str(experiment / 'models')))
    assert load_resume_state(options(experiment, str(experiment)))['iter'] == 9


def test_a_run_without_any_good_state_is_not_started_over(experiment):
    before = sorted(path.name for path in experiment.rglob('*'))
    for path in experiment.glob('training_states/*'):
        truncate(path)
    with pytest.raises(RunError, match=r'(?s)None of the 4 training states.*12\.state cannot be read.*--fresh'):
        load_resume_state(options(experiment))
    assert sorted(path.name for path in experiment.rglob('*')) == before


def test_code_in_a_state_is_not_run(experiment, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'harmed'),)

    state = experiment / 'training_states' / '12.state'
    torch.save({'epoch': 0, 'iter': 12, 'optimizers': [], 'schedulers': [Payload()]}, state)
    with pytest.raises(RunError, match='cannot be read'):
        read_state(str(state))
    assert not (tmp_path / 'harmed').exists()


def test_half_written_files_are_cleared_away(experiment):
    part = experiment / 'models' / 'net_g_15.pth.part'
    part.write_bytes(b'half')
    load_resume_state(options(experiment))
    assert not part.exists()


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / '3.state'
    atomic_torch_save({'old': 1}, str(path))
    os.symlink('/dev/full', f'{path}.part')
    with pytest.raises(RunError, match=r'Cannot save .*3\.state: No space left.*MB are free.*--auto_resume'):
        atomic_torch_save({'new': torch.zeros(100_000)}, str(path))
    assert torch.load(path, weights_only=True) == {'old': 1}
    assert os.listdir(tmp_path) == ['3.state']


def test_a_passing_error_is_tried_again(tmp_path, monkeypatch):
    failures = iter([OSError(5, 'Input/output error')])

    def replace(source, target, real=os.replace):
        for failure in failures:
            raise failure
        real(source, target)

    monkeypatch.setattr(os, 'replace', replace)
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)
    atomic_torch_save({'a': 1}, str(tmp_path / 'a.pth'))
    assert torch.load(tmp_path / 'a.pth', weights_only=True) == {'a': 1}


def test_one_run_of_a_name_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(guards, 'GRACE_SECONDS', 0.0)
    first, second = RunLock(str(tmp_path / 'small')), RunLock(str(tmp_path / 'small'))
    first.acquire()
    with pytest.raises(RunError, match=rf'in use by another run \(process {os.getpid()} on .*another name'):
        second.acquire()
    RunLock(str(tmp_path / 'other')).acquire()
    child = os.fork()
    if child == 0:  # a DataLoader worker that outlives its killed parent must not hold the lock
        time.sleep(30)
        os._exit(0)
    monkeypatch.setattr(guards, 'GRACE_SECONDS', 10.0)
    first.release()
    second.acquire()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'experiments').write_text('a file, where a folder should be')
    with pytest.raises(RunError, match=rf'Cannot write to {tmp_path}/experiments: .*write permission'):
        RunLock(str(tmp_path / 'experiments' / 'small')).acquire()


def wait_for(condition, run, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert run.returncode is None and time.monotonic() < deadline, run.text()[-3000:]
        time.sleep(0.002)


def test_a_disk_that_fills_up_stops_the_run_and_spares_its_states(tmp_path):
    prepare(tmp_path, train={'total_iter': 30}, logger={'keep_checkpoints': 2})
    states = tmp_path / 'experiments' / 'small' / 'training_states'
    run = fork(tmp_path, '-opt', 'small.yml')
    wait_for((states / '3.state').exists, run)
    os.symlink('/dev/full', states / '15.state.part')
    text = run.finish()
    assert run.returncode == 1
    assert 'Cannot save' in text and 'No space left on device' in text and 'Traceback' not in text
    assert sorted(os.listdir(states)) == ['12.state', '9.state']
    assert all(read_state(str(path)) for path in states.iterdir())


def test_ctrl_c_saves_and_says_how_to_go_on(undisturbed, tmp_path):
    prepare(tmp_path, logger={'save_checkpoint_freq': 100})
    run = fork(tmp_path, '-opt', 'small.yml')
    wait_for(lambda: 'iter:       4' in run.text(), run)
    os.kill(run.pid, signal.SIGINT)
    text = run.finish()
    assert run.returncode == 128 + signal.SIGINT
    assert 'Stopped by SIGINT after iteration' in text and '--auto_resume' in text
    prepare(tmp_path)
    run = fork(tmp_path, '-opt', 'small.yml', '--auto_resume')
    run.finish()
    assert fingerprint(tmp_path / 'experiments' / 'small') == fingerprint(undisturbed / 'experiments' / 'small')


def test_a_killed_worker_ends_the_run_with_a_message(tmp_path):
    prepare(tmp_path, train={'total_iter': 500}, datasets={'train': {'num_worker_per_gpu': 1}})
    run = fork(tmp_path, '-opt', 'small.yml')
    wait_for(lambda: 'iter:       4' in run.text(), run)
    with open(f'/proc/{run.pid}/task/{run.pid}/children') as file:
        os.kill(int(file.read().split()[0]), signal.SIGKILL)
    text = run.finish()
    assert run.returncode == 1
    assert re.search(r'A DataLoader worker \(process \d+\) ended with -9\..*lower num_worker_per_gpu', text)
    assert 'The last complete state is' in text and '--auto_resume' in text

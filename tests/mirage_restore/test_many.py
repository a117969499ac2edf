"""Several workers: the results of one process, whatever dies meanwhile."""

import hashlib
import os
import shutil
import signal
import time
import weakref
from collections import deque

import numpy as np
import pytest
from here import Here
from PIL import Image

from mirage_data import crew
from mirage_data.crew import Outcome, Team
from mirage_restore.bundled import bundled_weights
from mirage_restore.cli import main
from mirage_restore.jobs import Options
from mirage_restore.many import command
from mirage_restore.many.command import Setup, Task, parse_devices


def made(folder, count, size=(24, 32)):
    rng = np.random.default_rng(0)
    (folder / 'below').mkdir(parents=True)
    for number in range(count):
        name = folder / ('below' if number % 2 else '.') / f'{number}.{("png", "jpg")[number % 2]}'
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(name)
    return folder


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file() and '.mirage' not in str(path)
    }


def test_devices_are_listed():
    assert parse_devices('0,1') == ['cuda:0', 'cuda:1']
    assert parse_devices('cpu x 3, cuda:2') == ['cpu'] * 3 + ['cuda:2']
    for wrong in ('', 'gpu', 'cpu x 0', '0,,1', 'cpu y 2'):
        with pytest.raises(ValueError, match="--devices takes GPUs such as '0,1', or 'cpu x 4'"):
            parse_devices(wrong)


class Pretended:
    """A crew without processes: each task's fate is told beforehand."""

    def __init__(self, workers, fates):
        self.fates, self.told, self.given = fates, deque((number, Outcome()) for number in range(workers)), []
        self.busy = set()

    def give(self, worker, task):
        assert worker not in self.busy, 'a worker has one task at a time'
        self.busy.add(worker)
        self.given.append(task.source)
        fate = self.fates.get(task.source, [])
        self.told.append((worker, fate.pop(0) if fate else Outcome()))

    def wait(self, seconds):
        if not self.told:
            return []
        worker, outcome = self.told.popleft()
        self.busy.discard(worker)
        return [(worker, outcome)]

    def replace(self, worker):
        self.told.append((worker, Outcome()))

    def close(self):
        self.closed = True


def test_every_task_is_told_of_once_whatever_happens_to_workers():
    full = Outcome(failure='b: disk full', elsewhere=True)
    fates = {'a': [None], 'b': [full, full], 'c': [None] * 9, 'd': [Outcome(failure='d: is empty')], 'e': [full] * 9}
    pretended = Pretended(2, fates)
    with Team(pretended) as team:
        told = [(task.source, outcome) for task, outcome in team.do(Task(name, name) for name in 'abcdefg')]
        again = [task.source for task, _ in team.do([Task('h', 'h')])]
    assert sorted(name for name, _ in told) == list('abcdefg') and again == ['h'] and pretended.closed
    failed = {name: outcome.failure for name, outcome in told if outcome.failure}
    assert failed == {'c': '3 workers died over it, or were killed', 'd': 'd: is empty', 'e': 'b: disk full'}
    assert pretended.given.count('c') == 3 and pretended.given.count('d') == 1


def test_tasks_within_tasks_lose_nothing():
    fates = {'b': [None], 'inner c': [None]}
    with Team(Pretended(2, fates)) as team:
        told = []
        for task, _ in team.do(Task(name, name) for name in 'abcdef'):
            told += [task.source, *(inner.source for inner, _ in team.do([Task(f'inner {task.source}', '')]))]
    assert sorted(told) == sorted([*'abcdef', *(f'inner {name}' for name in 'abcdef')])


def test_a_worker_that_cannot_start_is_left_out_and_the_others_go_on():
    class WithFullNode(Pretended):
        started = 0

        def replace(self, worker):
            self.started += 1
            self.told.append((worker, None))

    full = WithFullNode(1, {})
    full.told.append((1, None))
    assert sum(1 for _ in Team(full).do(Task(str(number), '') for number in range(30))) == 30
    assert full.started == 5
    none = WithFullNode(0, {})
    none.told.append((1, None))
    with pytest.raises(RuntimeError, match='workers end before they are ready'):
        list(Team(none).do([Task('a', 'a')]))


def test_no_worker_at_all_is_told(monkeypatch):
    monkeypatch.setattr(crew, '_PATIENCE', 0.01)
    with pytest.raises(RuntimeError, match='no worker could be started'):
        list(Team(Pretended(0, {})).do([Task('a', 'a')]))


def test_processes_give_the_bytes_of_one_process_and_outlive_a_kill(tmp_path, monkeypatch, capsys):
    source = made(tmp_path / 'in', 5)
    (source / 'text.jpg').write_text('this is text')
    assert main([str(source), '-o', str(tmp_path / 'one'), '--recursive', '--quiet', '--device', 'cpu']) == 1
    crews = []

    class Watched(crew.Processes):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            crews.append(self)

        def give(self, number, task):
            if not getattr(self, 'killed', False):
                self.killed = True
                os.kill(self._running[number][0].pid, signal.SIGKILL)
            super().give(number, task)

    monkeypatch.setattr(command, 'Processes', Watched)
    arguments = [str(source), '-o', str(tmp_path / 'two'), '--recursive', '--quiet', '--devices', 'cpu x 2']
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert '5 restored' in told.out and '1 failed' in told.out and 'text.jpg: is not an image' in told.err
    assert crews[0].killed and digests(tmp_path / 'two') == digests(tmp_path / 'one')
    assert main([*arguments, '--skip-existing']) == 1
    assert '0 restored' in (told := capsys.readouterr().out) and '5 skipped' in told


def test_urls_and_a_record_that_a_second_run_reads(tmp_path, monkeypatch):
    pytest.importorskip('fsspec')
    source = made(tmp_path / 'in', 3)
    setup = Setup(options=Options(progress=False, recursive=True, skip_existing=True))

    monkeypatch.setattr(command, 'Processes', Here)
    target = (tmp_path / 'out').as_uri()
    summary = command.restore_many([source.as_uri()], target, setup)
    assert (summary.restored, summary.failed) == (3, 0)
    local = command.restore_many([str(source)], str(tmp_path / 'local'), setup)
    assert local.restored == 3 and digests(tmp_path / 'out') == digests(tmp_path / 'local')
    assert command.restore_many([source.as_uri()], target, setup).skipped == 3
    os.remove(tmp_path / 'out' / '0.png')
    Image.new('RGB', (20, 20)).save(source / '2.png')
    again = command.restore_many([source.as_uri()], target, setup)
    assert (again.restored, again.skipped) == (2, 1)


def test_urls_never_overwrite_an_input_and_results_are_none(tmp_path, monkeypatch):
    pytest.importorskip('fsspec')
    monkeypatch.setattr(command, 'Processes', Here)
    rng = np.random.default_rng(1)
    source = tmp_path / 'sp ace' / 'ü'
    source.mkdir(parents=True)
    for name in ('a.png', 'a.jpg'):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(source / name)
    before = digests(source)
    url = f'file://{source}'
    for place, target in ((url, url), (str(source), url), (url, str(source))):
        summary = command.restore_many([place], target, Setup(options=Options(progress=False, format='png')))
        assert summary.restored == 0 or summary.failed
        assert all('would overwrite an input' in reason for _, reason in summary.failures) and summary.failures
        assert {name: digests(source)[name] for name in before} == before
        for file in source.iterdir():
            if file.name not in before and file.is_file():
                file.unlink()

    setup = Setup(options=Options(progress=False, skip_existing=True))
    for target in (f'{url}/out', str(source / 'out')):
        first = command.restore_many([str(source), url], target, setup)
        assert (first.restored, first.failed) == (2, 0)
        again = command.restore_many([str(source), url], target, setup)
        assert again.restored == 0 and again.skipped == 2 and not list(source.rglob('out/out'))
        shutil.rmtree(source / 'out')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['sp ace'] and os.listdir(tmp_path / 'sp ace') == ['ü']


def test_the_newest_record_of_a_place_counts(tmp_path, monkeypatch):
    pytest.importorskip('fsspec')
    monkeypatch.setattr(command, 'Processes', Here)
    source, setup = made(tmp_path / 'in', 1), Setup(options=Options(progress=False, skip_existing=True))
    target = f'file://{tmp_path / "out"}'
    for value in range(6):
        Image.new('RGB', (20, 20), (value, 0, 0)).save(source / '0.png')
        os.utime(source / '0.png', (value + 1, value + 1))
        assert command.restore_many([str(source)], target, setup).restored == 1
        assert command.restore_many([str(source)], target, setup).skipped == 1


def test_of_urls_too_the_one_result_may_be_named_and_other_files_are(tmp_path, monkeypatch):
    pytest.importorskip('fsspec')
    monkeypatch.setattr(command, 'Processes', Here)
    source = made(tmp_path / 'in', 1)
    (source / 'notes.txt').write_text('no picture')
    setup = Setup(options=Options(progress=False))
    out = (tmp_path / 'out' / 'better.png').as_uri()
    summary = command.restore_many([source.as_uri()], out, setup)
    assert (summary.restored, summary.failed) == (1, 0) and (tmp_path / 'out' / 'better.png').is_file()
    assert [os.path.basename(file) for file in summary.unread] == ['notes.txt']
    os.remove(source / '0.png')
    summary = command.restore_many([source.as_uri()], (tmp_path / 'out').as_uri(), setup)
    assert summary.restored == 0 and summary.failures == [(source.as_uri(), 'no images or videos in it')]
    several = made(tmp_path / 'several', 2).as_uri()
    with pytest.raises(ValueError, match='better.png is one file, and 2 are given; name a folder'):
        command.restore_many([several], out, setup)
    with pytest.raises(ValueError, match='better.png names the result; leave out --suffix'):
        command.restore_many([several], out, Setup(options=Options(progress=False, suffix='_new')))


def test_with_workers_comparisons_keep_their_names_and_files_of_others_stay(tmp_path, monkeypatch, capsys):
    source = made(tmp_path / 'in', 1)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / '0.png').write_bytes(b'of the user')
    words = [str(source), '-o', str(tmp_path / 'out'), '--model', 'nano', '--devices', 'cpu', '--compare', '--quiet']
    for _ in range(2):
        assert main(words) == 0
        assert '0.png is there and is no result of mirage-restore' in ''.join(capsys.readouterr())
        names = sorted(path.name for path in (tmp_path / 'out').iterdir() if not path.name.startswith('.'))
        assert names == ['0.png', '0_png.png', '0_png_compare.png']
    assert (tmp_path / 'out' / '0.png').read_bytes() == b'of the user'


@pytest.mark.parametrize(
    'arguments, reason',
    [
        (['--devices', 'cpu', '--ray', 'auto'], 'give --devices or --ray, not both'),
        (['--workers', '2'], '--workers goes with --ray'),
        (['--devices', 'cpu', '--weights', 'none.pth'], 'none.pth'),
        (['--devices', 'cpu', '--dry-run'], '--dry-run'),
    ],
)
def test_wrong_use_is_told(tmp_path, capsys, arguments, reason):
    if arguments[0] == '--workers':
        arguments += ['--devices', 'cpu']
    assert main([str(made(tmp_path / 'in', 1)), '-o', str(tmp_path / 'out'), *arguments]) in (1, 2)
    assert reason in capsys.readouterr().err


def test_a_folder_of_weights_goes_to_the_workers(tmp_path, capsys):
    (tmp_path / 'mine').mkdir()
    shutil.copy(bundled_weights('nano'), tmp_path / 'mine' / 'model.safetensors')
    arguments = ['-o', str(tmp_path / 'out'), '--quiet', '--devices', 'cpu', '--weights', str(tmp_path / 'mine')]
    assert main([str(made(tmp_path / 'in', 1)), *arguments]) == 0
    assert '1 restored' in capsys.readouterr().out


def test_a_device_that_is_not_there_ends_the_run_with_its_name(tmp_path, capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip('has a GPU')
    assert main([str(made(tmp_path / 'in', 1)), '-o', str(tmp_path / 'out'), '--quiet', '--devices', '7']) == 2
    assert "device 'cuda:7' is not there" in capsys.readouterr().err


class Refusing:
    """A worker that finds its weights unusable and takes a while to clear away what it began."""

    def __init__(self, device):
        weakref.finalize(self, time.sleep, 0.3)
        raise ValueError(f'no weights for {device}')


def test_a_worker_that_refuses_ends_in_peace(capfd):
    workers = crew.Processes(Refusing, ['cpu'])
    with pytest.raises(ValueError, match='no weights for cpu'), Team(workers) as team:
        list(team.do(['a task']))
    time.sleep(0.5)
    assert capfd.readouterr().err == ''


def test_a_file_that_cannot_be_written_on_this_node_is_left_to_another(tmp_path, monkeypatch):
    from mirage_restore import files

    def full(*_, **__):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(files, 'write_photo', full)
    source = made(tmp_path / 'in', 1) / '0.png'
    task = Task(str(source), str(tmp_path / 'out.png'))
    restorer = command.Worker(Setup(), 'cpu')
    outcome = restorer.work(task)
    assert outcome.elsewhere and outcome.failure == f'{source}: No space left on device'
    monkeypatch.setattr(command.tempfile, 'TemporaryDirectory', full)  # nor can anything be put aside
    assert restorer.work(task) == outcome


def test_a_storage_without_permission_is_told_before_anything_is_computed(tmp_path):
    fsspec = pytest.importorskip('fsspec')
    from fsspec.implementations.memory import MemoryFileSystem

    class Locked(MemoryFileSystem):
        protocol = 'locked'
        store, pseudo_dirs = {'/in/a.png': None}, ['', '/in']

        def pipe_file(self, path, value, **_):
            raise PermissionError('Access Denied')

        def find(self, path, **_):
            raise PermissionError('Access Denied')

    fsspec.register_implementation('locked', Locked, clobber=True)
    source = str(made(tmp_path / 'in', 1))
    with pytest.raises(
        OSError, match=r'locked://out: results could not be written there: no permission \(Access Denied'
    ):
        command.restore_many([source], 'locked://out', Setup())
    summary = command.restore_many(['locked://in'], str(tmp_path / 'out'), Setup())
    assert summary.failures == [('locked://in', 'cannot be looked into: no permission (Access Denied)')]

"""The command: what it says, what it leaves alone, how it stops and goes on, how soon it starts."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirage_restore import cli, files
from mirage_restore.files import Options, restore_files
from mirage_restore.jobs import RECORD_NAME, Record, find_jobs
from mirage_restore.machine import harmless, say

ROOT = Path(__file__).resolve().parents[2]


def save(path, value=40, size=(20, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def run(*arguments):
    return cli.main([*map(str, arguments), '--quiet', '--device', 'cpu'])


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file() and p.name != RECORD_NAME)


def test_one_file_is_named_by_o(tmp_path, capsys):
    save(tmp_path / 'a.png')
    assert run('-i', tmp_path / 'a.png', '-o', tmp_path / 'new' / 'out.jpg') == 0
    assert names(tmp_path / 'new') == ['out.jpg']
    assert Image.open(tmp_path / 'new' / 'out.jpg').format == 'JPEG'


def test_several_files_do_not_go_into_one(tmp_path, capsys):
    save(tmp_path / 'a.png'), save(tmp_path / 'b.png')
    assert run(tmp_path / 'a.png', tmp_path / 'b.png', '-o', tmp_path / 'out.png') == 2
    assert 'out.png is one file, and 2 are given' in capsys.readouterr().err


def test_a_folder_that_is_called_like_a_file_is_a_folder(tmp_path):
    save(tmp_path / 'a.png')
    (tmp_path / 'out.png').mkdir()
    assert run(tmp_path / 'a.png', '-o', tmp_path / 'out.png') == 0
    assert names(tmp_path / 'out.png') == ['a.png']


def test_a_folder_for_one_file_is_not_called_like_another_kind_of_file(tmp_path, capsys):
    save(tmp_path / 'a.png')
    assert run(tmp_path / 'a.png', '-o', tmp_path / 'out.jxl') == 2
    assert 'results are not written as .jxl; allowed are .png' in capsys.readouterr().err
    assert not (tmp_path / 'out.jxl').exists()
    assert run(tmp_path / 'a.png', '-o', f'{tmp_path}/out.jxl/') == 0
    assert run(tmp_path / 'a.png', '-o', tmp_path / 'results.v2') == 0
    assert names(tmp_path / 'out.jxl') == names(tmp_path / 'results.v2') == ['a.png']


def test_suffix_is_what_the_help_shows(tmp_path, capsys):
    save(tmp_path / 'photo.png')
    assert run(tmp_path / 'photo.png', '-o', tmp_path / 'out', '--suffix', '_restored') == 0
    assert names(tmp_path / 'out') == ['photo_restored.png']
    with pytest.raises(SystemExit):
        cli.main(['--help'])
    assert '--suffix _restored makes photo_restored.png' in ' '.join(capsys.readouterr().out.split())


def test_the_kind_of_an_output_must_be_that_of_the_input(tmp_path, capsys):
    save(tmp_path / 'a.png')
    assert run(tmp_path / 'a.png', '-o', tmp_path / 'a.mp4') == 1
    assert 'a.png: cannot be written as' in capsys.readouterr().err
    (tmp_path / 'b.mp4').write_bytes(b'x')
    assert run(tmp_path / 'b.mp4', '-o', tmp_path / 'b.jpg') == 1
    assert 'videos are written as .mp4' in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(['--version'])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith('mirage-restore ')


def test_dry_run_writes_nothing(tmp_path, capsys):
    save(tmp_path / 'in' / 'a.png')
    (tmp_path / 'in' / 'notes.txt').write_text('x')
    assert run(tmp_path / 'in', '-o', tmp_path / 'out', '--dry-run', '--format', 'jpg') == 0
    shown = capsys.readouterr().out
    assert f'{tmp_path / "in" / "a.png"} -> {tmp_path / "out" / "a.jpg"}' in shown
    assert '1 not read' in shown and 'notes.txt' in shown
    assert not (tmp_path / 'out').exists()


def test_each_failure_is_said_once_with_its_source(tmp_path, capsys):
    save(tmp_path / 'in' / 'good.png')
    (tmp_path / 'in' / 'bad.png').write_bytes(b'nothing')
    assert run(tmp_path / 'in', tmp_path / 'absent.jpg', '-o', tmp_path / 'out') == 1
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count('bad.png') == (shown.out + shown.err).count('absent.jpg') == 1
    assert '1 restored' in shown.out and '2 failed' in shown.out


def test_what_would_be_overwritten_is_named_with_its_source(tmp_path, capsys):
    save(tmp_path / 'a.png')
    assert run(tmp_path / 'a.png', '-o', tmp_path) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f'{tmp_path / "a.png"}: its result {tmp_path / "a.png"} would overwrite an input; choose another '
        'folder (-o) or a --suffix'
    ]
    assert names(tmp_path) == ['a.png']


def test_what_is_not_read_is_named(tmp_path, capsys):
    save(tmp_path / 'in' / 'a.png')
    for name in ('a.jxl', 'b.exr', 'c.psd', 'd.xmp', 'e'):
        (tmp_path / 'in' / name).write_bytes(b'x')
    assert run(tmp_path / 'in', '-o', tmp_path / 'out') == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if 'not read' in line)
    assert line.startswith('5 not read') and all(e in line for e in ('1 .jxl', '1 .exr', '1 .psd', '1 no ending'))


def test_what_a_format_could_not_hold_is_said(tmp_path, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 4), np.uint8)).save(tmp_path / 'a.png')
    assert run(tmp_path / 'a.png', '-o', tmp_path / 'a.jpg') == 0
    assert 'a.png: JPG does not hold: transparency' in capsys.readouterr().out


def test_an_output_that_cannot_be_written_is_noticed_before_anything_is_computed(tmp_path, capsys, monkeypatch):
    save(tmp_path / 'a.png')
    (tmp_path / 'out').write_text('a file')
    monkeypatch.setattr('mirage_restore.restorer.Restorer', None)  # not even loaded
    assert run(tmp_path / 'a.png', '-o', tmp_path / 'out') == 1
    shown = capsys.readouterr().err
    assert shown.count('could not be written') == 1 and str(tmp_path / 'out') in shown


def test_the_output_folder_is_never_looked_into(tmp_path):
    save(tmp_path / 'trip' / 'a.png'), save(tmp_path / 'trip' / 'day' / 'b.png')
    trip, out = tmp_path / 'trip', tmp_path / 'trip' / 'restored'
    for _ in range(3):
        assert run(trip, '-o', out, '--recursive', '--skip-existing') == 0
    assert names(trip) == ['a.png', 'day/b.png', 'restored/a.png', 'restored/day/b.png']


def test_results_beside_their_sources_are_not_restored_again(tmp_path):
    save(tmp_path / 'a.png')
    for _ in range(3):
        assert run(tmp_path, '-o', tmp_path, '--suffix', '_new', '--skip-existing') == 0
    assert names(tmp_path) == ['a.png', 'a_new.png']


def test_skip_existing_goes_by_the_source(tmp_path, capsys):
    source = tmp_path / 'in'
    save(source / 'a.png', 1)
    options = ('--format', 'png', '--skip-existing')
    assert run(source, '-o', tmp_path / 'out', *options) == 0
    save(source / 'a.bmp', 2)
    assert run(source, '-o', tmp_path / 'out', *options) == 0
    shown = capsys.readouterr().out
    assert '1 restored' in shown.splitlines()[-1] and '1 skipped' in shown.splitlines()[-1]
    assert names(tmp_path / 'out') == ['a.png', 'a_bmp.png']
    assert run(source, '-o', tmp_path / 'out', *options) == 0
    assert '2 skipped' in capsys.readouterr().out


def test_a_source_that_changed_is_restored_again(tmp_path, capsys):
    source = save(tmp_path / 'a.png', 1)
    run(source, '-o', tmp_path / 'out', '--skip-existing')
    before = (tmp_path / 'out' / 'a.png').read_bytes()
    save(source, 2, (22, 26))
    run(source, '-o', tmp_path / 'out', '--skip-existing')
    assert (tmp_path / 'out' / 'a.png').read_bytes() != before
    os.remove(tmp_path / 'out' / 'a.png')
    run(source, '-o', tmp_path / 'out', '--skip-existing')
    assert names(tmp_path / 'out') == ['a.png']


def test_a_record_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path):
    source = save(tmp_path / 'a.png')
    (tmp_path / 'out').mkdir()
    result = save(tmp_path / 'out' / 'a.png')
    Record(tmp_path / 'out').add(source, result)
    with open(tmp_path / 'out' / RECORD_NAME, 'a') as file:
        file.write('{"source": "/x", "resu')
    again = Record(tmp_path / 'out')
    assert again.is_done(source) and again.result_of(source) == result
    (tmp_path / 'out' / RECORD_NAME).write_text('[]\n3\n{}\n\0\n')
    assert not Record(tmp_path / 'out').is_done(source)


def test_links_that_lead_round_are_followed_once(tmp_path):
    save(tmp_path / 'in' / 'a.png')
    for name in ('x', 'y'):
        (tmp_path / 'in' / name).symlink_to('.')
    plan = find_jobs([tmp_path / 'in'], tmp_path / 'out', Options(recursive=True))
    assert [job.target.name for job in plan.jobs] == ['a.png']


def test_an_unreadable_folder_is_named_and_the_rest_is_restored(tmp_path, monkeypatch):
    save(tmp_path / 'in' / 'a.png'), save(tmp_path / 'in' / 'locked' / 'b.png')
    scandir = os.scandir

    def locked(path):
        if Path(path).name == 'locked':
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', locked)
    options = Options(recursive=True)
    plan = find_jobs([tmp_path / 'in'], tmp_path / 'out', options)
    assert [job.source.name for job in plan.jobs] == ['a.png']
    assert plan.useless == [(tmp_path / 'in' / 'locked', 'cannot be looked into: Permission denied')]
    plan = find_jobs([tmp_path / 'in' / 'locked'], tmp_path / 'out', options)
    assert [reason for _, reason in plan.useless] == ['cannot be looked into: Permission denied']


def test_naming_many_files_takes_linear_time(tmp_path):
    (tmp_path / 'in').mkdir()

    def seconds(count):
        for number in range(count):
            (tmp_path / 'in' / f'{number:05d}.png').touch()
            (tmp_path / 'in' / f'{number:05d}.jpg').touch()
        started = time.process_time()
        plan = find_jobs([tmp_path / 'in'], tmp_path / 'in', Options(format='png'))
        used = time.process_time() - started
        assert len(plan.jobs) + len(plan.useless) == 2 * count
        return used

    few = seconds(500)
    assert seconds(4000) < 8 * few * 3 + 0.5  # quadratic would be 64 times


def test_names_that_would_act_on_a_terminal_are_shown_as_text():
    assert harmless('a\x1b[2J\nb\x07.png') == 'a\\x1b[2J\\x0ab\\x07.png'
    assert harmless('Zoë – 写真.png') == 'Zoë – 写真.png'
    assert harmless(os.fsdecode(b'Z\xfcrich')) == 'Z\\xfcrich'


@pytest.mark.parametrize('encoding', ['ascii', 'utf-8', 'latin-1', 'cp1252'])
def test_any_terminal_takes_any_name(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding, errors='strict')
    say('写真 Zoë ' + os.fsdecode(b'\xff'), stream)
    stream.flush()
    assert b'Zo' in stream.buffer.getvalue()


def test_a_name_that_the_terminal_cannot_show_does_not_stop_the_command(tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    try:
        (folder / os.fsdecode(b'Z\xfc\x1b[31m.png')).write_bytes(b'damaged')
    except OSError:
        pytest.skip('this file system takes text only')
    environment = {**os.environ, 'PYTHONIOENCODING': 'utf-8:strict', 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-m', 'mirage_restore.cli', str(folder), '-o', str(tmp_path / 'out'), '--quiet']
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 1
    assert b'Traceback' not in done.stderr and b'\x1b' not in done.stderr + done.stdout
    assert b'Z\\xfc\\x1b[31m.png' in done.stderr


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='the system has no /dev/full')
def test_a_full_disk_behind_standard_output_is_said(tmp_path):
    save(tmp_path / 'a.png')
    command = [sys.executable, '-m', 'mirage_restore.cli', str(tmp_path / 'a.png'), '--dry-run']
    with open('/dev/full', 'wb') as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.startswith('standard output: No space left')
    assert 'Traceback' not in done.stderr


def test_nothing_to_restore_and_wrong_values_are_wrong_use(tmp_path, capsys):
    save(tmp_path / 'a.png')
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 2
    for wrong in (
        ('--strength', '2'),
        ('--quality', '0'),
        ('--crf', '99'),
        ('--model', 'giant'),
        ('--tile', '3'),
        ('--suffix', 'a/b'),
    ):
        assert run(tmp_path / 'a.png', '-o', tmp_path / 'out', *wrong) == 2
        assert wrong[0].lstrip('-') in capsys.readouterr().err
    for named in (('--suffix', '_new'), ('--format', 'webp')):
        assert run(tmp_path / 'a.png', '-o', tmp_path / 'b.png', *named) == 2
        assert f'b.png names the result; leave out {named[0]}' in capsys.readouterr().err
    for more in ([], ['--dry-run']):
        assert run(tmp_path / 'a.png', '--model', 'auto', '--weights', 'some.pth', *more) == 2
        assert "give --weights or --model, not both: got some.pth and 'auto'" in capsys.readouterr().err
        assert run(tmp_path / 'a.png', '--workers', 2, *more) == 2
        assert '--workers goes with --ray' in capsys.readouterr().err
        assert run(tmp_path / 'a.png', '-o', '-', *more) == 2
        assert 'not written to standard output' in capsys.readouterr().err
    assert cli.main([str(tmp_path / 'a.png'), '-o', str(tmp_path / 'out'), '--device', 'warp']) == 2
    assert "'warp' is not there; there are 'auto', 'cpu'" in capsys.readouterr().err


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_whole_files_only(number, tmp_path):
    for value in range(40):
        save(tmp_path / 'in' / f'{value:02d}.png', value, (120, 160))
    code = (
        'import signal, sys\nfrom mirage_restore.cli import main\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\nsys.exit(main(sys.argv[1:]))'
    )
    command = [sys.executable, '-c', code, str(tmp_path / 'in'), '-o', str(tmp_path / 'out'), '--quiet']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while len(list((tmp_path / 'out').glob('*.png'))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and 'go on with --skip-existing' in errors and 'Traceback' not in errors
    written = names(tmp_path / 'out')
    assert 3 <= len(written) < 40
    assert [p.name for p in (tmp_path / 'out').iterdir() if p.name.startswith('.')] == [RECORD_NAME]
    assert all(np.array(Image.open(tmp_path / 'out' / name)).shape == (120, 160, 3) for name in written)


def test_the_bar_moves_within_a_large_picture(tmp_path, monkeypatch):
    save(tmp_path / 'a.png', 1, (60, 80))
    monkeypatch.setattr(files, '_LARGE', 100)
    seen = []

    class Restore:
        on_progress = None

        def __call__(self, pixels):
            for share in (0.25, 0.5, 1.0):
                self.on_progress(share)
                seen.append(share)
            return pixels

    restore = Restore()
    monkeypatch.setattr(files, 'tqdm', lambda **options: Bar(seen))
    summary = restore_files(restore, [tmp_path / 'a.png'], tmp_path / 'out', Options(progress=True))
    assert summary.restored == 1 and restore.on_progress is None
    assert ('bar', 0.25) in seen and ('bar', 0.5) in seen


class Bar:
    """Enough of a progress bar."""

    disable, n = False, 0

    def __init__(self, seen):
        self.seen = seen

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def refresh(self):
        self.seen.append(('bar', self.n))

    def update(self):
        self.n += 1

    def set_postfix_str(self, *_, **__):
        pass


@pytest.mark.parametrize(
    ('statement', 'absent'),
    [
        ('import mirage_restore.cli', 'torch cv2 numpy PIL pyvips av basicsr tqdm'),
        ('import mirage_restore.photo, mirage_restore.photo_write', 'torch cv2 av basicsr torchvision'),
        ('import mirage_arch', 'basicsr torchvision cv2'),
        ('import mirage_restore.restorer, mirage_restore.files', 'basicsr torchvision cv2 av mirage_ir'),
    ],
)
def test_what_is_not_needed_is_not_imported(statement, absent):
    code = f'{statement}\nimport sys\nfound = set({absent.split()}) & set(sys.modules)\nassert not found, found'
    subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})


_FROM_COLD = """
import re, sys, torch
from pathlib import Path

def peak():
    status = Path('/proc/self/status')
    return int(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1]) / 1024 if status.exists() else 0

before = peak()
from mirage_restore.cli import main
assert main(sys.argv[1:]) == 0
found = {'basicsr', 'torchvision', 'cv2', 'av', 'mirage_ir'} & set(sys.modules)
assert not found, found
assert peak() - before < 300, f'{peak() - before:.0f} MB more than PyTorch itself takes'  # 235 where it was written
"""


def test_a_photograph_from_cold_takes_little_memory_and_no_basicsr(tmp_path):
    save(tmp_path / 'a.png', size=(320, 480))
    given = [tmp_path / 'a.png', '-o', tmp_path / 'out', '--quiet', '--device', 'cpu']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    subprocess.run([sys.executable, '-c', _FROM_COLD, *given], check=True, env=environment)

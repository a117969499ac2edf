import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from mirage_arch.checkpoints import save_weights
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_restore import cli
from mirage_restore.files import Options, find_jobs, restore_files
from mirage_restore.jobs import RECORD_NAME
from mirage_restore.photo import Photo, read_photo
from mirage_restore.photo_write import write_photo
from mirage_restore.video import restore_video

ROOT = Path(__file__).resolve().parents[2]
QUIET = Options(progress=False)


def invert(pixels):
    return np.iinfo(pixels.dtype).max - pixels


def save(path, value=40, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / 'bad photos'
    save(folder / 'a.png')
    save(folder / 'b.c.png')
    save(folder / 'sub' / 'ä.png')
    (folder / 'notes.txt').write_text('not an image')
    return folder


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'miniature.safetensors'
    save_weights(MIRAGEArch(dim=6, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1).state_dict(), path)
    return path


def results(folder):
    files = (p for p in folder.rglob('*') if p.is_file() and p.name != RECORD_NAME)
    return sorted(p.relative_to(folder).as_posix() for p in files)


def test_folder(photographs, tmp_path):
    summary = restore_files(invert, [photographs], tmp_path / 'out', QUIET)
    assert (summary.restored, summary.failed) == (2, 0)
    assert results(tmp_path / 'out') == ['a.png', 'b.c.png']
    assert np.array(Image.open(tmp_path / 'out' / 'a.png'))[0, 0, 0] == 215


def test_recursive_keeps_the_layout(photographs, tmp_path):
    restore_files(invert, [photographs], tmp_path / 'out', Options(recursive=True, progress=False))
    assert results(tmp_path / 'out') == ['a.png', 'b.c.png', 'sub/ä.png']


def test_patterns_files_suffix_and_format(photographs, tmp_path):
    options = Options(suffix='_restored', format='jpg', progress=False)
    restore_files(invert, [photographs / 'a.png', str(photographs / 'b*.png')], tmp_path / 'out', options)
    assert results(tmp_path / 'out') == ['a_restored.jpg', 'b.c_restored.jpg']


def test_equal_names_do_not_overwrite_each_other(tmp_path):
    save(tmp_path / 'in' / 'a.png', 10)
    save(tmp_path / 'in' / 'a.bmp', 20)
    save(tmp_path / 'other' / 'a.png', 30)
    summary = restore_files(
        invert, [tmp_path / 'in', tmp_path / 'other'], tmp_path / 'out', Options(format='png', progress=False)
    )
    assert summary.restored == 3
    values = {int(np.array(Image.open(path))[0, 0, 0]) for path in (tmp_path / 'out').glob('*.png')}
    assert values == {245, 235, 225}


def test_an_input_is_never_overwritten(photographs):
    before = (photographs / 'a.png').read_bytes()
    summary = restore_files(invert, [photographs], photographs, QUIET)
    assert (summary.restored, summary.failed) == (0, 2)
    assert 'overwrite an input' in summary.failures[0][1]
    assert (photographs / 'a.png').read_bytes() == before


def test_one_bad_file_does_not_stop_the_rest(photographs, tmp_path):
    (photographs / 'empty.png').write_bytes(b'')
    (photographs / 'cut.jpg').write_bytes(cv2.imencode('.jpg', np.zeros((60, 60, 3)))[1].tobytes()[:300])
    summary = restore_files(invert, [photographs, 'absent.png'], tmp_path / 'out', QUIET)
    assert summary.restored == 2
    assert {source.name for source, _ in summary.failures} == {'empty.png', 'cut.jpg', 'absent.png'}
    assert results(tmp_path / 'out') == ['a.png', 'b.c.png']


def test_a_restoration_that_fails_is_reported(photographs, tmp_path):
    def failing(pixels):
        raise RuntimeError("can't allocate memory")

    summary = restore_files(failing, [photographs], tmp_path / 'out', QUIET)
    assert summary.failed == 2
    assert 'out of memory' in summary.failures[0][1]


def test_unwritable_output_is_reported(photographs, tmp_path):
    (tmp_path / 'out').write_text('a file where the folder should be')
    summary = restore_files(invert, [photographs], tmp_path / 'out', QUIET)
    assert (summary.restored, summary.failed) == (0, 2)
    assert 'could not be written' in summary.failures[0][1]


def test_skip_existing(photographs, tmp_path):
    restore_files(invert, [photographs / 'a.png'], tmp_path / 'out', QUIET)
    summary = restore_files(invert, [photographs], tmp_path / 'out', Options(skip_existing=True, progress=False))
    assert (summary.restored, summary.skipped) == (1, 1)


def test_comparison_picture(photographs, tmp_path):
    restore_files(invert, [photographs / 'a.png'], tmp_path / 'out', Options(compare=True, progress=False))
    picture = np.array(Image.open(tmp_path / 'out' / 'a_compare.png'))
    assert picture.shape[0] == 12
    assert (picture[0, 0, 0], picture[0, -1, 0]) == (40, 215)


def test_comparisons_of_equal_names_stay_apart(tmp_path):
    save(tmp_path / 'in' / 'a.png', 10)
    save(tmp_path / 'in' / 'a.bmp', 20)
    restore_files(invert, [tmp_path / 'in'], tmp_path / 'out', Options(compare=True, progress=False))
    assert results(tmp_path / 'out') == ['a.bmp', 'a.png', 'a_compare.png', 'a_compare_png.png']


def test_a_comparison_has_the_profile_of_the_photograph(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    grey = profile[:16] + b'GRAY' + profile[20:]
    write_photo(Photo(np.full((12, 10, 3), 40, np.uint8), profile), tmp_path / 'a.png')
    write_photo(Photo(np.full((12, 10), 40, np.uint8), grey), tmp_path / 'b.png')
    given = [tmp_path / 'a.png', tmp_path / 'b.png']
    restore_files(invert, given, tmp_path / 'out', Options(compare=True, progress=False))
    assert read_photo(tmp_path / 'out' / 'a_compare.png').icc_profile == profile
    assert read_photo(tmp_path / 'out' / 'b_compare.png').icc_profile is None


def test_comparisons_beside_their_sources_are_no_photographs(tmp_path):
    save(tmp_path / 'in' / 'a.png', 10)
    save(tmp_path / 'in' / 'a.bmp', 20)
    expected = ['a.bmp', 'a.png', 'a_r.bmp', 'a_r.png', 'a_r_compare.png', 'a_r_compare_png.png']
    for options in ({'compare': True}, {'compare': True}, {}, {'compare': True, 'skip_existing': True}):
        summary = restore_files(invert, [tmp_path / 'in'], tmp_path / 'in', Options('_r', progress=False, **options))
        assert (summary.restored + summary.skipped, summary.failures) == (2, [])
        assert results(tmp_path / 'in') == expected


def test_comparisons_that_an_older_record_does_not_name_are_no_photographs(tmp_path):
    save(tmp_path / 'in' / 'a.png', 10)
    options = Options('_r', compare=True, progress=False)
    restore_files(invert, [tmp_path / 'in'], tmp_path / 'in', options)
    record = tmp_path / 'in' / RECORD_NAME
    record.write_text(record.read_text().replace(', "comparison": "a_r_compare.png"', ''))
    assert '"comparison"' not in record.read_text()
    restore_files(invert, [tmp_path / 'in'], tmp_path / 'in', options)
    assert results(tmp_path / 'in') == ['a.png', 'a_r.png', 'a_r_compare.png']


def test_a_comparison_that_would_overwrite_an_input_is_named(tmp_path):
    save(tmp_path / 'a.png'), save(tmp_path / 'a_r_compare.png')
    plan = find_jobs([tmp_path / 'a.png', tmp_path / 'a_r_compare.png'], tmp_path, Options('_r', compare=True))
    assert [job.source.name for job in plan.jobs] == ['a_r_compare.png']
    reason = f'its comparison {tmp_path / "a_r_compare.png"} would overwrite an input'
    assert plan.useless[0][0] == tmp_path / 'a.png' and plan.useless[0][1].startswith(reason)


def test_files_that_are_no_results_are_not_replaced(tmp_path):
    save(tmp_path / 'a.png', 10), save(tmp_path / 'a.jpg', 200), save(tmp_path / 'a_png_compare.png', 90)
    kept = {name: (tmp_path / name).read_bytes() for name in ('a.jpg', 'a_png_compare.png')}
    for skip in (False, False, True):
        options = Options(format='jpg', compare=True, skip_existing=skip, progress=False)
        summary = restore_files(invert, [tmp_path / 'a.png'], tmp_path, options)
        assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
        assert results(tmp_path) == ['a.jpg', 'a.png', 'a_png.jpg', 'a_png_compare.png', 'a_png_compare_png.png']
        said = f'{tmp_path / "a.jpg"} is there and is no result of mirage-restore: restored to {tmp_path / "a_png.jpg"}'
        assert summary.notes == ([] if skip else [(tmp_path / 'a.png', said)])
    assert summary.skipped == 1


def test_results_keep_their_names_when_they_are_made_again(tmp_path):
    save(tmp_path / 'in' / 'a.png', 10)
    for value, suffix in ((10, ''), (20, '_b'), (30, ''), (40, '_b')):
        save(tmp_path / 'in' / 'a.png', value)
        restore_files(invert, [tmp_path / 'in'], tmp_path / 'out', Options(suffix, progress=False))
        assert np.array(Image.open(tmp_path / 'out' / f'a{suffix}.png'))[0, 0, 0] == 255 - value
    assert results(tmp_path / 'out') == ['a.png', 'a_b.png']
    save(tmp_path / 'named.png', 90)  # what -o names is replaced, whoever made it
    restore_files(invert, [tmp_path / 'in' / 'a.png'], tmp_path / 'named.png', QUIET)
    assert np.array(Image.open(tmp_path / 'named.png'))[0, 0, 0] == 255 - 40


def test_results_are_known_whichever_way_their_folder_is_named(tmp_path, monkeypatch):
    save(tmp_path / 'in' / 'a.png', 10)
    monkeypatch.chdir(tmp_path)
    for given, target in ((tmp_path / 'in', 'in'), ('in', tmp_path / 'in'), (tmp_path / 'in', 'in')):
        restore_files(invert, [given], target, Options('_r', progress=False))
    assert results(tmp_path / 'in') == ['a.png', 'a_r.png']


def test_wrong_options():
    with pytest.raises(ValueError, match='format'):
        Options(format='exe')
    with pytest.raises(ValueError, match='suffix'):
        Options(suffix='a/b')


def test_duplicate_inputs_are_restored_once(photographs):
    plan = find_jobs([photographs, photographs / 'a.png'], 'out', Options())
    assert len(plan.jobs) == 2
    assert not plan.useless
    assert [file.name for file in plan.unread] == ['notes.txt']


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (32, 24))
    for value in (30, 60, 90):
        writer.write(np.full((24, 32, 3), value, np.uint8))
    writer.release()
    return path


def test_video_frame_by_frame(video, tmp_path):
    assert restore_video(invert, video, tmp_path / 'out' / 'film.avi', progress=False).frames == 3
    capture = cv2.VideoCapture(str(tmp_path / 'out' / 'film.avi'))
    frames = [capture.read()[1] for _ in range(3)]
    assert [round(float(frame.mean()) / 5) * 5 for frame in frames] == [225, 195, 165]
    assert results(tmp_path / 'out') == ['film.avi']


def test_broken_video_is_reported_and_leaves_nothing(tmp_path):
    (tmp_path / 'film.mp4').write_bytes(b'not a video')
    summary = restore_files(invert, [tmp_path / 'film.mp4'], tmp_path / 'out', QUIET)
    assert summary.failed == 1
    assert results(tmp_path / 'out') == []


def test_command(photographs, weights, tmp_path, capsys):
    (photographs / 'empty.png').write_bytes(b'')
    out = tmp_path / 'good photos'
    code = cli.main([str(photographs), '-o', str(out), '-w', str(weights), '--quiet', '--device', 'cpu'])
    assert code == 1
    assert results(out) == ['a.png', 'b.c.png']
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count('empty.png') == 1
    again = [str(photographs / 'a.png'), '-o', str(out), '-w', str(weights), '--quiet', '--skip-existing']
    assert cli.main(again) == 0
    assert '1 skipped' in capsys.readouterr().out


def test_command_refuses_wrong_weights(photographs, tmp_path, capsys):
    assert cli.main([str(photographs), '-w', str(tmp_path / 'none.pth')]) == 2
    assert 'none.pth' in capsys.readouterr().err


def test_interrupt_leaves_whole_files_only(tmp_path):
    """Ctrl-C in the middle of a folder: every file that is there is whole, and no other is."""
    for number in range(30):
        save(tmp_path / 'in' / f'{number:02d}.png', number)
    code = (
        'import signal, sys, time\n'
        'from mirage_restore.files import Options, restore_files\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'  # ignored in what a shell runs in the background
        'def slow(pixels):\n    time.sleep(0.05)\n    return pixels\n'
        'print("ready", flush=True)\n'
        'try:\n    restore_files(slow, [sys.argv[1]], sys.argv[2], Options(progress=False))\n'
        'except KeyboardInterrupt:\n    sys.exit(130)\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code, str(tmp_path / 'in'), str(tmp_path / 'out')], stdout=subprocess.PIPE, cwd=ROOT
    )
    process.stdout.readline()
    while not (tmp_path / 'out').exists() or len(list((tmp_path / 'out').glob('[0-9]*'))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    written = results(tmp_path / 'out')
    assert 3 <= len(written) < 30
    for name in written:
        assert np.array(Image.open(tmp_path / 'out' / name)).shape == (12, 10, 3)


def test_restorer_restores_a_folder(photographs, weights, tmp_path):
    from mirage_restore import Restorer

    failed = Restorer(weights, device='cpu').restore_folder(photographs, tmp_path / 'out', progress=False)
    assert failed == 0
    assert results(tmp_path / 'out') == ['a.png', 'b.c.png', 'sub/ä.png']
    assert torch.is_grad_enabled()

import io
import json
import os
import socket
import sys
import threading
import time
import zlib
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import numpy as np
import pytest
from PIL import Image
from web_server import served

pytest.importorskip('starlette', reason='needs the extra web: starlette')
pytest.importorskip('uvicorn', reason='needs the extra web: uvicorn')

from mirage_restore import Restorer
from mirage_web.cli import main
from mirage_web.limits import Limits


def picture(width=40, height=30, kind='PNG', **options):
    rng = np.random.default_rng(0)
    content = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(content, kind, **options)
    return content.getvalue()


def test_a_picture_comes_back_as_the_restorer_gives_it(server):
    sent = picture()
    status, headers, content = server.ask('/api/restore?name=a%20b.png&strength=0.5', sent)
    assert status == 200 and headers['content-type'] == 'image/png'
    assert 'a b_restored.png' in unquote(headers['content-disposition'])
    expected = Restorer(device='cpu', strength=0.5)(np.asarray(Image.open(io.BytesIO(sent))))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), expected)
    words = unquote(headers['x-mirage-words'])
    assert '40x30 pixels restored in' in words and 'strength 50%' in words


def test_the_model_may_be_chosen_by_the_picture(server):
    sent = picture()
    status, headers, content = server.ask('/api/restore?name=a.png&model=auto', sent)
    chosen = Restorer(device='cpu', model='auto')
    expected = chosen(np.asarray(Image.open(io.BytesIO(sent))))
    assert status == 200 and f'(auto: {chosen.chosen}, fp32)' in unquote(headers['x-mirage-words'])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), expected)


def test_a_second_picture_is_not_reported_to_who_sent_the_first(server):
    for name in ('a', 'b'):
        status, job = server.told(f'/api/jobs?name={name}.png&model=auto', picture())
        assert status == 202
        done = server.wait_for(job['id'])
        assert done['state'] == 'done', done
        server.ask(f'/api/jobs/{job["id"]}', method='DELETE')


def test_the_tone_is_kept_where_asked(server):
    sent = picture()
    status, headers, content = server.ask('/api/restore?name=a.png&keep_tone=1', sent)
    assert status == 200 and 'tone kept' in unquote(headers['x-mirage-words'])
    expected = Restorer(device='cpu', keep_tone=True)(np.asarray(Image.open(io.BytesIO(sent))))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), expected)


def test_a_jpeg_keeps_its_format_and_tags(server):
    exif = Image.Exif()
    exif[0x010F] = 'A camera'
    exif[0x0112] = 6  # lies on its side
    status, _, content = server.ask('/api/restore?name=p.jpg', picture(kind='JPEG', exif=exif, dpi=(300, 300)))
    result = Image.open(io.BytesIO(content))
    assert status == 200 and result.format == 'JPEG' and result.size == (30, 40)
    assert result.getexif()[0x010F] == 'A camera' and result.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize('kind, ending, first', [('JPEG', 'jpg', b'\xff\xd8'), ('TIFF', 'tif', b'\x89PNG')])
def test_a_job_shows_both_pictures_in_a_format_that_browsers_have(server, kind, ending, first):
    status, job = server.told(f'/api/jobs?name=p.{ending}', picture(kind=kind))
    assert status == 202
    done = server.wait_for(job['id'])
    assert done['state'] == 'done' and done['result'] == f'p_restored.{ending}' and done['progress'] <= 1
    for part in ('before', 'after'):
        status, headers, content = server.ask(f'/api/jobs/{job["id"]}/{part}')
        assert status == 200 and content.startswith(first) and headers['content-type'].startswith('image/')
    assert Image.open(io.BytesIO(server.ask(f'/api/jobs/{job["id"]}/result')[2])).format == kind
    folder = server.desk._folder / job['id']
    assert folder.is_dir()
    assert server.ask(f'/api/jobs/{job["id"]}', method='DELETE')[0] == 204
    assert not folder.exists() and server.ask(f'/api/jobs/{job["id"]}')[0] == 404


def bomb(width, height):
    """A PNG that claims to be large and is small."""

    def chunk(kind, body):
        return len(body).to_bytes(4, 'big') + kind + body + zlib.crc32(kind + body).to_bytes(4, 'big')

    head = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + bytes([8, 2, 0, 0, 0])
    chunks = chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks


HOSTILE = {
    'text.jpg': (b'hello, this is text', 'is not an image'),
    'cut.png': (picture()[:200], 'damaged or truncated'),
    'bomb.png': (bomb(60000, 60000), 'allowed here are at most 0.5 megapixels'),
    'large.png': (picture(1000, 600), '0.6 megapixels'),
    'page.svg': (b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', 'is not an image'),
    'film.mp4': (b'\0\0\0\x18ftypmp42' + bytes(100), 'film.mp4'),
    '../../etc/passwd': (b'root', 'passwd: is not an image'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_what_cannot_be_restored_is_answered_with_a_reason_and_no_path(server, name):
    content, reason = HOSTILE[name]
    status, told = server.told(f'/api/restore?name={name}', content)
    assert status == 422 and reason in told['error']
    assert str(server.desk._folder) not in told['error'] and '/tmp' not in told['error'] and '..' not in told['error']
    assert told['error'].startswith(os.path.basename(name))
    assert not list(server.desk._folder.iterdir())


@pytest.mark.parametrize(
    'query, reason',
    [
        ('strength=2', "strength must be a number from 0 to 1, got '2'"),
        ('strength=nan', 'strength must be'),
        ('keep_tone=yes', "keep_tone must be 0 or 1, got 'yes'"),
        ('precision=int8', 'precision must be one of fp32'),
        ('model=huge', 'model must be one of'),
        ('model=own', 'model must be one of'),
        ('color=red', 'unknown: color'),
    ],
)
def test_wrong_settings_are_told(server, query, reason):
    status, told = server.told(f'/api/restore?{query}', picture())
    assert status == 400 and reason in told['error']


def test_an_upload_beyond_the_limit_is_refused_by_its_header_and_while_it_streams(server):
    status, told = server.told('/api/restore?name=a.png', bytes(2_000_001))
    assert status == 413 and told['error'] == 'a.png: is larger than 2 MB, which is allowed here'

    where = urlsplit(server.address)
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:  # as curl asks for 2 GB
        connection.sendall(
            b'PUT /api/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000000\r\n'
            b'Expect: 100-continue\r\n\r\n'
        )
        assert connection.recv(1000).startswith(b'HTTP/1.1 413 ')
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        connection.sendall(
            b'POST /api/restore?name=b.png HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n'
        )
        try:
            for _ in range(200):  # 20 MB without saying so before
                connection.sendall(b'186a0\r\n' + bytes(100_000) + b'\r\n')
            answer = connection.recv(1000)
        except ConnectionError:
            answer = b' 413 '
    assert b' 413 ' in answer
    assert not list(server.desk._folder.iterdir())


def test_who_goes_away_while_sending_leaves_nothing(server):
    where = urlsplit(server.address)
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(
            b'POST /api/jobs?name=a.png HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc'
        )
        for _ in range(100):
            if list(server.desk._folder.iterdir()):
                break
            time.sleep(0.05)
        else:
            raise AssertionError('nothing arrived')
    for _ in range(100):
        if not list(server.desk._folder.iterdir()):
            break
        time.sleep(0.05)
    assert not list(server.desk._folder.iterdir())


def test_who_stops_sending_is_told_and_leaves_nothing(server, monkeypatch):
    monkeypatch.setattr('mirage_web.app._LONGEST_SILENCE', 0.2)
    where = urlsplit(server.address)
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        connection.sendall(b'POST /api/jobs?name=a.png HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc')
        answer = connection.recv(2000)
        assert answer.startswith(b'HTTP/1.1 408 ') and b'nothing arrived for 0.2 s' in answer
    assert not list(server.desk._folder.iterdir())


@pytest.mark.parametrize(
    'headers', [{'Host': 'evil.example'}, {'Host': '[::1'}, {'Origin': 'http://evil.example'}, {'Origin': 'http://['}]
)
def test_other_sites_cannot_use_it(server, headers):
    status, _, content = server.ask('/api/restore?name=a.png', picture(), headers=headers)
    assert status == 403 and 'error' in json.loads(content)


def test_no_address_leads_to_other_files(server):
    for path in (
        '/static/../app.py',
        '/static/%2e%2e/app.py',
        '/static/..%2fapp.py',
        '/static//etc/passwd',
        '/static/',
        '/examples/../../setup.py',
        '/file=/etc/passwd',
        '/api/jobs/..%2f..%2fetc%2fpasswd',
        '/static/app.js%00.png',
        '/openapi.json',
    ):
        where = urlsplit(server.address)
        with socket.create_connection((where.hostname, where.port), timeout=20) as connection:  # as it stands
            connection.sendall(f'GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'.encode())
            answer = b''.join(iter(lambda: connection.recv(65536), b''))
        assert answer.startswith(b'HTTP/1.1 404 ') and len(answer) < 1000, path


@pytest.mark.parametrize(
    'name, expected',
    [
        ('<img src=x onerror=alert(1)>.png', "utf-8''%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E_restored.png"),
        ('"; x=\r\nSet-Cookie: a=b.png', "utf-8''%22%3B%20x%3D%5Cx0d%5Cx0aSet-Cookie%3A%20a%3Db_restored.png"),
        ('\u202egpj.exe', "utf-8''%5Cu202egpj_restored.png"),
        ('....//....//etc/passwd.png', '"passwd_restored.png"'),
    ],
)
def test_a_name_is_a_name_only(server, name, expected):
    status, headers, _ = server.ask(f'/api/restore?name={quote(name)}', picture(16, 16))
    assert status == 200 and headers['content-disposition'].endswith(expected) and 'set-cookie' not in headers


def test_pages_need_nothing_from_elsewhere(server):
    for path in ('/', '/video', '/static/app.js', '/static/viewer.js', '/static/style.css'):
        status, headers, content = server.ask(path)
        assert status == 200 and b'http://' not in content and b'https://' not in content
        assert headers['x-content-type-options'] == 'nosniff' and 'default-src' in headers['content-security-policy']
    told = server.told('/api/info')[1]
    assert {'auto', 'mini', 'nano'} <= set(told['models']) and len(told['examples']) == 3
    for name in told['examples']:
        assert Image.open(io.BytesIO(server.ask(f'/examples/{name}')[2])).format == 'JPEG'


def _film(path, frames, title='A title', **options):
    av = pytest.importorskip('av')
    with av.open(str(path), 'w', options=options, metadata_encoding='latin-1') as container:
        container.metadata['title'] = title
        stream = container.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for number in range(frames):
            pixels = np.full((48, 64, 3), 40 + number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return path.read_bytes()


def test_a_video_is_restored_and_a_long_one_refused(server, tmp_path):
    av = pytest.importorskip('av')

    status, job = server.told('/api/jobs?name=f.mp4', _film(tmp_path / 'f.mp4', 5))
    done = server.wait_for(job['id'])
    assert done['state'] == 'done', done
    assert '5 frames restored' in done['words']
    assert server.ask(f'/api/jobs/{job["id"]}/after')[2].startswith(b'\x89PNG')
    (tmp_path / 'back.mp4').write_bytes(server.ask(f'/api/jobs/{job["id"]}/result')[2])
    with av.open(str(tmp_path / 'back.mp4')) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    server.ask(f'/api/jobs/{job["id"]}', method='DELETE')
    status, told = server.told('/api/restore?name=long.mp4', _film(tmp_path / 'long.mp4', 40))
    assert status == 422 and told['error'].startswith('long.mp4: lasts 4 s; allowed here are 2 s')


def test_a_long_video_that_does_not_state_its_length_is_refused(server, tmp_path):
    status, told = server.told('/api/restore?name=live.mkv', _film(tmp_path / 'live.mkv', 40, live='1'))
    assert status == 422 and told['error'].startswith('live.mkv: lasts 4 s; allowed here are 2 s')


def test_a_video_with_a_title_that_is_not_utf8_is_restored(server, tmp_path):
    job = server.told('/api/jobs?name=a.avi', _film(tmp_path / 'a.avi', 3, title='Caf\xe9'))[1]
    done = server.wait_for(job['id'])
    assert done['state'] == 'done' and 'not UTF-8' in done['words'], done
    server.ask(f'/api/jobs/{job["id"]}', method='DELETE')


def test_an_error_that_needs_more_than_a_text_is_told_as_one(server, monkeypatch):
    def undecodable(*_):
        raise UnicodeDecodeError('utf-8', b'\xe9', 0, 1, 'unexpected end of data')

    monkeypatch.setattr('mirage_web.restoring.read_photo', undecodable)
    status, told = server.told('/api/restore?name=a.png', picture())
    assert status == 422 and 'unexpected end of data' in told['error']


@pytest.mark.parametrize(
    'name, asked',
    [
        ('Photos.Example.org', 'photos.example.org'),
        ('photos.example.org:8443', 'photos.example.org'),
        ('[2001:DB8::1]:443', '2001:db8::1'),
        ('2001:db8::1', '2001:db8::1'),
    ],
)
def test_a_name_is_compared_without_capitals_and_port(name, asked, monkeypatch, capsys):
    pytest.importorskip('uvicorn', reason='needs the extra web')
    hosts = []

    def stopped(*_, **settings):
        hosts.append(settings['hosts'])
        raise ValueError('stopped')

    monkeypatch.setattr('mirage_web.app.make_app', stopped)
    assert main(['--port', '0', '--name', name]) == 2
    assert hosts == [{asked, '127.0.0.1', 'localhost', '::1'}]
    for wrong in ('https://photos.example.org/', '', 'a b', '[::1', '1:2:3'):
        assert main(['--port', '0', '--name', wrong]) == 2
        assert f'--name must be a name such as photos.example.org, got {wrong!r}' in capsys.readouterr().err


class Gate:
    """Stands for the network: waits until it is let through."""

    def __init__(self):
        self.open, self.inside, self.most = threading.Event(), 0, 0

    def __call__(self, job):
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            while not self.open.wait(0.02):
                job.moved(0.5)
            raise ValueError(f'{job.source}: was let through')
        finally:
            self.inside -= 1


def test_one_at_a_time_in_the_order_of_arrival_with_positions_and_an_end_to_the_queue():
    with served(limits=Limits(waiting=2)) as server:
        gate = server.desk._restore = Gate()
        first, second = (server.told('/api/jobs?name=a.png', b'x')[1]['id'] for _ in range(2))
        while server.told(f'/api/jobs/{first}')[1]['state'] != 'working':
            time.sleep(0.02)
        third = server.told('/api/jobs?name=a.png', b'x')[1]['id']
        assert [server.told(f'/api/jobs/{job}')[1]['before_it'] for job in (first, second, third)] == [0, 1, 2]
        status, told = server.told('/api/jobs?name=a.png', b'x')
        assert status == 503 and '2 files wait already' in told['error']
        assert server.ask(f'/api/jobs/{second}/result')[0] == 409
        assert server.ask(f'/api/jobs/{second}', method='DELETE')[0] == 204
        assert server.told(f'/api/jobs/{third}')[1]['before_it'] == 1
        gate.open.set()
        assert server.wait_for(third)['words'] == 'a.png: was let through'
        assert gate.most == 1


def test_work_that_nobody_waits_for_stops_and_old_results_go():
    with served(limits=Limits(patience=0.3, minutes=0.001)) as server:
        server.desk._restore = Gate()
        job = server.told('/api/jobs?name=a.png', b'x')[1]['id']
        folder = server.desk._folder
        for _ in range(100):
            if server.desk._jobs.get(job) is None or server.desk._jobs[job].state == 'given up':
                break
            time.sleep(0.05)
        time.sleep(0.1)
        server.desk.sweep()
        assert not (folder / job).exists()
    assert not folder.exists()  # the server's end


def test_a_port_in_use_and_wrong_arguments_are_told(capsys, tmp_path, monkeypatch):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        assert main(['--port', str(taken.getsockname()[1])]) == 1
    assert 'the port is in use' in capsys.readouterr().err
    assert main(['--max-mb', '0']) == 2
    assert 'megabytes must be a number above 0, got 0' in capsys.readouterr().err
    for flag, name in (('--max-mb', 'megabytes'), ('--max-megapixels', 'megapixels'), ('--max-seconds', 'seconds')):
        for value in ('inf', 'nan'):
            assert main([flag, value]) == 2
            assert f'{name} must be a number' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'uvicorn', None)
    assert main(['--port', '0']) == 1
    assert 'uvicorn is missing: pip install' in capsys.readouterr().err
    monkeypatch.undo()
    assert main(['--port', '0', '--weights', str(tmp_path / 'none.pth')]) == 2
    assert 'none.pth' in capsys.readouterr().err
    assert not Path(tmp_path / 'none.pth').exists()

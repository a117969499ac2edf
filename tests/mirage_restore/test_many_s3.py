"""Inputs and outputs in a bucket, of a server that speaks S3."""

import os

import numpy as np
import pytest
from here import Here
from PIL import Image

from mirage_restore.jobs import Options
from mirage_restore.many import command

moto_server = pytest.importorskip('moto.server', reason='needs moto[server]')
s3fs = pytest.importorskip('s3fs', reason='needs s3fs')


def test_a_bucket_in_a_bucket_out(tmp_path, monkeypatch):
    server = moto_server.ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
    server.start()
    monkeypatch.setattr(command, 'Processes', Here)
    for name, value in (
        ('ENDPOINT_URL', f'http://127.0.0.1:{server.get_host_and_port()[1]}'),
        ('ACCESS_KEY_ID', 'made-up'),
        ('SECRET_ACCESS_KEY', 'made-up'),
        ('DEFAULT_REGION', 'us-east-1'),
    ):
        monkeypatch.setitem(os.environ, f'AWS_{name}', value)
    try:
        bucket = s3fs.S3FileSystem(skip_instance_cache=True)
        bucket.mkdir('pictures')
        rng = np.random.default_rng(0)
        for number in range(2):
            Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / f'{number}.png')
            bucket.put_file(str(tmp_path / f'{number}.png'), f'pictures/in/{number}.png')
        setup = command.Setup(options=Options(progress=False, skip_existing=True))
        given = (['s3://pictures/in'], 's3://pictures/out', setup)
        assert command.restore_many(*given).restored == 2
        command.restore_many([str(tmp_path)], str(tmp_path / 'out'), setup)
        for number in range(2):
            expected = (tmp_path / 'out' / f'{number}.png').read_bytes()
            assert bucket.cat_file(f'pictures/out/{number}.png') == expected
        assert command.restore_many(*given).skipped == 2
        with pytest.raises(OSError, match='s3://absent/out: results could not be written there'):
            command.restore_many(['s3://pictures/in'], 's3://absent/out', setup)
    finally:
        server.stop()

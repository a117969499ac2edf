"""A real server on a port of its own, and what asks it."""

import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

import pytest


@dataclass
class Running:
    """A server in a thread."""

    address: str
    desk: object

    def ask(self, path, body=None, method=None, headers=None):
        """(status, headers, content), whatever the status."""
        request = urllib.request.Request(self.address + path, body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def told(self, path, body=None, method=None):
        """(status, decoded JSON)."""
        status, _, content = self.ask(path, body, method)
        return status, json.loads(content)

    def wait_for(self, identity):
        """What is told of a job when it is over."""
        for _ in range(600):
            told = self.told(f'/api/jobs/{identity}')[1]
            if told.get('state') not in ('arriving', 'waiting', 'working'):
                return told
            time.sleep(0.1)
        raise AssertionError(f'{identity} does not end')


@contextlib.contextmanager
def served(**options):
    uvicorn = pytest.importorskip('uvicorn', reason='needs the extra web')
    pytest.importorskip('starlette', reason='needs the extra web')
    from mirage_web.app import make_app

    app = make_app(device='cpu', **options)
    with socket.create_server(('127.0.0.1', 0)) as opened:
        server = uvicorn.Server(uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=1))
        thread = threading.Thread(target=lambda: server.run(sockets=[opened]), daemon=True)
        thread.start()
        try:
            yield Running(f'http://127.0.0.1:{opened.getsockname()[1]}', app.state.desk)
        finally:
            server.should_exit = True
            thread.join(30)

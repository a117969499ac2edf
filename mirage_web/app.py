"""The pages and the HTTP API of ``mirage-web``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mirage_restore.bundled import DEFAULT_MODEL
from mirage_restore.machine import harmless

from .desk import Choice, Desk, GivenUpError, Job
from .limits import Limits
from .restoring import OWN, PRECISIONS, Restoring, check_choice, offered

__all__ = ['make_app']

_HERE = Path(__file__).parent
_LONGEST_NAME = 120
_MOST_SWALLOWED = 64_000_000
_LONGEST_SILENCE = 60.0  # seconds within an upload
_CONTENT_TYPES = {  # of results; whatever else is a file to download
    '.png': 'image/png',
    '.jpg': 'image/jpeg',
    '.jpeg': 'image/jpeg',
    '.webp': 'image/webp',
    '.gif': 'image/gif',
    '.bmp': 'image/bmp',
    '.tif': 'image/tiff',
    '.tiff': 'image/tiff',
    '.avif': 'image/avif',
    '.heic': 'image/heic',
    '.mp4': 'video/mp4',
    '.m4v': 'video/mp4',
    '.mov': 'video/quicktime',
    '.webm': 'video/webm',
    '.mkv': 'video/x-matroska',
}
_SECURITY = {
    'content-security-policy': (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'"
    ),
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
}


class Refused(Exception):  # noqa: N818  an answer, no fault of the program
    """An answer with a status and a reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Api:
    """The routes of one server."""

    def __init__(self, desk: Desk, limits: Limits, own_weights: bool) -> None:
        self._desk, self._limits, self._own = desk, limits, own_weights

    async def info(self, request: Request) -> Response:
        """What can be chosen, and the limits."""
        limits = self._limits
        return JSONResponse(
            {
                'models': offered(self._own),
                'default_model': OWN if self._own else DEFAULT_MODEL,
                'precisions': PRECISIONS,
                'limits': {
                    'megabytes': limits.megabytes,
                    'megapixels': limits.megapixels,
                    'seconds': limits.seconds,
                    'waiting': limits.waiting,
                },
                'examples': sorted(file.name for file in (_HERE / 'examples').glob('*.jpg')),
            }
        )

    async def restore(self, request: Request) -> Response:
        """Body: a file. Answer: the restored file, when it is ready."""
        job = await self._received(request)
        try:
            while not job.ended.is_set():
                await asyncio.sleep(0.05)
                if await request.is_disconnected():
                    raise GivenUpError
                self._desk.get(job.id)
            if job.state != 'done':
                raise Refused(422, job.words)
            assert job.outcome is not None
            answer = _file_answer(job, job.outcome.result, download=True)
            answer.headers['x-mirage-words'] = quote(job.words, safe=' .,:;()%/-')
            answer.background = BackgroundTask(self._desk.drop, job)
            return answer
        except BaseException:
            self._desk.drop(job)
            raise

    async def create(self, request: Request) -> Response:
        """Body: a file. Answer: a job, to be asked about."""
        job = await self._received(request)
        return JSONResponse(self._described(job), 202, {'location': f'/api/jobs/{job.id}'})

    async def show(self, request: Request) -> Response:
        """How far a job is."""
        return JSONResponse(self._described(self._job(request)))

    async def delete(self, request: Request) -> Response:
        """Throw a job and its files away."""
        await run_in_threadpool(self._desk.drop, self._job(request))
        return Response(status_code=204)

    async def part(self, request: Request) -> Response:
        """The result, or what a browser shows of input and result."""
        job, part = self._job(request), request.path_params['part']
        if job.outcome is None:
            raise Refused(409, f'{job.name}: is not restored ({job.state})')
        return _file_answer(job, getattr(job.outcome, part), download=part == 'result')

    def _job(self, request: Request) -> Job:
        job = self._desk.get(request.path_params['id'])
        if job is None:
            raise Refused(404, 'no such job; results are thrown away after a while, send the file again')
        return job

    def _described(self, job: Job) -> dict[str, object]:
        return {
            'id': job.id,
            'name': job.name,
            'state': job.state,
            'before_it': self._desk.position(job),
            'progress': round(job.progress, 3),
            'words': job.words,
            'result': _result_name(job) if job.outcome else None,
        }

    async def _received(self, request: Request) -> Job:
        """Take a body into a file, never more than is allowed, and queue it."""
        asked = request.query_params
        known = ('name', 'model', 'precision', 'strength', 'keep_tone')
        unknown = set(asked) - set(known)
        if unknown:
            raise Refused(400, f'unknown: {", ".join(sorted(unknown))}; known are {", ".join(known)}')
        try:
            choice: Choice = check_choice(
                asked.get('model', ''),
                asked.get('precision', 'fp32'),
                asked.get('strength', '1'),
                asked.get('keep_tone', '0'),
                self._own,
            )
        except ValueError as error:
            raise Refused(400, str(error)) from error
        name = _plain_name(asked.get('name', ''))
        if request.headers.get('content-type', '').startswith('multipart/'):
            raise Refused(415, 'send the file itself as the body (curl -T photo.jpg), not a form')
        most = self._limits.upload_bytes
        too_large = f'{name}: is larger than {self._limits.megabytes:g} MB, which is allowed here'
        if int(request.headers.get('content-length') or 0) > most:
            await _swallow(request)
            raise Refused(413, too_large)
        try:
            job = await run_in_threadpool(self._desk.open, name, choice)
        except queue.Full:
            raise Refused(503, f'{self._limits.waiting} files wait already; try again in a while') from None
        try:
            received = 0
            with open(job.source, 'wb') as file:
                async for chunk in _flowing(request, name):
                    received += len(chunk)
                    if received > most:
                        raise Refused(413, too_large)
                    await run_in_threadpool(file.write, chunk)
            if not received:
                raise Refused(422, f'{name}: is empty; copy it again from its source')
        except OSError as error:
            self._desk.drop(job)
            raise Refused(507, f'{name}: could not be stored: {error.strerror or "disk"}') from error
        except BaseException:  # also the browser that goes away in the middle
            self._desk.drop(job)
            raise
        self._desk.put(job)
        return job


async def _flowing(request: Request, name: str) -> AsyncIterator[bytes]:
    """The body in pieces; who sends nothing for long does not keep a place in the queue."""
    stream = request.stream()
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), _LONGEST_SILENCE)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise Refused(408, f'{name}: nothing arrived for {_LONGEST_SILENCE:g} s; send it again') from None


async def _swallow(request: Request) -> None:
    """Take the rest of a body that is not wanted, up to a point: many clients read the answer only when they have sent
    all. Who asks before sending (``Expect: 100-continue``, as curl) is answered at once."""
    if 'expect' in request.headers:
        return
    swallowed = 0
    async for chunk in request.stream():
        swallowed += len(chunk)
        if swallowed > _MOST_SWALLOWED:
            return


class _Guard:
    """Answers only what asks by the server's own name, and from its own pages: other sites in a browser cannot use it.

    Args:
        app: What is guarded.
        hosts: Names in the header ``Host`` that are answered; None for all.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get('host', ''), headers.get('origin')
        refusal = None
        if self._hosts is not None and (_split(f'//{host}').hostname or '') not in self._hosts:
            refusal = f'asked by another name; ask as {", ".join(sorted(self._hosts))}'
        elif origin is not None and _split(origin).netloc != host:
            refusal = 'other sites may not use this server'

        async def secured(message: Message) -> None:
            if message['type'] == 'http.response.start':
                MutableHeaders(scope=message).update(_SECURITY)
            await send(message)

        if refusal:
            await JSONResponse({'error': refusal}, 403)(scope, receive, secured)
        else:
            await self._app(scope, receive, secured)


def _split(address: str) -> SplitResult:
    """The parts of an address; one that is none has none."""
    try:
        return urlsplit(address)
    except ValueError:  # such as http://[
        return urlsplit('')


def make_app(
    limits: Limits | None = None,
    *,
    weights: str | Path | None = None,
    device: str = 'auto',
    hosts: frozenset[str] | None = frozenset({'127.0.0.1', 'localhost', '::1'}),
) -> Starlette:
    """The application, to be served by any ASGI server with one process.

    Args:
        limits: What is taken and kept.
        weights: A file to offer beside the weights in the package.
        device: As of `Restorer`.
        hosts: Names by which the server may be asked; None for any.

    Raises:
        ValueError: The weights or the device cannot be used.
    """
    limits = limits or Limits()
    restoring = Restoring(limits, weights, device)
    usual = check_choice('', 'fp32', '1', own=weights is not None)
    restoring.load(usual)  # a wrong file is told before the first visitor
    desk = Desk(restoring, limits)
    api = _Api(desk, limits, weights is not None)

    async def page(request: Request) -> Response:
        return FileResponse(_HERE / 'static' / 'index.html', headers={'cache-control': 'no-cache'})

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return JSONResponse({'error': str(error)}, error.status, {'connection': 'close'})

    async def gone(request: Request, error: Exception) -> Response:
        return JSONResponse({'error': 'the connection was closed'}, 499)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(desk.close)

    app = Starlette(
        routes=[
            Route('/', page),
            Route('/video', page),
            Route('/api/info', api.info),
            Route('/api/restore', api.restore, methods=['POST', 'PUT']),
            Route('/api/jobs', api.create, methods=['POST', 'PUT']),
            Route('/api/jobs/{id}', api.show, methods=['GET']),
            Route('/api/jobs/{id}', api.delete, methods=['DELETE']),
            *(Route(f'/api/jobs/{{id}}/{part}', _of(api, part)) for part in ('result', 'before', 'after')),
            Mount('/examples', StaticFiles(directory=_HERE / 'examples')),
            Mount('/static', StaticFiles(directory=_HERE / 'static')),
        ],
        exception_handlers={Refused: refused, ClientDisconnect: gone, GivenUpError: gone},
        lifespan=lifespan,
    )
    app.add_middleware(_Guard, hosts=hosts)
    app.state.desk = desk
    return app


def _of(api: _Api, part: str):
    async def endpoint(request: Request) -> Response:
        request.path_params['part'] = part
        return await api.part(request)

    return endpoint


def _plain_name(asked: str) -> str:
    """A file name without folders and without what does not print; its ending is kept."""
    name = harmless(os.path.basename(asked.replace('\\', '/'))).strip().lstrip('.') or 'picture'
    stem, ending = os.path.splitext(name)
    if not ending[1:].isalnum() or not ending.isascii() or len(ending) > 6:
        stem, ending = name, ''
    return stem[: _LONGEST_NAME - len(ending)] + ending


def _result_name(job: Job) -> str:
    assert job.outcome is not None
    return f'{Path(job.name).stem}_restored{job.outcome.result.suffix}'


def _file_answer(job: Job, file: Path, download: bool) -> Response:
    if not file.is_file():
        raise Refused(404, f'{job.name}: was thrown away; send it again')
    kind = _CONTENT_TYPES.get(file.suffix.lower(), 'application/octet-stream')
    name = _result_name(job) if download else None
    return FileResponse(file, media_type=kind, filename=name, headers={'cache-control': 'private, no-store'})

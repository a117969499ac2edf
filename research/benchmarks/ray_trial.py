"""A real Ray cluster of two nodes on this machine: same bytes, a killed worker, a killed node, an S3 server.

``python research/benchmarks/ray_trial.py --count 24 --size 96 --output trial.json`` needs ray, and for S3 s3fs and
moto[server]. What it kills it started itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import socket
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_data import crew
from mirage_data.crew import Calling, Processes, RayActors, Team
from mirage_data.sets.synthesis import synthesize
from mirage_ir.commands import check_data
from mirage_restore.jobs import Options
from mirage_restore.many.command import Setup, Task, restore_many
from mirage_restore.many.places import UrlRecord, plan_urls
from research.common import parser_of

PARTS = (
    'two workers',
    'worker killed',
    's3',
    'synthesize',
    'check-data',
    'node killed',
    'overhead',
    'waiting',
    'plan',
    'picture',
)


_PORTS = ('metrics_agent_port', 'metrics_export_port', 'dashboard_agent_listen_port', 'runtime_env_agent_port')


def _node() -> dict[str, Any]:
    """A small node whose ports are given."""
    sockets = [socket.create_server(('', 0)) for _ in _PORTS]
    ports = {name: one.getsockname()[1] for name, one in zip(_PORTS, sockets)}
    for one in sockets:
        one.close()
    return {'num_cpus': 1, 'object_store_memory': 80_000_000, 'include_log_monitor': False, **ports}


@contextlib.contextmanager
def _patient_nodes() -> Iterator[None]:
    """Ray 2.60 ends a node whose agents take over 15 seconds to write their ports (its issue 65983): write them."""
    from ray._private.node import Node

    start = Node.start_raylet

    def start_with_ports(node: Any, *arguments: Any, **named: Any) -> None:
        with contextlib.suppress(ImportError, AttributeError):  # another release
            from ray._raylet import persist_port

            for name in _PORTS:
                persist_port(node._session_dir, node._node_id, name, getattr(node._ray_params, name))
        start(node, *arguments, **named)

    with mock.patch.object(Node, 'start_raylet', start_with_ports):
        yield


@contextlib.contextmanager
def two_nodes() -> Iterator[Any]:
    """A cluster of two nodes with a processor each, that this process is connected to; patient with busy machines."""
    patient = {
        'RAY_memory_monitor_refresh_ms': '0',
        'RAY_raylet_start_wait_time_s': '300',
        'RAY_agent_register_timeout_ms': '300000',
        'RAY_worker_register_timeout_seconds': '300',
        'RAY_health_check_timeout_ms': '60000',
        'RAY_enable_worker_prestart': '0',
        'RAY_prestart_worker_first_driver': '0',
        'RAY_USAGE_STATS_ENABLED': '0',
        'RAY_worker_niceness': '0',  # 15 by default: beside other programs its workers would hardly run
    }
    with mock.patch.dict(os.environ, patient), mock.patch.object(crew, '_PATIENCE', 3600.0), _patient_nodes():
        import ray
        from ray.cluster_utils import Cluster

        head = {**_node(), 'include_dashboard': False, 'no_monitor': True}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.second = cluster.add_node(**_node())
            ray.init(address=cluster.address, log_to_driver=False, logging_level='ERROR')
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


class Trial:
    """Runs over a cluster, each compared with a single process.

    Args:
        folder: For pictures and results.
        count: Pictures.
        size: Side in pixels.
        cluster: From `two_nodes`.
    """

    def __init__(self, folder: Path, count: int, size: int, cluster: Any) -> None:
        self.folder, self.count, self.cluster = folder, count, cluster
        self.setup = Setup(options=Options(recursive=True, progress=False, skip_existing=True))
        self.source = folder / 'in'
        self.source.mkdir()
        rng = np.random.default_rng(0)
        for number in range(count):
            pixels = np.clip(rng.normal(rng.integers(0, 256, 3), 25, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(self.source / f'{number:04d}.{("png", "jpg")[number % 2]}')
        self.told: dict[str, Any] = {'pictures': count, 'size': size, 'load': os.getloadavg()[0]}

    def run(self, parts: Sequence[str] = PARTS) -> dict[str, Any]:
        """Try some of `PARTS`; 'node killed' leaves one node."""
        start = time.monotonic()
        summary = restore_many([str(self.source)], str(self.folder / 'one'), self.setup, devices='cpu')
        self.told['one process'] = {'seconds': round(time.monotonic() - start, 1), 'restored': summary.restored}
        for part in parts:
            getattr(self, '_' + part.replace(' ', '_').replace('-', '_'))(part)
            print(part, self.told.get(part), flush=True)
        return self.told

    def _two_workers(self, name: str) -> None:
        self._restored(name)

    def _worker_killed(self, name: str) -> None:
        self._restored(name, meanwhile=self._kill_worker)

    def _node_killed(self, name: str) -> None:
        self._restored(name, meanwhile=self._kill_node)

    def _restored(self, name: str, meanwhile=None, source: str | None = None, target: str | None = None) -> None:
        place = target or str(self.folder / name.replace(' ', '_'))
        restore = partial(restore_many, [source or str(self.source)], place, self.setup, ray='auto')
        with self._meanwhile(Path(place), meanwhile, '*.*g') as entry:
            start = time.monotonic()
            summary = restore()
            entry['seconds, start of the workers included'] = round(time.monotonic() - start, 1)
        again = restore()
        self.told[name] = entry | {
            'restored': summary.restored,
            'failures': [str(failure) for failure in summary.failures],
            'bytes of one process': self._same(place),
            'second run': {'restored': again.restored, 'skipped': again.skipped},
        }

    @contextlib.contextmanager
    def _meanwhile(self, place: Path, act: Callable[[], str] | None, pattern: str) -> Iterator[dict[str, Any]]:
        """Does something when there are three results, and says what."""
        entry: dict[str, Any] = {}
        over = threading.Event()

        def watch() -> None:
            while (there := len(list(place.glob(pattern)))) < 3:
                if over.wait(0.01):
                    return
            entry['killed'] = f'{act()} after {there} results'

        watcher = threading.Thread(target=watch, daemon=True)
        if act:
            watcher.start()
        yield entry
        over.set()
        if act:
            watcher.join(60)

    def _kill_worker(self) -> str:
        import psutil

        workers = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended
                if 'ray::_Actor' in ' '.join(process.cmdline()):
                    workers.append(process)
        workers[0].kill()
        return f'one of {len(workers)} workers (SIGKILL)'

    def _kill_node(self) -> str:
        self.cluster.remove_node(self.cluster.second, allow_graceful=False)
        return 'the second of two nodes'

    def _same(self, place: str) -> bool:
        if place.startswith('s3://'):
            import fsspec

            system, path = fsspec.core.url_to_fs(place)
            names = [name for name in system.find(path) if '.mirage' not in name]
            found = {name.rsplit('/', 1)[1]: hashlib.sha256(system.cat_file(name)).hexdigest() for name in names}
        else:
            found = _files(Path(place))
        expected = _files(self.folder / 'one')
        return len(expected) == self.count and found == expected

    def _synthesize(self, name: str) -> None:
        settings = {'layout': 'paired', 'recipe': [{'degradation': 'rain'}], 'copies': 4, 'progress': False}
        synthesize([self.source], self.folder / 'pairs', jobs=1, **settings)
        place = self.folder / 'pairs_of_cluster'
        with self._meanwhile(place / 'lq', self._kill_worker, '*.png') as entry:
            records, failures = synthesize([self.source], place, ray='auto', **settings)
        self.told[name] = entry | {
            'pairs': len(records),
            'failures': failures,
            'bytes of one process': _files(place) == _files(self.folder / 'pairs'),
        }

    def _check_data(self, name: str) -> None:
        arguments = ['--train', str(self.source), '--test', str(self.source), '--json']
        reports = []
        for more in ([], ['--ray', 'auto']):
            with contextlib.redirect_stdout(io.StringIO()):
                check_data.main([*arguments, str(self.folder / 'report.json'), *more])
            reports.append((self.folder / 'report.json').read_text())
        self.told[name] = {'report of one process': reports[0] == reports[1], 'bytes': len(reports[0])}

    def _s3(self, name: str) -> None:
        try:
            import s3fs
            from moto.server import ThreadedMotoServer
        except ImportError as error:
            self.told[name] = f'left out: {error.name} is missing'
            return
        server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
        server.start()
        # the workers know the server from their environment, as on a real cluster
        values = {
            'AWS_ENDPOINT_URL': f'http://127.0.0.1:{server.get_host_and_port()[1]}',
            'AWS_ACCESS_KEY_ID': 'made-up',
            'AWS_SECRET_ACCESS_KEY': 'made-up',
            'AWS_DEFAULT_REGION': 'us-east-1',
        }
        os.environ.update(values)
        import ray

        ray.shutdown()
        ray.init(
            address=self.cluster.address,
            log_to_driver=False,
            logging_level='ERROR',
            runtime_env={'env_vars': values},
        )
        try:
            system = s3fs.S3FileSystem()
            system.mkdir('pictures')
            for file in self.source.iterdir():
                system.put_file(str(file), f'pictures/in/{file.name}')
            self._restored(name, source='s3://pictures/in', target='s3://pictures/out')
            try:
                restore_many(['s3://pictures/in'], 's3://not-there/out', self.setup, devices='cpu')
            except OSError as error:
                self.told[name]['a bucket that cannot be written'] = str(error)
        finally:
            server.stop()

    def _overhead(self, name: str) -> None:
        """Milliseconds of a task that does nothing, with one worker and with two, and of this process in it."""
        entry = {}
        for title, make in (
            ('processes', lambda many: Processes(partial(Calling, abs), ['cpu'] * many)),
            ('ray', lambda many: RayActors(partial(Calling, abs), 'auto', many)),
        ):
            for many in (1, 2):
                with Team(make(many)) as team:
                    list(team.do(range(20)))
                    times = []
                    for _ in range(3):
                        start = time.perf_counter(), time.process_time()
                        done = len(list(team.do(range(500))))
                        ends = time.perf_counter(), time.process_time()
                        times.append([1000 * (end - begin) / done for begin, end in zip(start, ends)])
                entry[f'{title}, {many}'] = [round(min(column), 3) for column in zip(*times)]
        self.told[name] = entry

    def _waiting(self, name: str) -> None:
        """Tasks a second by workers, where each waits for 0.1 s without computing: what the scheduler lets through."""
        entry = {}
        for many in (1, 2, 4, 8):
            with Team(Processes(partial(Calling, time.sleep), ['cpu'] * many)) as team:
                list(team.do([0.1] * 2 * many))
                start, count = time.perf_counter(), 20 * many
                list(team.do([0.1] * count))
                entry[many] = round(count / (time.perf_counter() - start), 1)
        self.told[name] = {**entry, 'load': os.getloadavg()[0]}

    def _plan(self, name: str) -> None:
        """What looking through a folder by its URL costs this process, for each picture."""
        place, count = self.folder / 'many', 5000
        for number in range(count):
            (place / f'{number // 1000:04d}').mkdir(parents=True, exist_ok=True)
            (place / f'{number // 1000:04d}' / f'{number:09d}.jpg').touch()
        target = (self.folder / 'none').as_uri()
        record = UrlRecord(target, read=False)
        tracemalloc.start()
        plan = plan_urls([place.as_uri()], target, self.setup.options, record)
        tasks = [Task(source, result) for source, result, _ in plan.tasks]
        memory = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        start = time.process_time()
        plan_urls([place.as_uri()], target, self.setup.options, record)
        seconds = time.process_time() - start
        assert len(tasks) == count
        self.told[name] = {'milliseconds': round(1000 * seconds / count, 3), 'bytes': round(memory / count)}

    def _picture(self, name: str) -> None:
        """Processor seconds of a photograph of a megapixel with the network in the package, on one thread."""
        import torch

        from mirage_restore import Restorer

        torch.set_num_threads(1)
        restore, pixels = Restorer(device='cpu'), np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
        times = []
        for _ in range(3):
            start = time.process_time()
            restore(pixels)
            times.append(time.process_time() - start)
        self.told[name] = {'processor seconds': round(min(times), 2)}


def _files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file() and '.mirage' not in path.name
    }


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--count', type=int, default=24, help='pictures')
    parser.add_argument('--size', type=int, default=96, help='side in pixels')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS, help='what to try (everything)')
    parser.add_argument('--output', type=Path, help='JSON file of what was measured')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix='ray-trial-') as folder, two_nodes() as cluster:
        told = Trial(Path(folder), args.count, args.size, cluster).run(args.parts)
    print(json.dumps(told, indent=1))
    if args.output:
        args.output.write_text(json.dumps(told, indent=1) + '\n')


if __name__ == '__main__':
    main()

"""A real Ray cluster of two nodes on this machine: same bytes, a killed worker, a killed node, an S3 server.

``python research/benchmarks/ray_trial.py --count 24 --size 96 --output trial.json`` needs ray, and for S3 s3fs and
moto[server]. What it kills it started itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mirage_restore.jobs import Options
from mirage_restore.many.command import restore_many
from mirage_restore.many.worker import Setup


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--count', type=int, default=24, help='pictures')
    parser.add_argument('--size', type=int, default=96, help='side in pixels')
    parser.add_argument('--output', type=Path, help='JSON file of what was measured')
    args = parser.parse_args()
    # A busy machine is no reason to kill what is tried here, or to give up starting it.
    os.environ.update(
        RAY_memory_monitor_refresh_ms='0', RAY_raylet_start_wait_time_s='300', RAY_agent_register_timeout_ms='300000'
    )
    with tempfile.TemporaryDirectory(prefix='ray-trial-') as folder:
        told = _Trial(Path(folder), args.count, args.size).run()
    print(json.dumps(told, indent=1))
    if args.output:
        args.output.write_text(json.dumps(told, indent=1) + '\n')


class _Trial:
    def __init__(self, folder: Path, count: int, size: int) -> None:
        self.folder, self.count = folder, count
        self.setup = Setup(options=Options(recursive=True, progress=False, skip_existing=True))
        self.source = folder / 'in'
        self.source.mkdir()
        rng = np.random.default_rng(0)
        for number in range(count):
            pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
            Image.fromarray(pixels).save(self.source / f'{number:04d}.{("png", "jpg")[number % 2]}')
        self.told: dict[str, object] = {'pictures': count, 'size': size}

    def run(self) -> dict[str, object]:
        import ray
        from ray.cluster_utils import Cluster

        self._one_process()
        small = {'num_cpus': 1, 'object_store_memory': 100_000_000}
        self.cluster = Cluster(initialize_head=True, head_node_args={**small, 'include_dashboard': False})
        try:
            self.second = self.cluster.add_node(**small)
            ray.init(address=self.cluster.address, log_to_driver=False, logging_level='ERROR')
            self._on_a_cluster('two workers on two nodes')
            self._on_a_cluster('a worker killed', meanwhile=self._kill_worker)
            self._s3()
            self._on_a_cluster('a node killed', meanwhile=self._kill_node)
        finally:
            ray.shutdown()
            self.cluster.shutdown()
        return self.told

    def _one_process(self) -> None:
        start = time.monotonic()
        summary = restore_many([str(self.source)], str(self.folder / 'one'), self.setup, devices='cpu')
        self.told['one process'] = {'seconds': round(time.monotonic() - start, 1), 'restored': summary.restored}

    def _on_a_cluster(self, name: str, meanwhile=None, source: str | None = None, target: str | None = None) -> None:
        place = target or str(self.folder / name.replace(' ', '_'))
        self.killed, self.done = None, threading.Event()
        watcher = threading.Thread(target=self._when_some_are_done, args=(Path(place), meanwhile), daemon=True)
        if meanwhile:
            watcher.start()
        start = time.monotonic()
        summary = restore_many([source or str(self.source)], place, self.setup, ray='auto')
        seconds = time.monotonic() - start
        self.done.set()
        entry = {
            'seconds, start of the workers included': round(seconds, 1),
            'restored': summary.restored,
            'failed': summary.failed,
            'bytes of one process': self._same(place),
        }
        if meanwhile:
            watcher.join(10)
            entry['killed'] = self.killed
        again = restore_many([source or str(self.source)], place, self.setup, ray='auto')
        entry['second run'] = {'restored': again.restored, 'skipped': again.skipped}
        self.told[name] = entry
        print(name, entry, flush=True)

    def _when_some_are_done(self, place: Path, act) -> None:
        while len(list(place.glob('*.*g'))) < 3:
            if self.done.wait(0.02):
                return
        self.killed = f'{act()} after {len(list(place.glob("*.*g")))} results'

    def _kill_worker(self) -> str:
        import psutil

        workers = [p for p in psutil.Process().children(recursive=True) if 'ray::Worker' in ' '.join(p.cmdline())]
        workers[0].kill()
        return f'one of {len(workers)} workers (SIGKILL)'

    def _kill_node(self) -> str:
        self.cluster.remove_node(self.second, allow_graceful=False)
        return 'the second of two nodes'

    def _same(self, place: str) -> bool:
        if place.startswith('s3://'):
            import fsspec

            system, path = fsspec.core.url_to_fs(place)
            names = [name for name in system.find(path) if '.mirage' not in name]
            found = {name.rsplit('/', 1)[1]: system.cat_file(name) for name in names}
        else:
            found = {file.name: file.read_bytes() for file in Path(place).glob('*.*g')}
        expected = {file.name: file.read_bytes() for file in (self.folder / 'one').glob('*.*g')}

        def digests(files: dict[str, bytes]) -> dict[str, str]:
            return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}

        return len(expected) == self.count and digests(found) == digests(expected)

    def _s3(self) -> None:
        try:
            import s3fs
            from moto.server import ThreadedMotoServer
        except ImportError as error:
            self.told['s3'] = f'left out: {error.name} is missing'
            return
        server = ThreadedMotoServer(port=0)
        server.start()
        host, port = server.get_host_and_port()
        os.environ.update(
            AWS_ENDPOINT_URL=f'http://127.0.0.1:{port}',
            AWS_ACCESS_KEY_ID='made-up',
            AWS_SECRET_ACCESS_KEY='made-up',
            AWS_DEFAULT_REGION='us-east-1',
        )
        try:
            system = s3fs.S3FileSystem()
            system.mkdir('pictures')
            for file in self.source.iterdir():
                system.put_file(str(file), f'pictures/in/{file.name}')
            self._on_a_cluster('s3', source='s3://pictures/in', target='s3://pictures/out')
            try:
                restore_many(['s3://pictures/in'], 's3://not-there/out', self.setup, devices='cpu')
            except OSError as error:
                self.told['a bucket that cannot be written'] = str(error)
        finally:
            server.stop()


if __name__ == '__main__':
    main()

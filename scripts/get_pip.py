"""Puts pip into the environment of the Python that runs this, where Python came without ensurepip.

The wheel comes from the package index (``PIP_INDEX_URL``, else PyPI), is checked against the index's hash, and installs
itself. Needs nothing but the standard library.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

INDEX = os.environ.get('PIP_INDEX_URL', 'https://pypi.org/simple').rstrip('/') + '/pip/'


def newest_wheel(files: list) -> dict:
    """Of the index's files, the newest final release that this Python can run."""
    usable = []
    for file in files:
        name = re.fullmatch(r'pip-([\d.]+)-py3-none-any\.whl', file['filename'])
        needed = re.search(r'>=\s*3\.(\d+)', file.get('requires-python') or '')
        if name and not file.get('yanked') and (not needed or sys.version_info[:2] >= (3, int(needed[1]))):
            usable.append((tuple(map(int, name[1].split('.'))), file))
    return max(usable, key=lambda found: found[0])[1]


def main() -> int:
    """Downloads, checks and installs.

    Returns:
        0, or 1 with a message if the index cannot be read.
    """
    request = urllib.request.Request(INDEX, headers={'Accept': 'application/vnd.pypi.simple.v1+json'})
    try:
        with urllib.request.urlopen(request) as answer:
            wheel = newest_wheel(json.load(answer)['files'])
        with urllib.request.urlopen(urljoin(INDEX, wheel['url'])) as answer:
            content = answer.read()
    except (urllib.error.URLError, ValueError, KeyError) as error:
        print(
            f"pip is not here and cannot be had from {INDEX} ({error}). Install it with the system's packages, for "
            'example python3-venv on Debian and Ubuntu.',
            file=sys.stderr,
        )
        return 1
    if hashlib.sha256(content).hexdigest() != wheel['hashes']['sha256']:
        print(f'{wheel["url"]} does not have the hash that {INDEX} gives', file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, wheel['filename'])
        path.write_bytes(content)
        return subprocess.run([sys.executable, f'{path}/pip', 'install', '--quiet', str(path)], check=False).returncode


if __name__ == '__main__':
    raise SystemExit(main())

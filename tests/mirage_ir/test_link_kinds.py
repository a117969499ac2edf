"""Each kind of project that `link` knows, made up small: what is written works, and what is left to do is said."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mirage_ir.link import is_shim, lacks_version, link, unlink, version_of

TINY = 'dict(dim=6, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1, heads=[1, 1, 1, 1])'

_SCAN = """
import importlib
from pathlib import Path

for file in sorted(Path(__file__).parent.glob('*_arch.py')):
    importlib.import_module(__name__ + '.' + file.stem)
"""
_PLUGIN = """
import theirs.archs
from basicsr.train import train_pipeline
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
assert callable(train_pipeline) and 'MIRAGEArch' in ARCH_REGISTRY and 'MIRAGEModel' in MODEL_REGISTRY
assert theirs.archs.own == 'theirs' and theirs.__gitsha__ == 'unknown'
print(theirs.__version__)
"""
_REGISTRY = """
class Registry(dict):
    def register(self, make):
        self[make.__name__.{case}] = make


ARCH_REGISTRY = Registry()
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def run(folder, *words):
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def plugin(tmp_path):
    return write(
        tmp_path / 'a plugin',
        {
            'theirs/train.py': _PLUGIN,
            'theirs/__init__.py': 'from .version import __gitsha__, __version__\n',
            'theirs/archs/__init__.py': "from basicsr.utils import scandir\nown = 'theirs'\n",
            'VERSION': '0.3.1\n',
        },
    )


def test_a_plugin_of_basicsr_runs_its_own_script(plugin):
    assert lacks_version(plugin / 'theirs')
    plan = link(plugin)
    assert {path.name for path in plan.files} == {'basicsr.py', 'theirs.py', 'version.py'}
    assert run(plugin, 'theirs/train.py') == '0.3.1'
    (plugin / 'theirs' / 'version.py').write_text("__version__ = '0.3.2'\n__gitsha__ = 'unknown'\n")  # its setup.py
    link(plugin)
    assert run(plugin, 'theirs/train.py') == '0.3.2'
    assert {path.name for path in unlink(plugin)} == {'basicsr.py', 'theirs.py'}


@pytest.mark.parametrize('package, case', [('traiNNer', 'lower()'), ('neosr', 'strip()')])
def test_registries_whose_networks_are_told_the_scale(tmp_path, package, case):
    write(
        tmp_path, {f'{package}/utils/registry.py': _REGISTRY.format(case=case), f'{package}/archs/__init__.py': _SCAN}
    )
    link(tmp_path)
    code = (
        f'import json, torch, {package}.archs\nfrom {package}.utils.registry import ARCH_REGISTRY as registry\n'
        f'net = registry["MIRAGEArch".{case}](scale=1, **{TINY})\n'
        'try:\n    registry["mirage_tiny"](scale=4)\nexcept ValueError as error:\n    refused = str(error)\n'
        'print(json.dumps([list(net(torch.rand(1, 3, 9, 17)).shape), refused, sorted(registry)]))'
    )
    shape, refused, names = json.loads(run(tmp_path, '-c', code))
    assert shape == [1, 3, 9, 17] and 'scale must be 1' in refused
    assert names == sorted(
        ['MIRAGEArch'.lower() if 'lower' in case else 'MIRAGEArch']
        + ['mirage_nano', 'mirage_mini', 'mirage_tiny', 'mirage_small']
    )


@pytest.mark.parametrize(
    'files, copied, line',
    [
        ({'models/select_network.py': ''}, 'models/network_mirage.py', 'from models.network_mirage import MIRAGEArch'),
        (
            {'main_test_swinir.py': '', 'models/network_swinir.py': ''},
            'models/network_mirage.py',
            'model = MIRAGEArch(',
        ),
        (
            {'net/model.py': '', 'train.py': 'import torch\nfrom net.model import AdaIR\n'},
            'net/mirage_arch.py',
            'in place of `self.net = AdaIR(decoder=True)`',
        ),
    ],
)
def test_where_files_do_not_suffice_the_lines_are_named(tmp_path, files, copied, line):
    write(tmp_path, files)
    plan = link(tmp_path)
    assert list(plan.files) == [tmp_path / copied] and is_shim(tmp_path / copied)
    assert any(line in text for text in plan.lines)
    module = copied.removesuffix('.py').replace('/', '.')
    code = (
        f'import torch\nfrom {module} import MIRAGEArch\n'
        f'print(MIRAGEArch(**{TINY}).eval()(torch.rand(1, 3, 8, 8)).shape[1])'
    )
    assert run(tmp_path, '-c', code) == '3'
    assert unlink(tmp_path) == [tmp_path / copied]


@pytest.mark.parametrize(
    'version, names',
    [
        ('1.3.4.3', {'basicsr.py', 'mirage_repair_arch.py', 'mirage_arch.py'}),
        ('1.3.4.4', {'basicsr.py', 'mirage_repair_arch.py', 'mirage_model.py'}),
    ],
)
def test_a_basicsr_before_our_model_gets_the_network_alone(tmp_path, version, names):
    write(
        tmp_path,
        {
            'basicsr/utils/registry.py': '',
            'basicsr/archs/__init__.py': '',
            'basicsr/models/__init__.py': '',
            'basicsr/version.py': f"__version__ = '{version}'\n",
        },
    )
    plan = link(tmp_path)
    assert {path.name for path in plan.files} == names
    assert ('1.3.4.4' in plan.known) == (version == '1.3.4.3')


def test_versions_are_read_from_either_file(tmp_path):
    package = tmp_path / 'basicsr'
    assert version_of(package) is None
    write(tmp_path, {'VERSION': '1.4.2\n'})
    assert version_of(package) == (1, 4, 2)
    write(tmp_path, {'basicsr/version.py': "# TIME\n__version__ = '1.3.4.9'\n"})
    assert version_of(package) == (1, 3, 4, 9)

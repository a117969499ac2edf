"""Whatever is imported first: everything is registered once, by this project's classes."""

import os
import subprocess
import sys

import pytest
from fresh_process import ROOT, run_pieces

_EVERYTHING = """
from basicsr.utils import registry
wanted = {'ARCH': 'MIRAGEArch', 'MODEL': 'MIRAGEModel', 'METRIC': 'psnr_float ssim_float lpips',
          'LOSS': 'FourierLoss SPDContrastiveLoss',
          'DATASET': 'MixedDegradationDataset PairedTaskDataset GaussianDenoiseDataset '
                     'CompositeDegradationDataset SyntheticDegradationDataset'}
for kind, names in wanted.items():
    for name in names.split():
        thing = getattr(registry, kind + '_REGISTRY').get(name)
        assert thing.__module__.startswith('mirage_'), (name, thing.__module__)
import mirage_arch.mirage_arch
assert registry.ARCH_REGISTRY.get('MIRAGEArch') is mirage_arch.mirage_arch.MIRAGEArch
import basicsr.train, basicsr.test
"""

_NO_BASICSR = "import sys\nassert 'basicsr' not in sys.modules, 'BasicSR was imported'\n"

ORDERS = {
    'ours': 'import mirage_ir',
    'network first': f'import mirage_arch.mirage_arch, mirage_arch.ratio_search\n{_NO_BASICSR}import mirage_ir',
    'restoring first': f'import mirage_restore.restorer, mirage_restore.files\n{_NO_BASICSR}import mirage_ir',
    'losses first': f'import mirage_losses\n{_NO_BASICSR}import mirage_ir',
    'data first': f'import mirage_data\nimport mirage_data.sets.table\n{_NO_BASICSR}import mirage_ir',
    'all at once, twice': 'import mirage_data, mirage_losses, mirage_arch, mirage_ir\n'
    'from mirage_ir.registration import register_all\nregister_all()\nregister_all()',
    'BasicSR first': 'try:\n    import basicsr\nexcept ImportError:\n    pass\nimport mirage_ir',
    'network, then BasicSR, then ours': 'from mirage_arch.mirage_arch import MIRAGEArch\n'
    'try:\n    import basicsr\nexcept ImportError:\n    pass\nimport mirage_ir',
    'BasicSR after the repairs': 'import mirage_ir.compat\nimport basicsr.archs, basicsr.data, basicsr.models',
}

_SPAWNED = """
import mirage_ir
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY
from torch.utils.data import DataLoader, Dataset


def first(batch):
    return batch[0]


class Names(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        from basicsr.data.degradations import circular_lowpass_kernel  # needs the repairs
        assert callable(circular_lowpass_kernel)
        wanted = (('MixedDegradationDataset', DATASET_REGISTRY), ('MIRAGEModel', MODEL_REGISTRY))
        return [name for name, registry in wanted if name in registry]


if __name__ == '__main__':
    batches = list(DataLoader(Names(), num_workers=1, multiprocessing_context='spawn', collate_fn=first))
    print(*batches[0])
"""


@pytest.fixture(scope='module')
def answers(tmp_path_factory):
    return run_pieces({name: code + '\n' + _EVERYTHING for name, code in ORDERS.items()}, tmp_path_factory.mktemp('x'))


@pytest.mark.parametrize('order', ORDERS)
def test_everything_is_registered_once(answers, order):
    code, text = answers[order]
    assert code == 0, text


def test_a_spawned_worker_has_the_repairs_and_the_names(tmp_path):
    script = tmp_path / 'with a space.py'
    script.write_text(_SPAWNED)
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert done.stdout.split() == ['MixedDegradationDataset', 'MIRAGEModel'], done.stderr

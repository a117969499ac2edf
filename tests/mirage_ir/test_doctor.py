import importlib.util
import shutil
import sys
import types
from pathlib import Path

import pytest

from mirage_ir import doctor
from mirage_ir.cli import main
from mirage_ir.link import link


def failures(findings):
    return [finding for finding in findings if finding.level == 'FAIL']


def test_here_nothing_will_fail(capsys):
    assert main(['doctor']) == 0
    printed = capsys.readouterr().out
    assert 'Nothing found that will fail' in printed
    assert 'MIRAGEArch' in printed and 'basicsr is taken from' in printed and sys.version.split()[0] in printed


@pytest.mark.parametrize('version, word', [((3, 9, 1), '3.9.1'), ((3, 11, 4), ''), ((3, 14, 0), '')])
def test_python_versions(monkeypatch, version, word):
    monkeypatch.setattr(doctor.sys, 'version_info', version)
    monkeypatch.setattr(doctor.platform, 'python_version', lambda: '.'.join(map(str, version)))
    found = [finding for finding in doctor.examine_versions() if finding.text.startswith('Python')]
    assert [finding.level for finding in found] == ['FAIL' if word else 'ok']
    assert word in found[0].text


def test_a_missing_package_is_named(monkeypatch):
    real = doctor._version
    monkeypatch.setattr(doctor, '_version', lambda name: None if name == 'lmdb' else real(name))
    assert [(f.text, f.cure) for f in failures(doctor.examine_versions())] == [('lmdb is missing', 'pip install lmdb')]


@pytest.mark.parametrize('version, fails', [('2.5.1+cu121', True), ('2.6.0', False), ('2.14.1+cpu', False)])
def test_a_torch_that_runs_code_of_the_files_it_loads(monkeypatch, version, fails):
    monkeypatch.setattr(doctor, '_version', lambda name: version)
    assert ['torch.load' in finding.text for finding in failures(doctor.examine_versions())] == [True] * fails


def test_an_opencv_without_its_libraries(monkeypatch):
    assert [finding.level for finding in doctor.examine_opencv()] == ['ok']
    monkeypatch.setitem(sys.modules, 'cv2', None)
    assert 'install_basicsr.py' in failures(doctor.examine_opencv())[0].cure


def test_two_packages_of_tensorboard(monkeypatch):
    monkeypatch.setattr(doctor, '_version', {'tb-nightly': '2.21', 'tensorboard': '2.20'}.get)
    found = list(doctor.examine_tensorboard())
    assert found[0].level == 'note' and 'tb-nightly 2.21 and tensorboard 2.20' in found[0].text
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    assert 'use_tb_logger: false' in failures(doctor.examine_tensorboard())[0].cure


def test_a_fork_without_registry_in_front_of_basicsr(tmp_path, monkeypatch):
    (tmp_path / 'basicsr').mkdir()
    monkeypatch.setattr(doctor, '_basicsr_folder', lambda: tmp_path / 'basicsr')
    assert 'no registry' in failures(doctor.examine_basicsr())[0].text
    monkeypatch.setattr(doctor, '_basicsr_folder', lambda: None)
    assert 'install_basicsr.py' in failures(doctor.examine_basicsr())[0].cure


def test_a_name_that_is_missing_or_another_class(monkeypatch):
    from basicsr.archs.srresnet_arch import MSRResNet
    from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'MIRAGEArch', MSRResNet)
    monkeypatch.delitem(LOSS_REGISTRY._obj_map, 'FourierLoss')
    assert [finding.text for finding in failures(doctor.examine_registry())] == [
        'arch MIRAGEArch is that of basicsr.archs.srresnet_arch, not ours',
        'loss FourierLoss is not registered',
    ]


def test_the_checkout_one_stands_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert 'is no project' in next(doctor.examine_folder()).text
    shutil.copytree(Path(importlib.util.find_spec('basicsr').origin).parent, tmp_path / 'basicsr')
    found = list(doctor.examine_folder())
    assert 'is not linked' in found[0].text and found[0].cure == 'mirage-basicsr link .'
    assert [finding.cure for finding in failures(found)] == ['mirage-basicsr link .']  # it finds the installed one
    (tmp_path / 'basicsr' / 'version.py').unlink()
    (tmp_path / 'VERSION').write_text('1.4.2')
    assert 'version.py is missing' in failures(doctor.examine_folder())[0].text
    files = link(tmp_path).files
    found = list(doctor.examine_folder())
    assert [finding.level for finding in found] == ['ok'] * (len(files) + 1), found
    assert f'uses the BasicSR in {(tmp_path / "basicsr").resolve()}' in found[-1].text
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr('mirage_ir.link.PROJECT', tmp_path / 'moved')
        link(tmp_path)
    changed = tmp_path / 'basicsr' / 'models' / 'mirage_model.py'
    shutil.copy(changed, changed.with_name('older_model.py'))
    assert {finding.text.split(' is ')[1].split(':')[0] for finding in failures(doctor.examine_folder())} == {
        'stale',
        'left from an earlier version',
    }
    changed.write_text(changed.read_text() + '# mine\n')
    assert any('was edited' in finding.text and finding.level == 'note' for finding in doctor.examine_folder())


def test_a_plugin_that_wants_another_basicsr(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'hat' / 'archs').mkdir(parents=True)
    (tmp_path / 'hat' / '__init__.py').touch()
    (tmp_path / 'hat' / 'train.py').write_text('from basicsr.train import train_pipeline\n')
    (tmp_path / 'requirements.txt').write_text('einops\nbasicsr==1.3.4.9\n')
    link(tmp_path)
    assert [(f.text, f.cure) for f in failures(doctor.examine_folder())] == [
        (f'{tmp_path.name} wants BasicSR 1.3.4.9, and 1.4.2 is used', 'pip install basicsr==1.3.4.9')
    ]


def test_a_basicsr_that_our_model_cannot_use(tmp_path, monkeypatch):
    (tmp_path / 'basicsr' / 'utils').mkdir(parents=True)
    (tmp_path / 'basicsr' / 'utils' / 'registry.py').touch()
    (tmp_path / 'basicsr' / 'version.py').write_text("__version__ = '1.3.4.3'\n")
    monkeypatch.setattr(doctor, '_basicsr_folder', lambda: tmp_path / 'basicsr')
    assert 'MIRAGEModel needs 1.3.4.4' in failures(doctor.examine_basicsr())[0].text


def test_a_gpu_that_torch_cannot_use(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(doctor.Path, 'glob', lambda self, pattern: iter(['/dev/nvidia0']))
    assert 'driver' in failures(doctor.examine_devices())[0].cure


@pytest.mark.parametrize(('capability', 'notes'), [((7, 5), 1), ((8, 0), 0), ((9, 0), 0)])
def test_emulated_bfloat16_is_no_bfloat16(monkeypatch, capability, notes):
    import torch

    card = types.SimpleNamespace(name='T4', total_memory=2**34, major=capability[0], minor=capability[1])
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda number: card)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True: True)
    found = [finding for finding in doctor.examine_devices() if finding.level == 'note']
    assert len(found) == notes and all('amp: fp16' in finding.cure for finding in found)


def test_it_answers_where_our_package_cannot_be_imported(monkeypatch, capsys):
    monkeypatch.setattr(doctor, '_import_plainly', lambda: '')
    monkeypatch.setattr(doctor, '_import_ours', lambda: (_ for _ in ()).throw(ImportError('broken\nfor a reason')))
    assert doctor.main() == 1
    assert 'ImportError: broken' in capsys.readouterr().out


def test_disk_and_shared_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = shutil.disk_usage(tmp_path)._replace(total=2**26, free=2**26)
    monkeypatch.setattr(doctor.shutil, 'disk_usage', lambda path: small)
    texts = [finding.text for finding in doctor.examine_resources()]
    assert texts[0].startswith('0.06 GiB') and 'bus error' in texts[1]
    monkeypatch.setattr(doctor.os, 'access', lambda path, mode: False)
    assert 'cannot be written' in failures(doctor.examine_resources())[0].text

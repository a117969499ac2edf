"""Installing on Pythons where pip alone cannot and on machines without a desktop, and what is said about it."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fresh_process import ROOT

from mirage_ir import doctor, install_basicsr

NO_LIBRARY = 'ImportError: libGL.so.1: cannot open shared object file: No such file or directory'

# what BasicSR's setup.py does, word for word where it matters
_SETUP = """
def get_version():
    with open('version.txt') as file:
        exec(compile(file.read(), 'version.txt', 'exec'))
    return locals()['__version__']

def another():
    exec('x = 1')
    return 'x' in locals()

print(get_version(), another())
"""


@pytest.fixture
def pip(monkeypatch):
    """The calls of pip that would be made."""
    calls = []
    monkeypatch.setattr(install_basicsr, '_pip', lambda *words, path=None: calls.append(words))
    return calls


def test_the_help_reaches_one_function_and_no_other(tmp_path):
    (tmp_path / 'version.txt').write_text("__version__ = '1.4.2'\n")
    (tmp_path / 'sitecustomize.py').write_text(install_basicsr._HELP_EXEC)
    done = subprocess.run(
        [sys.executable, '-c', _SETUP],
        cwd=tmp_path,
        env={'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ['1.4.2', str(sys.version_info < (3, 13))]


def test_an_opencv_without_its_libraries_is_covered_by_the_headless_one(monkeypatch, pip, capsys):
    answers = [NO_LIBRARY, '']
    monkeypatch.setattr(install_basicsr, 'why_not', lambda module: answers.pop(0))
    monkeypatch.setattr(install_basicsr, '_version', {'opencv-python': '5.0'}.get)
    install_basicsr.mend_opencv()
    assert pip == [('install', '--force-reinstall', '--no-deps', 'opencv-python-headless==5.0')]
    assert 'libGL' in capsys.readouterr().out


@pytest.mark.parametrize(
    'reason, installed',
    [('ImportError: numpy.core failed', {'opencv-python': '5.0'}), (NO_LIBRARY, {'opencv-python-headless': '5.0'})],
)
def test_an_opencv_that_another_one_would_not_mend(monkeypatch, pip, reason, installed):
    monkeypatch.setattr(install_basicsr, 'why_not', lambda module: reason)
    monkeypatch.setattr(install_basicsr, '_version', installed.get)
    with pytest.raises(install_basicsr.InstallError, match=reason.split()[1]):
        install_basicsr.mend_opencv()
    assert not pip


def test_a_working_environment_is_left_alone(pip):
    assert install_basicsr.main([]) == 0
    assert pip == []


def test_pip_failing_is_an_exit_code_and_a_message(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(install_basicsr.subprocess, 'run', lambda *words, **options: SimpleNamespace(returncode=1))
    assert install_basicsr.main(['--wheel', str(tmp_path)]) == 1
    assert 'failed, see above' in capsys.readouterr().err


@pytest.mark.parametrize(
    'error, word',
    [
        (ModuleNotFoundError("No module named 'basicsr'", name='basicsr'), 'install_basicsr.py'),
        (ImportError(NO_LIBRARY), 'install_basicsr.py'),
        (ImportError('DLL load failed'), 'doctor.py'),
    ],
)
def test_the_cure_of_a_failed_import(error, word):
    assert doctor.cure_of(error).endswith(word)


@pytest.mark.parametrize(
    'python, by_pip, has_basicsr, refused',
    [
        ((3, 13), True, False, True),
        ((3, 14), True, True, False),
        ((3, 13), False, False, False),
        ((3, 12), True, False, False),
    ],
)
def test_pip_says_what_to_run_first(monkeypatch, tmp_path, python, by_pip, has_basicsr, refused):
    import setuptools

    ran = []
    monkeypatch.setattr(setuptools, 'setup', lambda: ran.append(True))
    monkeypatch.setattr(sys, 'version_info', python)
    monkeypatch.setattr('site.getsitepackages', list)
    monkeypatch.setattr('site.getusersitepackages', lambda: str(tmp_path / 'none'))
    monkeypatch.setattr('sysconfig.get_path', lambda name: str(tmp_path))
    if by_pip:
        monkeypatch.setenv('PIP_BUILD_TRACKER', 'x')
    if has_basicsr:
        (tmp_path / 'basicsr-1.4.2.dist-info').mkdir()
    code = compile(Path(ROOT, 'setup.py').read_text(), 'setup.py', 'exec')
    if refused:
        with pytest.raises(SystemExit, match='python mirage_ir/install_basicsr.py'):
            exec(code, {'__name__': '__main__'})
    else:
        exec(code, {'__name__': '__main__'})
        assert ran

import os

from mirage_ir.training.command_line import resolve, resolve_all


def test_the_current_directory_comes_before_the_project(tmp_path, monkeypatch):
    root, here = tmp_path / 'a project', tmp_path / 'here'
    for folder in (root / 'datasets' / 'both', root / 'datasets' / 'root_only', here / 'datasets' / 'both'):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    assert resolve('datasets/both', str(root)) == 'datasets/both'
    assert resolve('datasets/root_only', str(root)) == str(root / 'datasets' / 'root_only')
    assert resolve('datasets/nowhere', str(root)) == 'datasets/nowhere'
    assert resolve('/absolute', str(root)) == '/absolute'
    assert resolve('~/x', str(root)) == os.path.expanduser('~/x')


def test_every_path_of_an_option_file_is_found(tmp_path, monkeypatch):
    (tmp_path / 'data').mkdir()
    monkeypatch.chdir('/')
    options = {
        'name': 'data',
        'datasets': {'train': {'dataroot_gt': ['data', 'other'], 'sources': [{'dataroot_lq': 'data', 'task': 'data'}]}},
        'path': {'resume_state': 'data', 'pretrain_network_g': None},
    }
    resolve_all(options, str(tmp_path))
    found = str(tmp_path / 'data')
    assert options == {
        'name': 'data',
        'datasets': {'train': {'dataroot_gt': [found, 'other'], 'sources': [{'dataroot_lq': found, 'task': 'data'}]}},
        'path': {'resume_state': found, 'pretrain_network_g': None},
    }

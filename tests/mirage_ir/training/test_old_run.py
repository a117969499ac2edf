"""A run of the layout before the move (24 November 2026): its options, state and weights are read as on that day.

`old_run.tar.xz` holds what such a run of six iterations left after three: options, pictures, a state and weights. Most
of the network's levels are zero, so that their moments are, too, and the archive is small.
"""

import csv
import tarfile
from pathlib import Path

import pytest
import torch
from small_run import fork, link_launchers, logged_losses

from mirage_arch.checkpoints import load_network


@pytest.fixture
def old_run(tmp_path):
    with tarfile.open(Path(__file__).with_name('old_run.tar.xz')) as archive:
        archive.extraction_filter = getattr(tarfile, 'data_filter', None)  # Debian 12's Python has none
        archive.extractall(tmp_path)
    link_launchers(tmp_path)
    return tmp_path


def test_weights_give_the_same_image(old_run):
    net = load_network(old_run / 'experiments' / 'small' / 'models' / 'net_g_3.pth')
    image = torch.linspace(0, 1, 3 * 20 * 24).reshape(1, 3, 20, 24).sin()
    with torch.no_grad():
        restored = net(image)
    assert (restored.mean().item(), restored.std().item()) == pytest.approx((0.368566722, 0.225666001), abs=1e-6)
    assert restored[0, 1, 7, 9].item() == pytest.approx(0.268341780, abs=1e-6)


def test_a_run_goes_on_from_the_state(old_run):
    run = fork(old_run, '-opt', 'small.yml', '--auto_resume')
    text = run.finish()
    assert run.returncode == 0, text[-3000:]
    experiment = old_run / 'experiments' / 'small'
    losses = logged_losses(experiment)
    assert sorted(losses) == [4, 5, 6], 'neither begun again nor ended at once'
    expected = {4: 'lr:(5.000e-04,) l_pix: 1.0260e-01', 5: 'lr:(1.464e-04,) l_pix: 9.4326e-02', 6: 'l_pix: 1.0218e-01'}
    for iteration, words in expected.items():
        (line,) = losses[iteration]
        rate, value = words.rpartition(' ')[::2]
        assert all(word in line for word in rate.split())
        assert float(line.partition('l_pix: ')[2].split()[0]) == pytest.approx(float(value), rel=1e-3)
    with open(experiment / 'validation.csv', encoding='utf-8') as file:
        rows = {int(row['iter']): float(row['value']) for row in csv.DictReader(file)}
    assert rows == {3: pytest.approx(16.554575), 6: pytest.approx(17.097594, abs=2e-3)}

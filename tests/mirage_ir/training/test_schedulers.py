import math

import pytest
import torch

from mirage_ir.training.schedulers import CosineWithWarmup


def rates(total, warmup, steps, eta_min=0.0, base=2e-4):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = CosineWithWarmup(optimizer, total, warmup, eta_min)
    found = []
    for iteration in range(1, steps + 1):
        if iteration > 1:  # BasicSR steps before every iteration but the first
            scheduler.step()
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
    return found


def test_rises_linearly_then_follows_half_a_cosine_to_zero():
    found = rates(total=100, warmup=10, steps=103)
    assert found[:10] == pytest.approx([2e-4 * i / 10 for i in range(1, 11)])
    expected = [1e-4 * (1 + math.cos(math.pi * (i - 10) / 90)) for i in range(11, 101)]
    assert found[10:100] == pytest.approx(expected, abs=1e-15)
    assert found[54] == pytest.approx(1e-4)  # half way between 10 and 100
    assert found[99:] == [0.0] * 4  # also past the end


def test_no_step_is_taken_at_rate_zero_before_the_end():
    for warmup in (0, 1, 7):
        assert min(rates(total=50, warmup=warmup, steps=49)) > 0


def test_eta_min_is_the_floor():
    found = rates(total=20, warmup=0, steps=25, eta_min=1e-6)
    assert min(found) == found[19] == found[24] == 1e-6


def test_a_resumed_scheduler_continues_and_follows_a_new_end():
    parameter = torch.nn.Parameter(torch.zeros(1))
    first = CosineWithWarmup(torch.optim.SGD([parameter], lr=1.0), 10, 2)
    for _ in range(6):
        first.optimizer.step()
        first.step()
    again = CosineWithWarmup(torch.optim.SGD([parameter], lr=1.0), 40, 2)
    again.load_state_dict(first.state_dict())
    again.optimizer.step()
    again.step()
    assert again.get_last_lr() == [pytest.approx(0.5 * (1 + math.cos(math.pi * (8 - 2) / (40 - 2))))]


@pytest.mark.parametrize(('total', 'warmup', 'word'), [(0, 0, 'total_iter'), (10, 10, 'warmup_iter')])
def test_impossible_lengths_are_refused(total, warmup, word):
    with pytest.raises(ValueError, match=word):
        rates(total, warmup, 1)

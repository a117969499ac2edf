"""Recorded steps, with a stand-in that writes into the tensors of the first time, as a graph of the GPU does."""

import logging

import pytest
import torch
from model_setup import batch, build, train, training_options
from torch.utils._pytree import tree_leaves

from mirage_ir.training import step_graphs
from mirage_ir.training.step_graphs import MOST_GRAPHS, WARM_STEPS, StepGraphs


class StandIn:
    """Repeats the work itself and copies what it finds to where the recorded work left it."""

    def __init__(self, parameters):
        self.parameters, self.recorded, self.repeated = list(parameters), 0, 0

    def aside(self, work):
        return work()

    def record(self, work):
        buffers = [b.clone() for b in self.buffers()]
        numbers = torch.get_rng_state()
        found = work()
        gradients = [p.grad for p in self.parameters]
        for kept, buffer in zip(buffers, self.buffers()):  # a recording computes nothing
            buffer.copy_(kept)
        torch.set_rng_state(numbers)
        self.recorded += 1

        def repeat():
            self.repeated += 1
            for p in self.parameters:
                p.grad = None
            for to, value in zip(tree_leaves(tuple(found)), tree_leaves(tuple(work()))):
                to.copy_(value)
            for to, p in zip(gradients, self.parameters):
                to.copy_(p.grad)

        return repeat, found

    def buffers(self):
        return self.net.buffers()


def with_graphs(model):
    stand_in = StandIn(model._trained())
    stand_in.net = model.net_g
    model.step_graphs = StepGraphs(model._trained(), stand_in)
    return stand_in


def with_tasks(number):
    return {**batch(number), 'task': ['rain', 'haze', 'rain', 'rain']}


@pytest.mark.parametrize('switch', [{}, {'accumulate_grad': 2, 'grad_clip': 0.1}, {'ema_decay': 0.9}], ids=str)
def test_recorded_steps_are_those_without_graphs(tmp_path, switch):
    logs, states = [], []
    for graphs in (False, True):
        model = build(training_options(tmp_path, **switch))
        stand_in = with_graphs(model) if graphs else None
        torch.manual_seed(3)  # of drop path
        logs.append(train(model, 10, batches=with_tasks))
        states.append([*model.net_g.state_dict().values(), *model.optimizer_g.state_dict()['state'][0].values()])
    assert (stand_in.recorded, stand_in.repeated) == (1, 10 - WARM_STEPS)
    for name in ('images_per_s', 'memory_gib'):
        for log in logs[0] + logs[1]:
            log.pop(name, None)
    assert logs[0] == logs[1] and 'tasks/rain/psnr' in logs[1][-1] and 'spd/positive_cosine' in logs[1][-1]
    assert all(torch.equal(a, b) for a, b in zip(*states))


def test_each_kind_of_batch_has_a_graph_and_too_many_are_told_of_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(step_graphs, 'MOST_GRAPHS', 2)
    model = build(training_options(tmp_path))
    stand_in = with_graphs(model)
    sides = [16, 24, 32, 40]
    with caplog.at_level(logging.WARNING, 'basicsr'):
        train(model, 20, batches=lambda number: batch(number, side=sides[number % 4]))
    assert stand_in.recorded == 2 < MOST_GRAPHS
    assert sum('more than 2 sizes' in record.getMessage() for record in caplog.records) == 1


def test_work_that_cannot_be_recorded_says_what_to_do(tmp_path, monkeypatch):
    model = build(training_options(tmp_path))
    stand_in = with_graphs(model)

    def record(work):
        raise RuntimeError('operation not permitted when stream is capturing')

    monkeypatch.setattr(stand_in, 'record', record)
    with pytest.raises(RuntimeError, match='cuda_graph: the step cannot be recorded.*needs cuda_graph: false'):
        train(model, 3)


def test_on_a_cpu_the_switch_is_left_out_with_a_word(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, 'basicsr'):
        model = build(training_options(tmp_path, cuda_graph=True))
    assert model.step_graphs is None and 'cuda_graph is left out' in caplog.text


@pytest.mark.parametrize(
    ('other', 'shared', 'word'),
    [
        ({}, True, 'several GPUs, torchrun or SLURM'),
        ({'checkpoint_blocks': True}, False, 'checkpoint_blocks'),
        ({'ratio': True}, False, 'RatioSearchArch, which changes with the run'),
    ],
)
def test_what_does_not_go_with_it_is_named(other, shared, word):
    class RatioSearchArch(torch.nn.Module):
        def set_progress(self, share): ...

    net = RatioSearchArch() if other.pop('ratio', False) else torch.nn.Identity()
    with pytest.raises(ValueError, match=f'cuda_graph is not possible with .*{word}'):
        step_graphs.step_graphs({'cuda_graph': True, **other}, net, torch.device('cuda'), [], shared)

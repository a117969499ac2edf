import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from model_setup import NETWORK, PairSet, batch, build, loader, train, training_options
from safetensors.torch import save_file

from mirage_arch.checkpoints import CheckpointError, load_network
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_ir.training.teachers import Teachers

PIXEL = {'losses': ('pixel_opt',), 'network': {'drop_path_rate': 0.0}}
CPU = torch.device('cpu')


@pytest.fixture
def files(tmp_path):
    """Weights of two small networks, of different sizes."""
    paths = []
    for seed, blocks in enumerate(([1, 1, 1, 1], [1, 2, 1, 1])):
        torch.manual_seed(10 + seed)
        arguments = {key: value for key, value in NETWORK.items() if key != 'type'}
        net = MIRAGEArch(**{**arguments, 'num_blocks': blocks}, spd_head=False)
        paths.append(str(tmp_path / f'{seed}.pth'))
        torch.save({'params': net.state_dict()}, paths[-1])
    return paths


def named(number=1, tasks=('denoise', 'derain', 'derain', 'clean')):
    return {**batch(number), 'task': list(tasks)}


def test_each_task_has_the_result_of_its_teacher_and_the_rest_its_ground_truth(files):
    first, second = (load_network(file) for file in files)
    teachers = Teachers(
        [
            {'pretrain_network': files[0], 'tasks': 'denoise'},
            {'pretrain_network': files[1], 'tasks': ['derain', 'dehaze'], 'share': 0.25},
        ],
        CPU,
    )
    data = named()
    lq, gt = data['lq'], data['gt'].clone()
    targets = teachers.targets(lq, data['gt'], data['task'])
    with torch.no_grad():
        torch.testing.assert_close(targets[:1], first(lq[:1]).clamp(0, 1))
        torch.testing.assert_close(targets[1:3], 0.75 * gt[1:3] + 0.25 * second(lq[1:3]).clamp(0, 1))
    assert torch.equal(targets[3], gt[3])
    assert torch.equal(data['gt'], gt) and not targets.requires_grad


def test_a_task_is_also_named_without_its_number(files):
    data = named(tasks=('denoise_12.5', 'denoise_25', 'denoise', 'denoised'))
    teachers = Teachers(
        [{'pretrain_network': files[0], 'tasks': 'denoise'}, {'pretrain_network': files[1], 'tasks': 'denoise_25'}], CPU
    )
    targets = teachers.targets(data['lq'], data['gt'], data['task'])
    for file, rows in ((files[0], [0, 2]), (files[1], [1])):
        with torch.no_grad():
            torch.testing.assert_close(targets[rows], load_network(file)(data['lq'][rows]).clamp(0, 1))
    assert torch.equal(targets[3], data['gt'][3])


def test_a_teacher_without_tasks_has_what_is_left(files):
    data = named()
    teachers = Teachers(
        [{'pretrain_network': files[0]}, {'pretrain_network': files[1], 'tasks': ['derain']}], CPU, channels_last=True
    )
    targets = teachers.targets(data['lq'], data['gt'], data['task'])
    for file, rows in ((files[0], [0, 3]), (files[1], [1, 2])):
        with torch.no_grad():
            torch.testing.assert_close(targets[rows], load_network(file)(data['lq'][rows]).clamp(0, 1))


@pytest.mark.parametrize('parts', [1, 2])
def test_the_loss_compares_with_the_teacher_and_the_validation_with_the_truth(tmp_path, files, parts):
    teachers = [{'pretrain_network': files[0], 'tasks': ['derain']}]
    model = build(training_options(tmp_path, teachers=teachers, accumulate_grad=parts, freeze_bn=True, **PIXEL))
    plain = build(training_options(tmp_path, **PIXEL))
    data = named()
    with torch.no_grad():
        output = model.net_g(data['lq'])
        taught = data['gt'].clone()
        taught[1:3] = load_network(files[0])(data['lq'][1:3]).clamp(0, 1)
    log = train(model, 1, batches=lambda _: data)[0]
    assert log['l_pix'] == pytest.approx((output - taught).abs().mean().item(), rel=1e-5)
    assert torch.equal(model.gt, data['gt'])

    pictures = PairSet([('/pictures/a.png', 'derain', (16, 24))])
    plain.net_g.load_state_dict(model.net_g.state_dict())
    figures = []
    for each in (model, plain):
        each.validation(loader(pictures), 1, None)
        figures.append(dict(each.metric_results))
    assert figures[0] == figures[1]


def test_who_is_taught_by_a_copy_of_itself_stays_as_it_is(tmp_path, files):
    options = training_options(tmp_path, teachers=[{'pretrain_network': files[0]}], freeze_bn=True, **PIXEL)
    options['path']['pretrain_network_g'] = files[0]
    weights = torch.load(files[0])
    weights['params']['output.weight'] *= 0.01
    torch.save(weights, files[0])
    model = build(options)
    data = batch()
    data['lq'] = 0.1 + 0.8 * data['lq']
    with torch.no_grad():
        results = model.net_g(data['lq'])
    assert not torch.equal(results, data['lq']) and results.min() > 0 and results.max() < 1  # as targets are
    log = train(model, 1, batches=lambda _: data)[0]
    assert log['l_pix'] < 1e-7


def test_networks_of_other_projects_teach_too(tmp_path):
    class TwiceAsLarge(torch.nn.Module):
        def forward(self, x):
            return x.repeat_interleave(2, -1)

    class Grey(torch.nn.Module):
        def __init__(self, level=0.0):
            super().__init__()
            self.level = torch.nn.Parameter(torch.tensor(float(level)))

        def forward(self, x):
            return torch.zeros_like(x) + self.level

    for kind in (TwiceAsLarge, Grey):
        if kind.__name__ in ARCH_REGISTRY:
            ARCH_REGISTRY._obj_map.pop(kind.__name__)
        ARCH_REGISTRY.register(kind)
    path = str(tmp_path / 'grey.pth')
    torch.save({'params': {'module.level': torch.tensor(0.75)}}, path)
    data = named()
    teachers = Teachers([{'pretrain_network': path, 'network': {'type': 'Grey', 'level': 0.5}}], CPU)
    targets = teachers.targets(data['lq'], data['gt'], data['task'])
    assert torch.equal(targets, torch.full_like(data['gt'], 0.75))

    torch.save({'state_dict': {'net.level': torch.tensor(0.25), 'loss.other': torch.zeros(2)}}, path)
    lightning = Teachers([{'pretrain_network': path, 'network': {'type': 'Grey'}}], CPU)
    assert torch.equal(lightning.targets(data['lq'], data['gt'], data['task']), torch.full_like(data['gt'], 0.25))
    save_file({'level': torch.tensor(0.5)}, tmp_path / 'grey.safetensors')
    safe = Teachers([{'pretrain_network': str(tmp_path / 'grey.safetensors'), 'network': {'type': 'Grey'}}], CPU)
    assert torch.equal(safe.targets(data['lq'], data['gt'], data['task']), torch.full_like(data['gt'], 0.5))

    with pytest.raises(CheckpointError, match=r'grey.pth: does not fit this network[\s\S]*surplus'):
        Teachers([{'pretrain_network': path, 'network': {'type': 'TwiceAsLarge'}}], CPU)
    torch.save({}, path)
    large = Teachers([{'pretrain_network': path, 'network': {'type': 'TwiceAsLarge'}}], CPU)
    with pytest.raises(ValueError, match=r'TwiceAsLarge makes \(4, 3, 32, 64\)'):
        large.targets(data['lq'], data['gt'], data['task'])


@pytest.mark.parametrize('tasks', [(['derain'], ['derain']), (None, None), (['derain', 'derain'],)])
def test_two_teachers_of_one_task_are_an_error(files, tasks):
    listed = [{'pretrain_network': files[0], **({'tasks': names} if names else {})} for names in tasks]
    with pytest.raises(ValueError, match='train: teachers: .*two teachers'):
        Teachers(listed, CPU)


def test_the_network_of_an_option_file_may_describe_a_teacher(files):
    teachers = Teachers([{'pretrain_network': files[0], 'network': {**NETWORK, 'drop_path_rate': 0.1}}], CPU)
    data = named()
    with torch.no_grad():
        expected = load_network(files[0])(data['lq']).clamp(0, 1)
    torch.testing.assert_close(teachers.targets(data['lq'], data['gt'], data['task']), expected)


def test_a_teacher_sees_no_more_of_a_batch_at_once_than_the_network(files):
    seen = []

    class Counting(torch.nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x

    teachers = Teachers([{'pretrain_network': files[0]}], CPU)
    teachers._of = {'': (Counting(), 1.0)}
    data = named()
    assert torch.equal(teachers.targets(data['lq'], data['gt'], data['task'], parts=2), data['lq'])
    assert seen == [2, 2]


def test_a_file_that_teaches_twice_is_loaded_once(files):
    listed = [{'pretrain_network': files[0], 'tasks': [task], 'share': 0.5} for task in ('derain', 'dehaze')]
    nets = {net for net, _ in Teachers(listed, CPU)._of.values()}
    assert len(nets) == 1

"""``train: losses:``, the list of any registered losses."""

import pytest
import torch
from basicsr.utils.registry import LOSS_REGISTRY
from model_setup import LOSSES, batch, build, train, training_options

from mirage_ir.training.losses import ListedLosses


def entries(*names):
    return [{**LOSSES[f'{name}_opt'], 'name': f'my_{name}'} for name in names]


def test_a_list_is_worth_the_keys_that_it_replaces(tmp_path):
    by_key = train(build(training_options(tmp_path / 'a')), 2)
    options = training_options(tmp_path / 'b', losses=())
    options['train']['losses'] = entries('pixel', 'fourier', 'spd')
    by_list = train(build(options), 2)
    for one, other in zip(by_key, by_list, strict=True):
        assert one['l_pix'] == pytest.approx(other['l_my_pixel'], rel=1e-6)
        assert one['l_fourier'] == pytest.approx(other['l_my_fourier'], rel=1e-6)
        assert one['l_spd'] == pytest.approx(other['l_spd'], rel=1e-6)
        assert one['grad_norm'] == pytest.approx(other['grad_norm'], rel=1e-5)


def test_a_loss_of_ones_own_is_trained_with(tmp_path, monkeypatch):
    class HalfLoss(torch.nn.Module):
        def __init__(self, loss_weight=1.0):
            super().__init__()
            self.loss_weight = loss_weight

        def forward(self, pred, target):
            return self.loss_weight * 0.5 * (pred - target).square().mean()

    monkeypatch.setitem(LOSS_REGISTRY._obj_map, 'HalfLoss', HalfLoss)
    options = training_options(tmp_path, losses=('pixel_opt',))
    options['train']['losses'] = [{'type': 'HalfLoss', 'loss_weight': 2.0}]
    model = build(options)
    logs = train(model, 1)
    model.feed_data(batch(1))
    assert set(logs[0]) >= {'l_pix', 'l_halfloss'} and logs[0]['l_halfloss'] > 0


def test_several_values_of_a_loss_are_told_apart():
    losses = ListedLosses([{'type': 'L1Loss'}])
    losses.losses[0].forward = lambda output, gt: (output.mean(), gt.mean())
    assert set(losses(torch.ones(1), torch.zeros(1))) == {'l_l1loss_1', 'l_l1loss_2'}


@pytest.mark.parametrize(
    'listed, message',
    [
        ([{'type': 'L1Loss'}, {'type': 'L1Loss'}], 'taken'),
        ([{'type': 'L1Loss', 'name': 'pix'}], 'taken'),
        ([{'type': 'L11Loss'}], 'registered are'),
        ([{'type': 'WeightedTVLoss'}], r'takes \(pred, weight\)'),
        ([{'type': 'GANLoss', 'gan_type': 'vanilla'}], 'discriminator'),
        ([{'type': 'SPDContrastiveLoss'}, {'type': 'SPDContrastiveLoss'}], 'keep one'),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, listed, message):
    options = training_options(tmp_path, losses=('pixel_opt',))
    options['train']['losses'] = listed
    with pytest.raises(ValueError, match=message):
        build(options)

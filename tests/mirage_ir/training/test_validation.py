import csv
import errno
import json
import logging
import math

import cv2
import numpy as np
import pytest
import torch
from model_setup import PairSet, build, loader, test_options, train, training_options
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mirage_ir.measuring import metrics
from mirage_ir.measuring.protocols import centre_crop
from mirage_ir.training import validation
from mirage_ir.training.validation import ValidationError

ITEMS = [
    ('/pictures/rain/1.png', 'derain', (35, 50)),
    ('/pictures/haze/1.png', 'dehaze', (32, 33)),
    ('/pictures/haze/2.png', 'dehaze', (48, 40)),
]


class Recorder:
    """Stands in for a TensorBoard writer."""

    def __init__(self):
        self.scalars, self.images = {}, {}

    def add_scalar(self, tag, value, step):
        self.scalars[tag, step] = value

    def add_image(self, tag, image, step, dataformats):
        assert dataformats == 'HWC' and image.dtype == np.uint8
        self.images[tag, step] = image


def csv_rows(path):
    with open(path, newline='') as file:
        return list(csv.reader(file))[1:]


def expected(model, dataset, crop=0):
    """Metrics of each image by scikit-image, from the network's own output."""
    net = getattr(model, 'net_g_ema', None) or model.net_g
    found = []
    for item in dataset:
        lq, gt = item['lq'][None], item['gt'][None]
        if crop:
            lq, gt = centre_crop(lq, crop, 'x'), centre_crop(gt, crop, 'x')
        with torch.no_grad():
            out = net.eval()(lq).clamp(0, 1)
        a, b = (x[0].permute(1, 2, 0).double().numpy() for x in (out, gt))
        found.append(
            (peak_signal_noise_ratio(b, a, data_range=1), structural_similarity(b, a, data_range=1, channel_axis=-1))
        )
    return found


def test_figures_follow_the_protocol_by_task_and_average(tmp_path):
    model = build(training_options(tmp_path, val={'crop_multiple': 16}))
    train(model, 2)
    dataset, recorder = PairSet(ITEMS), Recorder()
    model.validation(loader(dataset), 5, recorder, save_img=False)
    assert model.net_g.training
    by_image = expected(model, dataset, crop=16)
    means = {
        'derain': by_image[0],
        'dehaze': tuple(np.mean(by_image[1:], axis=0)),
    }
    rows = {(row[1], row[2], row[3]): float(row[4]) for row in csv_rows(tmp_path / 'validation.csv')}
    for task, (psnr, ssim) in means.items():
        assert rows['val', task, 'psnr'] == pytest.approx(psnr, abs=2e-4)
        assert rows['val', task, 'ssim'] == pytest.approx(ssim, abs=2e-5)
        assert recorder.scalars[f'metrics/val/{task}/psnr', 5] == rows['val', task, 'psnr']
    # The average is over the table's columns, not over images, as in the paper.
    assert rows['average', 'average', 'psnr'] == pytest.approx(np.mean([m[0] for m in means.values()]), abs=2e-4)
    assert model.best_metric_results['val']['psnr']['iter'] == 5


def test_average_network_is_the_one_that_is_validated(tmp_path):
    model = build(training_options(tmp_path, ema_decay=0.9))
    train(model, 3)
    dataset = PairSet(ITEMS[:1])
    model.validation(loader(dataset), 5, None)
    assert model.metric_results['psnr'] == pytest.approx(expected(model, dataset)[0][0], abs=2e-4)


def test_training_is_untouched_by_a_validation(tmp_path):
    logs = train(build(training_options(tmp_path)), 4)
    second = build(training_options(tmp_path))
    again = train(second, 2)
    second.validation(loader(PairSet(ITEMS)), 2, None)
    again += train(second, 2, start=2)
    keys = [key for key in logs[0] if key.startswith('l_')]
    assert [[log[key] for key in keys] for log in logs] == [[log[key] for key in keys] for log in again]


def test_time_of_a_validation_is_not_counted_as_training(tmp_path):
    model = build(training_options(tmp_path))
    train(model, 4)
    model.validation(loader(PairSet(ITEMS[:1])), 4, None)
    assert 'images_per_s' not in train(model, 1, start=4)[0]  # the clock starts anew
    assert train(model, 5, start=5)[-1]['images_per_s'] > 0


def test_csv_replaces_the_same_iteration_and_drops_later_ones(tmp_path):
    model = build(training_options(tmp_path))
    dataset = PairSet(ITEMS[:1])
    for iteration in (5, 10, 15):
        model.validation(loader(dataset), iteration, None)
    complete = csv_rows(tmp_path / 'validation.csv')
    model.validation(loader(dataset), 10, None)  # a run that was resumed at 5 or 10 comes here again
    assert csv_rows(tmp_path / 'validation.csv') == [row for row in complete if row[0] != '15']


def test_last_validation_is_counted_once_and_under_the_last_iteration(tmp_path):
    model = build(training_options(tmp_path, total_iter=10, sets=('one', 'two')))
    sets = [PairSet(ITEMS[:1], name) for name in ('one', 'two')]
    model.validation(loader(sets[0]), 10, None)
    before = csv_rows(tmp_path / 'validation.csv')
    calls = []
    original, model.test = model.test, lambda: (calls.append(1), original())
    model.validation(loader(sets[0]), 11, None)
    assert calls == [] and csv_rows(tmp_path / 'validation.csv') == before
    model.validation(loader(sets[1]), 12, None)  # not validated yet at 10
    rows = csv_rows(tmp_path / 'validation.csv')
    assert len(calls) == 1 and {row[0] for row in rows} == {'10'}
    assert {row[1] for row in rows} == {'one', 'two', 'average'}


def test_best_records_survive_and_take_new_metrics(tmp_path):
    model = build(training_options(tmp_path))
    train(model, 1)
    model.best_metric_results = {'val': {'psnr': {'better': 'higher', 'val': 99.0, 'iter': 3}}}
    model.validation(loader(PairSet(ITEMS[:1])), 5, None)
    assert model.best_metric_results['val']['psnr'] == {'better': 'higher', 'val': 99.0, 'iter': 3}
    assert model.best_metric_results['val']['ssim']['iter'] == 5


def test_lower_is_better_is_known_by_the_metric(tmp_path):
    options = training_options(tmp_path, val={'metrics': {'niqe': {'type': 'calculate_niqe', 'crop_border': 0}}})
    assert 'calculate_niqe' in metrics.LOWER_IS_BETTER
    model = build(options)
    model._initialize_best_metric_results('val')
    assert model.best_metric_results['val']['niqe'] == {'better': 'lower', 'val': math.inf, 'iter': -1}


def test_float_and_eight_bit_metrics_get_their_kind_of_image(tmp_path):
    kinds = {'float': {'type': 'psnr_float'}, 'eight': {'type': 'calculate_psnr', 'crop_border': 0}}
    model = build(training_options(tmp_path, val={'metrics': kinds}))
    dataset = PairSet(ITEMS[:1])
    model.validation(loader(dataset), 5, None)
    item = dataset[0]
    with torch.no_grad():
        out = model.net_g.eval()(item['lq'][None]).clamp(0, 1)[0]
    rounded = [np.round(x.numpy().astype(np.float64) * 255) for x in (out, item['gt'])]
    eight = 10 * math.log10(255**2 / np.mean((rounded[0] - rounded[1]) ** 2))
    assert model.metric_results['eight'] == pytest.approx(eight, abs=1e-3)
    assert model.metric_results['float'] == pytest.approx(expected(model, dataset)[0][0], abs=2e-4)
    assert abs(model.metric_results['eight'] - model.metric_results['float']) > 1e-6


def test_what_cannot_be_validated_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"psnr: type is 'psnr_flaot'; registered are .*psnr_float"):
        build(training_options(tmp_path, val={'metrics': {'psnr': {'type': 'psnr_flaot'}}}))
    monkeypatch.setattr(metrics, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match='pip install'):
        build(training_options(tmp_path, val={'metrics': {'lpips': {'type': 'lpips'}}}))
    with pytest.raises(ValueError, match='the name one is given twice'):
        build(training_options(tmp_path, sets=('one', 'one')))


def test_input_can_be_measured_beside_the_result(tmp_path):
    model = build(training_options(tmp_path, val={'input_metrics': True}))
    dataset = PairSet(ITEMS[:1])
    model.validation(loader(dataset), 5, None)
    lq, gt = (dataset[0][key].permute(1, 2, 0).numpy() for key in ('lq', 'gt'))
    assert model.metric_results['input_psnr'] == pytest.approx(peak_signal_noise_ratio(gt, lq, data_range=1), abs=1e-4)
    assert 'input_psnr' not in model.best_metric_results['val']


def test_without_ground_truth_pictures_are_written_and_metrics_left_out(tmp_path):
    model = build(test_options(tmp_path))
    model.validation(loader(PairSet(ITEMS, gt=False)), 'small', None, save_img=True)
    content = json.loads((tmp_path / 'results.json').read_text())
    assert [(row['task'], row['images']) for row in content['rows']] == [('derain', 1), ('dehaze', 2)]
    assert all('psnr' not in row for row in content['rows']) and content['average'] == {}
    assert (tmp_path / 'visualization/val/haze/2_small.png').is_file()


def test_pictures_of_equal_names_stay_apart(tmp_path):
    model = build(test_options(tmp_path, sets=('a', 'b')))
    for name in ('a', 'b'):
        model.validation(loader(PairSet(ITEMS, name)), 'small', None, save_img=True)
    results = {
        path.relative_to(tmp_path / 'visualization').as_posix() for path in (tmp_path / 'visualization').rglob('*.png')
    }
    names = ['rain/1_small.png', 'haze/1_small.png', 'haze/2_small.png']
    assert results == {
        f'{folder}{dataset}/{name}' for folder in ('', 'side_by_side/') for dataset in 'ab' for name in names
    }


def test_side_by_side_pictures_in_training_and_tensorboard(tmp_path):
    model = build(training_options(tmp_path))
    recorder = Recorder()
    model.validation(loader(PairSet(ITEMS)), 5, recorder, save_img=True)
    sheet = cv2.imread(str(tmp_path / 'visualization/val/haze/2/2_5.png'))
    assert sheet.shape == (48, 3 * 40 + 2 * 4, 3)
    assert {tag for tag, _ in recorder.images} == {'val/rain/1', 'val/haze/1', 'val/haze/2'}
    np.testing.assert_array_equal(recorder.images['val/haze/2', 5][..., ::-1], sheet)
    gt = PairSet(ITEMS)[2]['gt'].permute(1, 2, 0).numpy()[..., ::-1]
    assert np.abs(sheet[:, -40:] / 255 - gt).max() < 0.6 / 255


def test_a_test_says_which_of_weights_and_average_it_measures(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    caplog.set_level(logging.INFO, 'basicsr')
    source = build(training_options(tmp_path, ema_decay=0.5))
    train(source, 1)
    source.save(0, 1)
    weights = str(tmp_path / 'models/net_g_1.pth')
    found = {}
    for key in ('params', 'params_ema'):
        caplog.clear()
        options = test_options(tmp_path / key, weights)
        options['path']['param_key_g'] = key
        model = build(options)
        found[key] = model.net_g.state_dict()['output.weight']
        assert f'from {weights}, entry {key}.' in caplog.text
        assert ('set path: param_key_g: params_ema' in caplog.text) == (key == 'params')
        assert model._protocol()['entry of the weights'] == key
    assert not torch.equal(found['params'], found['params_ema'])
    torch.save({'params': torch.load(weights)['params']}, weights)  # nothing to choose from: nothing to say
    caplog.clear()
    assert 'entry of the weights' not in build(options)._protocol() and 'also holds' not in caplog.text


def test_results_of_a_test_run(tmp_path):
    source = build(training_options(tmp_path / 'train', ema_decay=0.5))
    train(source, 1)
    source.save(0, 1)
    weights = str(tmp_path / 'train/models/net_g_1.pth')
    model = build(test_options(tmp_path / 'out', weights, sets=('one', 'two'), val={'crop_multiple': 8}))
    for name in ('one', 'two'):
        model.validation(loader(PairSet(ITEMS, name)), 'small', None)
    content = json.loads((tmp_path / 'out/results.json').read_text())
    assert content['weights'] == weights and content['protocol']['crop_multiple'] == 8
    assert content['protocol']['entry of the weights'] == 'params_ema'
    assert content['params_m'] == sum(p.numel() for p in model.net_g.parameters()) / 1e6 > 0
    assert content['protocol']['metrics']['psnr'] == {'type': 'psnr_float'}
    assert [(row['dataset'], row['task'], row['images']) for row in content['rows']] == [
        ('one', 'derain', 1),
        ('one', 'dehaze', 2),
        ('two', 'derain', 1),
        ('two', 'dehaze', 2),
    ]
    assert content['average']['psnr'] == pytest.approx(np.mean([row['psnr'] for row in content['rows']]))
    lines = (tmp_path / 'out/results.csv').read_text().splitlines()
    assert lines[0] == 'dataset,task,images,psnr,ssim' and len(lines) == 6 and lines[-1].startswith('average,,6,')
    images = (tmp_path / 'out/images_two.csv').read_text().splitlines()
    assert images[0] == 'image,task,psnr,ssim' and [line.split(',')[0] for line in images[1:]] == [
        'rain/1',
        'haze/1',
        'haze/2',
    ]


def test_ground_truth_of_another_size_is_named(tmp_path):
    class Mismatched(PairSet):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return {**item, 'gt': item['gt'][:, :-2]}

    model = build(test_options(tmp_path))
    with pytest.raises(ValueError, match=r'/pictures/rain/1.png is 35x50 but its ground truth is 33x50'):
        model.validation(loader(Mismatched(ITEMS)), 'small', None)


def test_image_smaller_than_the_crop_is_named(tmp_path):
    model = build(test_options(tmp_path, val={'crop_multiple': 16}))
    with pytest.raises(ValueError, match='tiny.png: the image has 40x9 pixels, too few for crop_multiple: 16'):
        model.validation(loader(PairSet([('/pictures/tiny.png', 'x', (9, 40))])), 'small', None)


@pytest.mark.parametrize(
    'metric, message',
    [
        ({'type': 'psnr_float', 'crop_border': 20}, 'crop_border: 20 leaves nothing of 35x50 pixels'),
        ({'type': 'psnr_float', 'crop_border': -1}, 'crop_border: -1; needed is a whole number of at least 0'),
        ({'type': 'ssim_float', 'crop_border': 15}, 'SSIM needs at least 7x7 pixels, got 5x20'),
        ({'type': 'calculate_niqe', 'crop_border': 0}, 'NIQE needs at least two blocks of 96x96 pixels, got 35x50'),
    ],
)
def test_a_metric_that_a_picture_is_too_small_for_names_it(tmp_path, metric, message):
    options = test_options(tmp_path)
    options['val']['metrics'] = {'m': metric}
    with pytest.raises(ValidationError, match=f'val: /pictures/rain/1.png: {message}'):
        build(options).validation(loader(PairSet(ITEMS)), 'small', None)


def test_a_picture_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(validation, 'write_image', full)
    model = build(test_options(tmp_path))
    with pytest.raises(ValidationError, match=r'rain/1_small\.png: cannot be written: No space left .* MB are free'):
        model.validation(loader(PairSet(ITEMS)), 'small', None, save_img=True)


def test_what_data_sets_crop_is_said_and_kept_apart(tmp_path):
    model = build(test_options(tmp_path, sets=('one', 'two')))
    for name, multiple in (('one', 16), ('two', 1)):
        data = PairSet(ITEMS, name)
        data.crop_multiple = multiple
        model.validation(loader(data), 'small', None)
    content = json.loads((tmp_path / 'results.json').read_text())
    assert content['protocol']['crop_multiple'] == {'one': 16, 'two': 0}


def test_centre_crop_takes_the_middle():
    image = torch.arange(5 * 7).reshape(1, 5, 7)
    torch.testing.assert_close(centre_crop(image, 4, 'x'), image[:, 0:4, 1:5])


def test_self_ensemble_is_the_mean_over_flips_and_rotations(tmp_path):
    model = build(test_options(tmp_path, val={'self_ensemble': True}))
    lq = torch.rand(1, 3, 24, 17)
    model.feed_data({'lq': lq})
    model.test()
    with torch.no_grad():
        net = model.net_g.eval()
        outputs = []
        for dims in ((), (-1,), (-2,), (-2, -1)):
            flipped = lq.flip(dims) if dims else lq
            for turned in (False, True):
                view = flipped.transpose(-2, -1) if turned else flipped
                out = net(view.contiguous())
                out = out.transpose(-2, -1) if turned else out
                outputs.append(out.flip(dims) if dims else out)
    torch.testing.assert_close(model.output, torch.stack(outputs).mean(0), rtol=1e-4, atol=1e-5)

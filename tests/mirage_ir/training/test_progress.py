import logging
import re

from mirage_ir.training.diagnostics import ProgressLogger


class Recorder(dict):
    def add_scalar(self, tag, value, step):
        self[tag] = (value, step)


def test_line_stays_short_and_tensorboard_gets_everything(caplog):
    recorder = Recorder()
    opt = {'name': 'small', 'logger': {'print_freq': 1, 'use_tb_logger': True}, 'train': {'total_iter': 100}}
    log = ProgressLogger(opt, 0, recorder)
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        log(
            {
                'epoch': 0,
                'iter': 7,
                'lrs': [1e-3],
                'time': 0.5,
                'data_time': 0.1,
                'l_pix': 0.25,
                'grad_norm': 2.0,
                'images_per_s': 8.0,
                'spd/condition_latent': 1e3,
                'lr': 1e-3,
            }
        )
    finally:
        logger.setLevel(level)
        logger.removeHandler(caplog.handler)
    line = caplog.messages[-1]
    assert (
        '-1 day' not in line and 'eta:' in line and 'time (data): 0.500 (0.100)' in line and 'l_pix: 2.5000e-01' in line
    )
    assert 'spd/' not in line and 'images_per_s' not in line
    assert recorder == {
        'losses/l_pix': (0.25, 7),
        'grad_norm': (2.0, 7),
        'progress/images_per_s': (8.0, 7),
        'progress/lr': (1e-3, 7),
        'spd/condition_latent': (1e3, 7),
        'progress/time': (0.5, 7),
        'progress/data_time': (0.1, 7),
    }


def test_the_time_left_ends_at_zero(monkeypatch):
    lines = []
    opt = {'name': 'small', 'logger': {'print_freq': 1, 'use_tb_logger': False}, 'train': {'total_iter': 100}}
    log = ProgressLogger(opt, 0)
    monkeypatch.setattr(log.logger, 'info', lines.append)
    log.start_time -= 1010  # ten seconds each
    for iteration in (100, 99):
        log({'epoch': 0, 'iter': iteration, 'lrs': [1e-3], 'time': 10.0, 'data_time': 0.1})
    assert [re.search(r'eta: (.*?),', line)[1] for line in lines] == ['0:00:00', '0:00:10']

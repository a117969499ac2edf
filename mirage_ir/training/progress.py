"""The progress line of a training run."""

from __future__ import annotations

from basicsr.utils.logger import MessageLogger

_OF_THE_LINE = ('epoch', 'iter', 'lrs', 'time', 'data_time', 'grad_norm')


class ProgressLogger(MessageLogger):
    """BasicSR's line (time left, data time, losses) at its length; all else a model logs goes to TensorBoard only.

    TensorBoard also gets the times, which BasicSR only prints.
    """

    def __call__(self, log_vars: dict) -> None:
        """Logs one iteration; ``log_vars`` is BasicSR's, with what the model put into its log."""
        extra = {key: value for key, value in log_vars.items() if key not in _OF_THE_LINE and not key.startswith('l_')}
        if self.tb_logger is not None:
            times = {key: log_vars[key] for key in ('time', 'data_time') if key in log_vars}
            for key, value in {**extra, **times}.items():
                self.tb_logger.add_scalar(key if '/' in key else f'progress/{key}', value, log_vars['iter'])
        super().__call__({key: value for key, value in log_vars.items() if key not in extra})

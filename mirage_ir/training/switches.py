"""The options that `MIRAGEModel` and the training run add to BasicSR's, each declared once.

A new switch is a line here and the code that reads it; the check of option files, its hints and the page of options
follow.
"""

from __future__ import annotations

from mirage_data.option import Option
from mirage_ir.measuring.protocols import PROTOCOLS

TOP = {
    'deterministic': Option('flag', 'let equal runs be equal to the last bit, also on a GPU; slower', False),
    'left_out': Option('text', 'what --only and --without took out; written by a run, for the reader'),
}

TRAIN = {
    'fourier_opt': Option('section', 'the loss in the frequency domain'),
    'spd_opt': Option('section', 'the contrastive loss of two depths'),
    'teachers': Option('sections', 'trained networks whose results take the place of the ground truth'),
    'losses': Option('sections', 'further losses, any registered ones, each with type and arguments'),
    'amp': Option('text', 'half precision in the network', 'off', choices=('off', 'bf16', 'fp16', False)),
    'channels_last': Option('flag', "the layout that GPUs' convolutions like", False),
    'compile': Option('flag', 'torch.compile', False),
    'cuda_graph': Option('flag', 'record the launches of a step once and repeat them; one GPU', False),
    'checkpoint_blocks': Option('flag', 'compute blocks again in the backward pass: less memory, more time', False),
    'sync_bn': Option('flag', 'batch norm over all GPUs', False),
    'freeze_bn': Option('flag', 'batch norm as it is evaluated; needs trained weights to start from', False),
    'tf32': Option('flag', 'float32 of 10 bits on GPUs, faster; absent: as PyTorch is set'),
    'accumulate_grad': Option('count', 'parts in which a batch is worked through', 1, low=1, none=True),
    'grad_clip': Option('number', 'largest norm of the gradient; 0: unlimited', 0, low=0, none=True),
}

VAL = {
    'protocol': Option(
        'text', 'a usual set of conventions for PSNR, SSIM and cropping, before `metrics`', choices=tuple(PROTOCOLS)
    ),
    'crop_multiple': Option(
        'count', 'images are cropped to multiples of this; 0: not at all; absent: as the data sets do', low=0, none=True
    ),
    'self_ensemble': Option('flag', 'average over the eight flips and turns', False),
    'input_metrics': Option('flag', 'measure the degraded images, too', False),
}

LOGGER = {
    'keep_checkpoints': Option('count', 'only the last so many checkpoints are kept', low=1, none=True),
    'print_network': Option('flag', 'every module of the network in the log', False),
}

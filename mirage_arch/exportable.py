"""A form of the network that exporters can write with free batch, height and width."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mirage_arch import _DYNAMIC_KERNEL as _SIZE
from .mirage_arch import GatedConvolution, MIRAGEArch

__all__ = ['exportable', 'export_onnx']

_OPSET = 18


class _ShiftedConvolution(GatedConvolution):
    """The dynamic depthwise convolution as a sum of products with shifted images.

    Grouped convolution with one group for each sample and channel bakes the batch size into an exported graph. Here
    a fixed convolution makes the shifts along rows, slices make those along columns, and products weight them.
    """

    def _depthwise(self, x: Tensor) -> Tensor:
        if not self.dynamic:
            return super()._depthwise(x)
        c, h = x.shape[1:3]
        kernel = self.kernel_generator(x).reshape(-1, c, _SIZE, _SIZE, 1, 1)
        pick = torch.eye(_SIZE, dtype=x.dtype, device=x.device).reshape(_SIZE, 1, 1, _SIZE).repeat(c, 1, 1, 1)
        shifted = F.conv2d(F.pad(x, [_SIZE // 2] * 4), pick, groups=c).unflatten(1, (c, _SIZE))
        rows = [(shifted[:, :, :, i : i + h] * kernel[:, :, i]).sum(dim=2) for i in range(_SIZE)]
        return sum(rows[1:], rows[0])


class _Padded(nn.Module):
    """Pads with arithmetic on sizes instead of decisions about them, which an exporter would take once for all."""

    def __init__(self, net: MIRAGEArch) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        h, w = image.shape[-2:]
        rows, columns = _reflected(h, image.device), _reflected(w, image.device)
        return self.net(image.index_select(-2, rows).index_select(-1, columns))[..., :h, :w]


def _reflected(length: int, device: torch.device) -> Tensor:
    index = torch.arange((length + 7) // 8 * 8, device=device)
    last = length - 1
    reflected = last - (index - last).abs()
    # an edge no longer than its padding is repeated, as in the network itself
    fits = index.shape[0] - length < length
    return torch.where(torch.full_like(index, fits).bool(), reflected.clamp(min=0), index.clamp(max=last))


def exportable(net: MIRAGEArch) -> nn.Module:
    """A copy of a network for exporters, in evaluation mode; it gives what the network gives.

    Args:
        net: The network; not changed.

    Returns:
        A module from (b, c, h, w) to the same, whose graph holds for any b, h and w.
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    for module in net.modules():
        if type(module) is GatedConvolution:
            module.__class__ = _ShiftedConvolution
    return _Padded(net).eval()


def export_onnx(net: MIRAGEArch, path: str, half: bool = False) -> None:
    """Write a network as ONNX with free batch, height and width.

    Args:
        net: The network.
        path: File to write. Input ``image`` and output ``restored`` are (batch, c, height, width).
        half: Store and compute in float16.

    Raises:
        ImportError: The extra ``export`` (onnx, onnxscript) is not installed.
    """
    module = exportable(net)
    example = torch.rand(2, net.patch_embed.proj.in_channels, 40, 56)
    if half:
        module, example = module.half(), example.half()
    free = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        module,
        (example,),
        path,
        input_names=['image'],
        output_names=['restored'],
        dynamic_shapes=({0: free, 2: free, 3: free},),
        opset_version=_OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )

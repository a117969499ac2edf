"""Restore photographs from Python: arrays of any usual type, single files and whole folders."""
from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mirage_arch.checkpoints import load_network
from mirage_arch.evaluation import is_out_of_memory
from mirage_arch.fast_forward import prepare_fast

from .memory import available_bytes
from .tiling import restore_in_tiles

__all__ = ['BUNDLED_WEIGHTS', 'PRECISIONS', 'Restorer']

BUNDLED_WEIGHTS = Path(__file__).parent / 'weights' / 'mirage_nano.safetensors'
PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}

# Memory of the strip-wise evaluation: full-resolution float32 maps of the first level's width, and the rest. An upper
# bound of the measured peaks (docs/inference.md: 4.8 to 5.7 maps, all told, at dim 24; 5.3 to 7.2 at dim 12).
_MAPS_KEPT = 5.5
_BYTES_BESIDES = 200e6
_SMALLEST_TILE = 256


class Restorer:
    """A trained network that takes photographs as they are and gives them back restored.

    Args:
        weights: Any file that `mirage_arch.checkpoints.load_weights` reads; None for the weights in the package.
        device: 'auto' (a GPU if there is one), or what `torch.device` takes.
        precision: 'fp32', 'bf16' or 'fp16'.
        tile: Side in pixels of tiles to restore one by one. None restores whole images, which the network is exact
            for: its statistics are those of the whole image, so tiles change the result. Where the memory does not
            suffice, tiles are used all the same, and a warning says so.
        tile_overlap: Pixels that neighbouring tiles share and are blended over; default an eighth of the tile.
        allow_pickle: Load a weights file that holds other objects; only for files you trust.

    Raises:
        ValueError: An argument out of range, or weights that cannot be used.

    Example:
        >>> restore = Restorer()
        >>> restored = restore(image)                    # (h, w, 3) uint8 RGB -> the same
        >>> restore.restore_folder('bad', 'good')
    """

    def __init__(self, weights: str | Path | None = None, device: str | torch.device = 'auto', precision: str = 'fp32',
                 tile: int | None = None, tile_overlap: int | None = None, allow_pickle: bool = False) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f'precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
        if tile is not None and tile < 16:
            raise ValueError(f'tile must be at least 16 pixels, or None for the whole image, got {tile}')
        if tile_overlap is not None and not 0 <= tile_overlap <= (tile or _SMALLEST_TILE) // 2:
            raise ValueError(f'tile_overlap must be from 0 to half the tile, got {tile_overlap} for tile {tile}')
        if weights is None and not BUNDLED_WEIGHTS.is_file():
            raise ValueError('no weights come with this installation: give the path of a weights file')
        self.device = _pick_device(device)
        self.weights = Path(weights) if weights is not None else BUNDLED_WEIGHTS
        self.tile, self.tile_overlap = tile, tile_overlap
        net = load_network(self.weights, allow_pickle=allow_pickle, spd_head=False)
        self.channels = net.patch_embed.proj.in_channels
        if self.channels != 3:
            raise ValueError(f'{self.weights}: is for images of {self.channels} channels; RGB images need 3')
        self._width = net.patch_embed.proj.out_channels
        self._network = prepare_fast(net.to(self.device), PRECISIONS[precision])

    def __call__(self, image: np.ndarray | str | Path) -> np.ndarray:
        """Restore one image.

        Args:
            image: Path of an image file, or an array (h, w), (h, w, 1), (h, w, 2), (h, w, 3) or (h, w, 4): grey,
                grey and alpha, RGB or RGB and alpha; uint8, uint16, or floating-point in [0, 1].

        Returns:
            An array of the same shape and type. Alpha is passed through; grey stays grey. For a path: the file's
            pixels, EXIF orientation applied.

        Raises:
            ValueError: Another shape or type, values outside [0, 1], NaN or infinity, or an unreadable file.
        """
        if not isinstance(image, np.ndarray):
            from .photo import read_photo  # Pillow is only needed for files
            return self(read_photo(image).pixels)
        colour, alpha = _split_alpha(image)
        values = _to_unit_range(colour)
        grey = values.ndim == 2 or values.shape[2] == 1
        rgb = np.repeat(values.reshape(*values.shape[:2], 1), 3, axis=2) if grey else values
        restored = self._restore(torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None])
        restored = restored[0].permute(1, 2, 0).numpy()
        if grey:
            restored = restored.mean(axis=2).reshape(colour.shape)
        result = _from_unit_range(restored, image.dtype)
        return result if alpha is None else np.concatenate([result.reshape(*alpha.shape[:2], -1), alpha], axis=2)

    def restore_folder(self, source: str | Path, target: str | Path, **options) -> int:
        """Restore every image in a folder, with a progress bar; one bad file does not stop the others.

        Args:
            source: Folder to read.
            target: Folder to write, made if needed; subfolders are kept.
            **options: Fields of `mirage_restore.files.Options`.

        Returns:
            Number of files that failed; each is named in the log.
        """
        from .files import Options, restore_files
        return restore_files(self, [source], target, Options(**{'recursive': True, **options})).failed

    def _restore(self, x: Tensor) -> Tensor:
        """(1, 3, h, w) on the CPU -> the same, clipped to [0, 1]; in tiles where asked for or needed."""
        side = self.tile
        if side is None and not self._fits(x):
            side = self._fallback_tile(x, 'memory is short')
        while True:
            try:
                return self._evaluate(x, side).clamp_(0, 1)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or (side or max(x.shape[-2:])) <= _SMALLEST_TILE:
                    raise
                side = self._fallback_tile(x, 'memory ran out', side)
                if self.device.type == 'cuda':
                    torch.cuda.empty_cache()

    def _evaluate(self, x: Tensor, side: int | None) -> Tensor:
        if side is None or max(x.shape[-2:]) <= side:
            return self._forward(x)
        overlap = side // 8 if self.tile_overlap is None else min(self.tile_overlap, side // 2)
        return restore_in_tiles(self._forward, x, side, overlap)

    def _forward(self, x: Tensor) -> Tensor:
        return self._network(x.to(self.device)).float().cpu()

    def _fits(self, x: Tensor) -> bool:
        needed = x.shape[-2] * x.shape[-1] * self._width * 4 * _MAPS_KEPT + _BYTES_BESIDES
        return needed < 0.9 * available_bytes(self.device)

    def _fallback_tile(self, x: Tensor, why: str, side: int | None = None) -> int:
        side = (side or max(x.shape[-2:])) // 2
        while side > _SMALLEST_TILE and not self._fits(x[..., :side, :side]):
            side //= 2
        side = max(side, _SMALLEST_TILE)
        logging.getLogger(__name__).warning(
            'Restoring an image of %dx%d in tiles of %d pixels, because %s. The result differs from that of the whole '
            'image; a smaller precision or a machine with more memory avoids it.', x.shape[-1], x.shape[-2], side, why)
        return side


def _pick_device(device: str | torch.device) -> torch.device:
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda[:N]', got {device!r}") from None
    if chosen.type == 'cuda' and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f'device {device!r} is not there: {torch.cuda.device_count()} CUDA devices are visible')
    return chosen


def _split_alpha(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)) or 0 in image.shape:
        raise ValueError(f'an image must be (h, w) or (h, w, 1 to 4) and not empty, got {image.shape}')
    if image.ndim == 3 and image.shape[2] in (2, 4):
        return image[..., :-1], image[..., -1:]
    return image, None


def _to_unit_range(image: np.ndarray) -> np.ndarray:
    if image.dtype in (np.uint8, np.uint16):
        return np.divide(image, np.float32(np.iinfo(image.dtype).max), dtype=np.float32)
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f'pixels must be uint8, uint16 or floating-point, got {image.dtype}')
    if not np.isfinite(image).all():
        bad = int((~np.isfinite(image)).sum())
        raise ValueError(f'{bad} of {image.size} pixel values are NaN or infinite')
    if image.min() < 0 or image.max() > 1:
        raise ValueError(f'floating-point pixels must be in [0, 1], got {image.min():g} to {image.max():g}')
    return image.astype(np.float32)


def _from_unit_range(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if np.issubdtype(dtype, np.integer):
        return np.rint(image * np.float64(np.iinfo(dtype).max)).astype(dtype)
    return image.astype(dtype)

"""Restore photographs from Python: arrays of any usual type, single files and whole folders."""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirage_arch.checkpoints import load_network
from mirage_arch.evaluation import restore_exactly, self_ensemble, strip_sizes
from mirage_arch.fast_forward import FastMIRAGE, prepare_fast
from mirage_arch.memory import unless_out_of_memory

from .bundled import AUTO, DEFAULT_MODEL, bundled_weights, find_weights
from .choice import CHOICE, Chooser, read_choice
from .inputs import Box, from_unit_range, restore_pillow, restore_tensor, restore_visible, to_unit_range
from .machine import available_bytes
from .tone import keep_tone as with_tone_kept

__all__ = ['PRECISIONS', 'Restorer']

PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}

_SMALLEST_TILE = 256


class Restorer:
    """A trained network that takes photographs as they are and gives them back restored.

    Args:
        weights: Any file that `mirage_arch.checkpoints.load_weights` reads; a folder that ``save_pretrained`` wrote, or
            'owner/name' of a model on the Hugging Face hub; None for the weights in the package.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda', 'cuda:N' or 'mps'.
        precision: 'fp32', 'bf16' or 'fp16'.
        tile: Side in pixels of tiles to restore one by one. None restores whole images, which the network is exact
            for: its statistics are those of the whole image, so tiles change the result. Where the memory does not
            suffice, tiles are used all the same, and a warning says so.
        tile_overlap: Pixels that neighbouring tiles share and are blended over; default an eighth of the tile.
        allow_pickle: Load a weights file that holds other objects; only for files you trust.
        model: Name of the weights in the package, such as 'nano', where ``weights`` is None; 'auto' takes whichever of
            them suits each picture (`mirage_restore.choice`).
        strength: Share of the restored picture in the result, the rest being the input: 0 to 1.
        keep_tone: Leave brightness, colours and haze as they are, for pictures that are meant to be dark or misty
            (`mirage_restore.tone.keep_tone`).
        self_ensemble: Average over the eight flips and quarter turns of the image, in eight times the time.

    Attributes:
        on_progress: Called with the done share, 0 to 1, of the image in work; None by default.
        chosen: Where the model is 'auto', the one that the last image was restored with; else None.

    Raises:
        ValueError: An argument out of range, or weights that cannot be used.

    Example:
        >>> restore = Restorer()
        >>> restored = restore(image)                    # (h, w, 3) uint8 RGB -> the same
        >>> restore.restore_folder('bad', 'good')
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        device: str | torch.device = 'auto',
        precision: str = 'fp32',
        tile: int | None = None,
        tile_overlap: int | None = None,
        allow_pickle: bool = False,
        model: str | None = None,
        strength: float = 1.0,
        keep_tone: bool = False,
        self_ensemble: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f'precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
        if tile is not None and tile < 16:
            raise ValueError(f'tile must be at least 16 pixels, or None for the whole image, got {tile}')
        if tile_overlap is not None and not 0 <= tile_overlap <= (tile or _SMALLEST_TILE) // 2:
            raise ValueError(f'tile_overlap must be from 0 to half the tile, got {tile_overlap} for tile {tile}')
        if not 0 <= strength <= 1:  # also where it is NaN
            raise ValueError(f'strength must be from 0 (the input) to 1 (the restored picture), got {strength}')
        if weights is not None and model is not None:
            raise ValueError(f'give weights or the name of a model, not both: got {weights} and {model!r}')
        self.device = _pick_device(device)
        if weights is None:
            self.weights = bundled_weights(DEFAULT_MODEL if model in (None, AUTO) else model)
        else:
            self.weights = find_weights(weights)
        self.chosen: str | None = None
        self.strength, self.keep_tone, self.self_ensemble = strength, keep_tone, self_ensemble
        self.on_progress: Callable[[float], None] | None = None
        self._share = (0.0, 1.0)  # where the tile in work begins and how much of the image it is
        self.tile, self.tile_overlap = tile, tile_overlap
        self._settings = (precision, tile, tile_overlap, strength, keep_tone, self_ensemble)
        self._network = self._load(self.weights, precision, allow_pickle)
        self._networks: dict[str, FastMIRAGE] = {}
        self._chooser: Chooser | None = None
        if model == AUTO:
            choice = read_choice()
            self._networks = {name: self._load(bundled_weights(name), precision) for name in choice.models}
            self._chooser = Chooser(choice, [self._restores_views(net) for net in self._networks.values()])

    def __call__(self, image: Any, box: Box | None = None) -> Any:
        """Restore one image.

        Constant borders (black bars) and wholly transparent pixels are left out: they come back as they were, and do
        not decide how the rest is restored.

        Args:
            image: Path of an image file; a Pillow image; an array (h, w), (h, w, 1), (h, w, 2), (h, w, 3) or (h, w, 4):
                grey, grey and alpha, RGB or RGB and alpha; or a tensor (c, h, w) or (b, c, h, w). Arrays and tensors
                are uint8, uint16, or floating-point in [0, 1].
            box: Rows and columns of an array to restore; found in each image where None.

        Returns:
            The same kind, shape and type. Alpha is passed through; grey stays grey. For a path: an array of the file's
            pixels, EXIF orientation applied.

        Raises:
            ValueError: Another shape or type, values outside [0, 1], NaN or infinity, an unreadable file, or weights
                that give NaN.
        """
        self.chosen = None
        if isinstance(image, (str, os.PathLike)):
            from .photo import read_photo  # needed for files only

            return self(read_photo(Path(image)).pixels)
        if isinstance(image, Tensor):
            return restore_tensor(self, image)
        if not isinstance(image, np.ndarray):
            if type(image).__module__.partition('.')[0] != 'PIL' and not hasattr(image, 'getbands'):
                raise ValueError(f'an image must be a path, a Pillow image, an array or a tensor, got {type(image)}')
            return restore_pillow(self, image)
        if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)) or 0 in image.shape:
            raise ValueError(f'an image must be (h, w) or (h, w, 1 to 4) and not empty, got {image.shape}')
        if np.issubdtype(image.dtype, np.floating):
            to_unit_range(image)  # alpha, too, and what is hidden
        elif image.dtype not in (np.uint8, np.uint16):
            raise ValueError(f'pixels must be uint8, uint16 or floating-point, got {image.dtype}')
        return restore_visible(self._colour, image, box)

    def _colour(self, colour: np.ndarray) -> np.ndarray:
        """(h, w), (h, w, 1) or (h, w, 3) -> the same, restored."""
        x = _as_batch(colour)
        suited = self._suited_to([x])
        self.weights = suited.weights
        restored = suited._restore(x)
        if not torch.isfinite(restored).all():
            raise ValueError(
                f'{self.weights}: the network gave NaN or infinity for this image; use precision fp32, or other weights'
            )
        self.chosen = suited.chosen
        if self.keep_tone:
            restored = with_tone_kept(x, restored)
        if self.strength < 1:
            restored = torch.lerp(x, restored, self.strength)
        restored = restored[0].permute(1, 2, 0).numpy()
        if colour.ndim == 2 or colour.shape[2] == 1:
            restored = restored.mean(axis=2).reshape(colour.shape)
        return from_unit_range(restored, colour.dtype)

    def within(self, box: Box | None, frames: Iterable[np.ndarray] = ()) -> Callable[[np.ndarray], np.ndarray]:
        """This restorer for images of which one part is restored, such as the frames of a video within its bars.

        Args:
            box: Rows and columns of that part; None for all.
            frames: Some of the images: where the model is 'auto', it is chosen by them, and is the same for all; where
                there are none, it is chosen for each image.
        """
        fixed = self._suited_to(_as_batch(frame[box or ...]) for frame in frames)
        self.chosen, self.weights = fixed.chosen, fixed.weights

        def restore(image: np.ndarray) -> np.ndarray:
            return fixed(image, box)

        files = [fixed.weights] if fixed._chooser is None else [CHOICE, *map(bundled_weights, self._networks)]
        contents = (f'{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}' for file in files)
        state = f'{" ".join(contents)} {self._settings} {box}'
        restore.identity = state  # type: ignore[attr-defined]  # which `video` reads
        return restore

    def restore_folder(self, source: str | Path, target: str | Path, **options) -> int:
        """Restore every image in a folder, with a progress bar; one bad file does not stop the others.

        Args:
            source: Folder to read.
            target: Folder to write, made if needed; subfolders are kept.
            **options: Fields of `mirage_restore.jobs.Options`.

        Returns:
            Number of files that failed; each is named in the log, as is what was changed or left out.
        """
        from .files import Options, restore_files

        summary = restore_files(self, [source], target, Options(**{'recursive': True, **options}))
        for file, note in summary.notes:
            logging.getLogger(__name__).warning('%s: %s', file, note)
        return summary.failed

    def _suited_to(self, pictures: Iterable[Tensor]) -> Restorer:
        """A copy, with the model for these pictures where there is a choice; other threads go on with this one."""
        fixed = copy.copy(self)
        model = None if self._chooser is None else self._chooser(pictures, self.keep_tone)
        if model is not None:
            fixed.chosen, fixed.weights, fixed._network = model, bundled_weights(model), self._networks[model]
            fixed._chooser = None
        return fixed

    def _load(self, weights: Path, precision: str, allow_pickle: bool = False) -> FastMIRAGE:
        net = load_network(weights, allow_pickle=allow_pickle, spd_head=False)
        channels = net.patch_embed.proj.in_channels
        if channels != 3:
            raise ValueError(f'{weights}: is for images of {channels} channels; RGB images need 3')
        return prepare_fast(net.to(self.device), PRECISIONS[precision])

    def _restores_views(self, network: FastMIRAGE) -> Callable[[Tensor], Tensor]:
        def restore(view: Tensor) -> Tensor:
            restored = restore_exactly(network, view.to(self.device), self._free())
            if restored is None:
                raise MemoryError('out of memory: not even a small part of the image fits in; close other programs')
            return restored.float().cpu()

        return restore

    def _restore(self, x: Tensor) -> Tensor:
        """(1, 3, h, w) on the CPU -> the same, clipped to [0, 1]; in tiles where asked for or needed."""
        side = self.tile
        # A GPU says at once when it is full, and gives all back; so there it is tried.
        if side is None and self.device.type != 'cuda' and not self._fits(x):
            side = self._fallback_tile(x, 'memory is short')
        while True:
            restored = unless_out_of_memory(functools.partial(self._evaluate, x, side))
            if restored is not None:
                return restored.clamp_(0, 1)
            if (side or max(x.shape[-2:])) <= _SMALLEST_TILE:
                raise RuntimeError(
                    f'out of memory: an image of {x.shape[-1]}x{x.shape[-2]} does not fit into that of {self.device}, '
                    f'even in tiles of {_SMALLEST_TILE} pixels; close other programs, or use another device'
                )
            side = self._fallback_tile(x, 'memory ran out', side)

    def _evaluate(self, x: Tensor, side: int | None) -> Tensor:
        self._share = (0.0, 1.0)
        if side is None or max(x.shape[-2:]) <= side:
            return self._forward(x)
        overlap = side // 8 if self.tile_overlap is None else min(self.tile_overlap, side // 2)
        tiles = len(tile_starts(x.shape[-2], side, overlap)) * len(tile_starts(x.shape[-1], side, overlap))
        done = itertools.count()

        def forward(tile: Tensor) -> Tensor:
            self._share = (next(done) / tiles, 1 / tiles)
            return self._forward(tile)

        return restore_in_tiles(forward, x, side, overlap)

    def _forward(self, x: Tensor) -> Tensor:
        if not self.self_ensemble:
            return self._once(x)
        start, share = self._share
        done = itertools.count()

        def once(view: Tensor) -> Tensor:
            self._share = (start + next(done) * share / 8, share / 8)
            return self._once(view)

        return self_ensemble(once, x)

    def _once(self, x: Tensor) -> Tensor:
        tell, (start, share) = self.on_progress, self._share
        self._network.on_progress = None if tell is None else lambda part: tell(start + part * share)
        try:
            restored = restore_exactly(self._network, x.to(self.device), self._free())
        finally:
            self._network.on_progress = None  # whoever uses it next has a listener of its own, or none
        if restored is None:
            raise MemoryError
        return restored.float().cpu()

    def _fits(self, x: Tensor) -> bool:
        smallest = strip_sizes(self._network)[-1]
        return self._network.peak_bytes(x.shape[-2], x.shape[-1], smallest) < self._free()

    def _free(self) -> float:
        return 0.9 * available_bytes(self.device)

    def _fallback_tile(self, x: Tensor, why: str, side: int | None = None) -> int:
        side = (side or max(x.shape[-2:])) // 2
        while side > _SMALLEST_TILE and not self._fits(x[..., :side, :side]):
            side //= 2
        side = max(side, _SMALLEST_TILE)
        logging.getLogger(__name__).warning(
            'Restoring an image of %dx%d in tiles of %d pixels, because %s. The result differs from that of the whole '
            'image; a smaller precision or a machine with more memory avoids it.',
            x.shape[-1],
            x.shape[-2],
            side,
            why,
        )
        return side


def _pick_device(device: str | torch.device) -> torch.device:
    there = ['cpu', *(f'cuda:{i}' for i in range(torch.cuda.device_count()))]
    there += ['mps'] if torch.backends.mps.is_available() else []
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        chosen = None
    name = None if chosen is None else f'cuda:{chosen.index or 0}' if chosen.type == 'cuda' else chosen.type
    if name not in there:
        raise ValueError(f"device {str(device)!r} is not there; there are 'auto', {', '.join(map(repr, there))}")
    return chosen


def _as_batch(colour: np.ndarray) -> Tensor:
    """(h, w), (h, w, 1) or (h, w, 3) -> float32 RGB (1, 3, h, w)."""
    values = to_unit_range(colour)
    if values.ndim == 2 or values.shape[2] == 1:
        values = np.repeat(values.reshape(*values.shape[:2], 1), 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of tiles that cover ``length`` pixels, evenly spread, sharing at least ``overlap`` pixels."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def restore_in_tiles(forward: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int) -> Tensor:
    """Restore (b, c, h, w) in square tiles whose weights rise linearly over what they share.

    Args:
        forward: What restores a tile.
        x: The image.
        tile: Side of a tile in pixels.
        overlap: Least number of pixels that neighbours share, below ``tile``.

    Returns:
        The restored image, (b, c, h, w).
    """
    h, w = x.shape[-2:]
    total = torch.zeros_like(x)
    weight = x.new_zeros(h, w)
    for top, bottom, rows in _spans(h, tile, overlap):
        for left, right, columns in _spans(w, tile, overlap):
            ramp = rows[:, None] * columns
            total[..., top:bottom, left:right] += forward(x[..., top:bottom, left:right]) * ramp
            weight[top:bottom, left:right] += ramp
    return total.div_(weight)  # in place: of a large picture every copy is gigabytes


def _spans(length: int, tile: int, overlap: int) -> Iterator[tuple[int, int, Tensor]]:
    """Start, end and weights of the tiles along one axis; weights fall towards inner edges only."""
    starts = tile_starts(length, tile, overlap)
    size = min(tile, length)
    for start in starts:
        ramp = torch.ones(size)
        if overlap:
            rise = (torch.arange(size) + 0.5) / overlap
            if start > 0:
                ramp = torch.minimum(ramp, rise)
            if start + size < length:
                ramp = torch.minimum(ramp, rise.flip(0))
        yield start, start + size, ramp

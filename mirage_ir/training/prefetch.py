"""Batches on their way to the GPU while it computes: what ``prefetch_mode: cuda`` stands for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader


class CUDAPrefetcher:
    """Copies the next batch to the GPU on a stream of its own; stands in for BasicSR's class of that name.

    BasicSR's starts the workers of the loader twice, and its copies do not wait for whoever computes with the batches:
    the memory of a batch that has been let go may be written to while the GPU, which is behind the program, still reads
    it. Here a copy begins when everything that was queued on the consumer's stream so far is done, which leaves it the
    whole of the next step.

    Args:
        loader: Gives dictionaries; those of their values that are tensors should lie in page-locked memory.
        device: The GPU.
    """

    def __init__(self, loader: DataLoader, device: torch.device) -> None:
        self.ori_loader = loader
        self.loader: Iterator[dict] = iter(())
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._batch: dict | None = None
        self._failure: Exception | None = None

    def reset(self) -> None:
        """Begins an epoch: starts the workers, and the first copy."""
        self.loader = iter(self.ori_loader)
        self._fetch()

    def next(self) -> dict | None:
        """The next batch, its tensors on the GPU and ready for the current stream; None at the end of the epoch.

        Raises:
            Exception: What the data set raised for this batch; those before it have been handed out.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        batch = self._batch
        if batch is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
            self._fetch()
        return batch

    def _fetch(self) -> None:
        self._batch = None
        try:
            batch = next(self.loader, None)
        except Exception as error:  # its turn is one batch later
            self._failure = error
            return
        if batch is None:
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._batch = {key: self._copied(value) for key, value in batch.items()}

    def _copied(self, value: object) -> object:
        return value.to(self._device, non_blocking=True) if torch.is_tensor(value) else value

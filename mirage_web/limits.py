"""What a server takes at most."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ['Limits']


@dataclass(frozen=True)
class Limits:
    """Limits of a server; each is said in the answer that refuses something.

    Attributes:
        megabytes: Of one upload.
        megapixels: Of a photograph, or of a frame.
        seconds: Of a video; 0 takes none.
        waiting: Uploads in the queue.
        minutes: For which a result is kept after it was last asked for.
        patience: Seconds after which a waiting job that nobody asks about is given up.
    """

    megabytes: float = 100
    megapixels: float = 50
    seconds: float = 60
    waiting: int = 20
    minutes: float = 15
    patience: float = 150

    def __post_init__(self) -> None:
        for name in ('megabytes', 'megapixels', 'waiting', 'minutes', 'patience'):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f'{name} must be a number above 0, got {getattr(self, name)}')
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f'seconds must be a number of at least 0, got {self.seconds}')

    @property
    def upload_bytes(self) -> int:
        """Bytes of one upload."""
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        """Pixels of one picture."""
        return int(self.megapixels * 1e6)

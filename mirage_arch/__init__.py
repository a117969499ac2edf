"""The MIRAGE network and what serves it: checkpoints and exact strip-wise evaluation."""

from .mirage_arch import MIRAGEArch, mirage_mini, mirage_nano, mirage_small, mirage_tiny

__all__ = ['MIRAGEArch', 'mirage_mini', 'mirage_nano', 'mirage_small', 'mirage_tiny']

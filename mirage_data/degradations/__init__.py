"""Degradations as pure functions of (image, parameters, random generator), and recipes made of them."""

from .compose import degrade, parse_recipe
from .noise import gaussian_noise_uint8
from .parameters import apply, draw
from .table import TABLE

__all__ = ['TABLE', 'apply', 'degrade', 'draw', 'gaussian_noise_uint8', 'parse_recipe']

"""Degradations as pure functions of (image, parameters, random generator), and recipes made of them."""

import sys

from . import haze, noise, rain
from .compose import degrade, parse_recipe
from .noise import gaussian_noise_uint8
from .parameters import apply, draw
from .table import TABLE

__all__ = ['TABLE', 'apply', 'degrade', 'draw', 'gaussian_noise_uint8', 'parse_recipe']

# modules that have become parts of others can still be imported
for _name, _home in {'camera': noise, 'jpeg': noise, 'raindrops': rain, 'room': haze, 'underwater': haze}.items():
    sys.modules[f'{__name__}.{_name}'] = _home

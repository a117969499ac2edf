"""The one table of degradations: what each is called, which parameters it draws from which ranges, what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from . import blur, cdd11, graphics, haze, low_light, noise, rain, snow


@dataclass(frozen=True)
class Parameter:
    """A number drawn uniformly from ``low`` to ``high`` unless a recipe says otherwise.

    ``least`` and ``most`` bound what a recipe may ask for. ``whole`` numbers include both ends.
    """

    low: float
    high: float
    least: float
    most: float
    whole: bool = False


@dataclass(frozen=True)
class Degradation:
    """One row of the table.

    Attributes:
        function: ``function(image, *, <parameters>, rng[, window])`` -> image, pure given the generator's state.
        parameters: Name -> `Parameter`, in the order in which they are drawn.
        task: What removing it is called.
        stage: Place in the physical order: the scene itself (below 10), the air (1x), the window or water before the
            lens (2x), lens and camera (3x), exposure and sensor (4x), the file (5x).
        margin: Pixels around a crop that the result inside depends on, in any case.
        reach: A parameter and a factor: so many pixels more (a blur reaches over the border of a crop).
        windowed: The result depends on where in the whole photograph the image lies (depth, uneven light).
        scene: It makes another scene, not a fault: the clean side of a sample is changed alike.
    """

    function: Callable[..., np.ndarray]
    parameters: Mapping[str, Parameter]
    task: str
    stage: int
    margin: int = 0
    reach: tuple[str, float] | None = None
    windowed: bool = False
    scene: bool = False


def clean(image: np.ndarray, *, rng: np.random.Generator | None = None) -> np.ndarray:
    """The image as it is: a network that restores everything must also learn to leave a good picture alone."""
    return image


TABLE: dict[str, Degradation] = {
    'clean': Degradation(clean, {}, task='clean', stage=0),
    'haze': Degradation(
        haze.haze,
        {
            'beta': Parameter(0.6, 2.8, 0, 20),
            'airlight': Parameter(0.6, 1.0, 0, 1),
            'tint': Parameter(-1, 1, -1, 1),
            'horizon': Parameter(0.1, 0.6, 0, 1),
            'relief': Parameter(0, 0.25, 0, 1),
        },
        task='dehaze',
        stage=10,
        windowed=True,
    ),
    'rain': Degradation(
        rain.rain,
        {
            'angle': Parameter(-30, 30, -90, 90),
            'length': Parameter(12, 60, 1, 400),
            'width': Parameter(1.0, 3.5, 0.5, 30),
            'density': Parameter(0.05, 0.6, 0, 10),
            'brightness': Parameter(0.15, 0.7, 0, 1),
            'blend': Parameter(0, 0.8, 0, 1),
            'veil': Parameter(0, 0.12, 0, 1),
        },
        task='derain',
        stage=12,
    ),
    'snow': Degradation(
        snow.snow,
        {
            'size': Parameter(1.0, 3.5, 0.3, 50),
            'density': Parameter(0.004, 0.05, 0, 1),
            'opacity': Parameter(0.6, 1.0, 0, 1),
            'trail': Parameter(0, 10, 0, 200),
            'angle': Parameter(-60, 60, -90, 90),
            'drift': Parameter(0, 0.2, 0, 1),
            'colour': Parameter(0.9, 1.0, 0, 1),
        },
        task='desnow',
        stage=14,
    ),
    'raindrops': Degradation(
        rain.raindrops,
        {
            'count': Parameter(2, 12, 0, 200),
            'size': Parameter(4, 14, 1, 200),
            'defocus': Parameter(0.5, 3.0, 0, 50),
            'opacity': Parameter(0.7, 1.0, 0, 1),
        },
        task='deraindrop',
        stage=20,
    ),
    'underwater': Degradation(
        haze.underwater,
        {
            'distance': Parameter(0.2, 1.1, 0, 20),
            'turbidity': Parameter(0.2, 1.2, 0, 20),
            'blue': Parameter(0, 1, 0, 1),
            'glow': Parameter(0.4, 0.9, 0, 2),
            'soften': Parameter(0, 1.5, 0, 20),
            'horizon': Parameter(0.1, 0.6, 0, 1),
            'relief': Parameter(0, 0.25, 0, 1),
        },
        task='underwater',
        stage=22,
        windowed=True,
    ),
    'defocus_blur': Degradation(
        blur.defocus_blur,
        {'radius': Parameter(1.0, 5.0, 0, 40), 'gamma': Parameter(1.0, 2.2, 1, 3)},
        task='deblur',
        stage=30,
        margin=1,
        reach=('radius', 1.0),
    ),
    'motion_blur': Degradation(
        blur.motion_blur,
        {
            'length': Parameter(4, 28, 0.5, 200),
            'bend': Parameter(0, 2.5, 0, 20),
            'gamma': Parameter(1.0, 2.2, 1, 3),
        },
        task='deblur',
        stage=32,
        margin=2,
        reach=('length', 0.6),
    ),
    'low_light': Degradation(
        low_light.low_light,
        {
            'exposure': Parameter(0.02, 0.25, 0, 1),
            'contrast': Parameter(0, 0.5, 0, 1),
            'cast': Parameter(-0.5, 0.8, -1, 1),
            'shot': Parameter(0.00002, 0.0006, 0, 1),
            'read': Parameter(0.0002, 0.002, 0, 1),
        },
        task='enhance',
        stage=40,
        windowed=True,
    ),
    'poisson_noise': Degradation(
        noise.poisson_noise, {'photons': Parameter(30, 600, 1, 1e7)}, task='denoise', stage=42
    ),
    'camera_noise': Degradation(
        noise.camera_noise,
        {
            'shot': Parameter(0.0005, 0.012, 0, 1),
            'read': Parameter(0.001, 0.02, 0, 1),
            'grain': Parameter(0, 0.9, 0, 10),
        },
        task='denoise',
        stage=44,
    ),
    'gaussian_noise': Degradation(noise.gaussian_noise, {'sigma': Parameter(5, 55, 0, 1000)}, task='denoise', stage=46),
    'jpeg': Degradation(noise.jpeg, {'quality': Parameter(10, 60, 1, 100, whole=True)}, task='dejpeg', stage=50),
}

_STREAKS = dict(TABLE['rain'].parameters)

# Styles nearer to published and real sets; how they were fitted is in docs/degradations.md. New rows instead of wider
# ranges, because a sample of a row must stay what it was.
TABLE |= {
    'graphics': Degradation(graphics.graphics, {'keep': Parameter(0, 0.6, 0, 1)}, task='clean', stage=2, scene=True),
    'dark_scene': Degradation(
        low_light.dark_scene,
        {'power': Parameter(1.0, 3.0, 0.2, 6), 'level': Parameter(0.4, 1.0, 0, 1), 'cast': Parameter(-0.5, 0.8, -1, 1)},
        task='clean',
        stage=4,
        scene=True,
    ),
    'black_and_white': Degradation(low_light.black_and_white, {}, task='clean', stage=6, scene=True),
    'haze_indoor': Degradation(
        haze.haze_indoor,
        {
            'beta': Parameter(0.6, 1.8, 0, 20),
            'airlight': Parameter(0.7, 1.0, 0, 1),
            'breadth': Parameter(0.15, 0.6, 0.01, 10),
            'things': Parameter(2, 10, 0, 100),
        },
        task='dehaze',
        stage=10,
        windowed=True,
    ),
    'rain_streaks': Degradation(
        rain.rain,
        _STREAKS
        | {
            'length': Parameter(18, 70, 1, 400),
            'width': Parameter(1.5, 3.0, 0.5, 30),
            'density': Parameter(0.03, 0.2, 0, 10),
            'brightness': Parameter(0.25, 0.8, 0, 1),
            'blend': Parameter(0, 0.1, 0, 1),
            'veil': Parameter(0, 0.01, 0, 1),
        },
        task='derain',
        stage=12,
    ),
    'rain_dense': Degradation(
        rain.rain,
        _STREAKS
        | {
            'angle': Parameter(-20, 20, -90, 90),
            'length': Parameter(8, 35, 1, 400),
            'width': Parameter(1.2, 2.5, 0.5, 30),
            'density': Parameter(0.15, 1.0, 0, 10),
            'brightness': Parameter(0.1, 0.5, 0, 1),
            'blend': Parameter(0.1, 0.9, 0, 1),
            'veil': Parameter(0, 0.06, 0, 1),
        },
        task='derain',
        stage=12,
    ),
    'shake_blur': Degradation(
        blur.shake_blur,
        {
            'length': Parameter(1, 40, 0.5, 200),
            'bend': Parameter(2.0, 7.0, 0, 20),
            'dwell': Parameter(0.3, 1.1, 0, 3),
            'gamma': Parameter(1.0, 2.2, 1, 3),
        },
        task='deblur',
        stage=32,
        margin=3,
        reach=('length', 0.6),
    ),
    'frame_blur': Degradation(
        blur.frame_blur,
        {
            'shift': Parameter(0.5, 20, 0, 200),
            'turn': Parameter(0, 2, 0, 45),
            'zoom': Parameter(0, 0.04, 0, 0.5),
            'frames': Parameter(7, 13, 1, 100, whole=True),
        },
        task='deblur',
        stage=32,
        margin=6,
        reach=('shift', 0.5),
    ),
    'underexposed': Degradation(
        low_light.underexposed,
        {
            'level': Parameter(0.06, 0.42, 0, 1),
            'power': Parameter(1.2, 2.6, 0.2, 6),
            'red': Parameter(0.8, 1.25, 0, 3),
            'blue': Parameter(0.7, 1.1, 0, 3),
            'black': Parameter(0, 1.0, 0, 50),
            'noise': Parameter(0.3, 1.2, 0, 50),
            'smear': Parameter(0.4, 0.8, 0, 10),
        },
        task='enhance',
        stage=40,
    ),
    'raw_noise': Degradation(
        noise.raw_noise,
        {
            'stops': Parameter(0, 8, 0, 9),
            'camera': Parameter(0, 1, 0, 1),
            'readout': Parameter(0, 1, 0, 1),
            'warmth': Parameter(0, 1, 0, 1),
            'push': Parameter(0, 2.5, 0, 6),
            'shoulder': Parameter(0, 3, 0, 20),
            'smear': Parameter(0.2, 0.9, 0, 10),
            'colour': Parameter(0.2, 1.0, 0, 1),
        },
        task='denoise',
        stage=44,
    ),
}

CDD11_PARAMETERS: dict[str, dict[str, Parameter]] = {
    'low': {'gamma': Parameter(2, 3, 1, 10), 'noise': Parameter(0.03, 0.08, 0, 1)},
    'rain': {
        'rain_angle': Parameter(-12, 12, -90, 90),
        'rain_length': Parameter(25, 90, 1, 400),
        'rain_width': Parameter(1.2, 2.5, 0.5, 30),
        'rain_density': Parameter(2.5, 6, 0, 20),
        'rain_brightness': Parameter(0.05, 0.1, 0, 1),
    },
    'snow': {
        'snow_size': Parameter(1.0, 3.5, 0.3, 50),
        'snow_density': Parameter(0.004, 0.04, 0, 1),
        'snow_opacity': Parameter(0.7, 1.0, 0, 1),
        'snow_trail': Parameter(0, 16, 0, 200),
        'snow_angle': Parameter(-70, 70, -90, 90),
        'snow_drift': Parameter(0, 0.25, 0, 1),
    },
    'haze': {
        'beta': Parameter(1, 2, 0, 20),
        'airlight': Parameter(0.6, 0.9, 0, 1),
        'horizon': Parameter(0.1, 0.6, 0, 1),
        'relief': Parameter(0, 0.25, 0, 1),
    },
}
"""The published ranges (gamma, noise, beta, airlight), and those of the maps that are generated in place of its own."""

for _kind in cdd11.TYPES:
    TABLE[f'cdd11_{_kind}'] = Degradation(
        partial(cdd11.synthesise, kind=_kind),
        {key: row for part in _kind.split('_') for key, row in CDD11_PARAMETERS[part].items()},
        task=_kind,
        stage=10,
        margin=12 if 'haze' in _kind else 0,
        windowed='haze' in _kind,
    )

GROUPS: dict[str, tuple[str, ...]] = {
    'cdd11': tuple(f'cdd11_{kind}' for kind in cdd11.TYPES),
    'cdd11_single': tuple(f'cdd11_{kind}' for kind in cdd11.TYPES if kind.count('_') == 0),
    'cdd11_double': tuple(f'cdd11_{kind}' for kind in cdd11.TYPES if kind.count('_') == 1),
    'cdd11_triple': tuple(f'cdd11_{kind}' for kind in cdd11.TYPES if kind.count('_') == 2),
}
"""Names that stand for several rows, each of them equally often."""

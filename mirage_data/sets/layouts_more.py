"""Layouts of the sets of `mirage_data.sets.rows_more`, and one for any set: folders named after their sides."""

from __future__ import annotations

from mirage_data.sets.layout import OTHERS, OURS, PUBLISHER, Layout, N, both

_RAIN = r'(?:no)?(?:rain-?)?(?P<n>\d+)(?:x2)?'
_NUMBERED = {'lq_name': 'rain-{n}', 'gt_name': 'norain-{n}'}
_SCENE = {'lq_name': '{scene}_{name}', 'gt_name': '{scene}_{name}'}
_RIGHT_AND_LEFT = ('right', 'left')


def _mean_and_real(folder: str) -> tuple[Layout, ...]:
    """Noisy photographs and means of many, told apart by the end of their names or by their folders."""
    real, mean = r'(?P<name>[^/]+)[-_](?:real|noisy)', r'(?P<name>[^/]+)[-_](?:mean|clean|gt)'
    return (
        both(OURS, 'test', f'denoise/{folder}', 'input', 'target'),
        Layout(PUBLISHER, 'test', lq=real, gt=mean),
    )


def _haze(name: str, middle: str) -> tuple[Layout, ...]:
    return (
        both(OURS, 'test', f'dehaze_{name}', 'input', 'target'),
        Layout(PUBLISHER, 'test', lq=rf'(?P<name>\d+){middle}_hazy', gt=rf'(?P<name>\d+){middle}_GT'),
    )


def _low_light(name: str, place: str, folder: str) -> tuple[Layout, ...]:
    low, normal = r'(?:low)?(?P<name>[^/]+)', r'(?:normal)?(?P<name>[^/]+)'
    return (
        both(OURS, 'train', place, 'low', 'gt'),
        both(OURS, 'test', f'enhance/{name}', 'input', 'target'),
        *(
            Layout(
                PUBLISHER,
                split,
                lq=f'{folder}[^/]*/{split}/(?:low|input)/{low}',
                gt=f'{folder}[^/]*/{split}/(?:normal|high|gt|target)/{normal}',
            )
            for split in ('train', 'test')
        ),
    )


MORE_LAYOUTS: dict[str, tuple[Layout, ...]] = {
    'rain100h': (
        both(OURS, 'train', 'Rain100H', 'rainy', 'gt'),
        both(OURS, 'test', 'derain/Rain100H', 'input', 'target'),
        Layout(PUBLISHER, 'train', lq=r'RainTrainH/(?P<name>rain-\d+)', gt=r'RainTrainH/(?P<name>norain-\d+)'),
        both(PUBLISHER, 'train', 'rain(?:_data)?_train_Heavy', 'rain/X2|rain', 'norain', _RAIN, **_NUMBERED),
        both(OTHERS, 'train', 'Rain100H[^/]*/train[^/]*', 'rain|rainy|input', 'norain|gt|target', _RAIN, **_NUMBERED),
        Layout(
            PUBLISHER,
            'test',
            lq=r'Rain100H[^/]*/(?:rainy/)?(?P<name>rain-\d+)',
            gt=r'Rain100H[^/]*/(?:norain/)?(?P<name>norain-\d+)',
            exclude='train',
        ),
        both(PUBLISHER, 'test', 'rain(?:_data)?_test_Heavy', 'rain/X2|rain', 'norain', _RAIN, **_NUMBERED),
        both(
            OTHERS,
            'test',
            'Rain100H[^/]*(?:/test)?',
            'rain|rainy|input',
            'norain|gt|target',
            _RAIN,
            exclude='(?:[^/]+/)*train',
            **_NUMBERED,
        ),
    ),
    'rain800': (
        both(OURS, 'train', 'Rain800', 'rainy', 'gt'),
        both(OURS, 'test', 'derain/Rain800', 'input', 'target'),
        Layout(PUBLISHER, 'train', lq=rf'training/{N}', gt=rf'training/{N}', halves=_RIGHT_AND_LEFT),
        Layout(PUBLISHER, 'test', lq=rf'test_syn/{N}', gt=rf'test_syn/{N}', halves=_RIGHT_AND_LEFT),
    ),
    'sots_indoor': (
        both(OURS, 'test', 'dehaze_indoor', 'input', 'target'),
        both(PUBLISHER, 'test', '(?:SOTS[-_])?indoor(?:/nyuhaze500)?', 'hazy|input', 'gt|clear|target'),
        both(OTHERS, 'test', 'nyuhaze500', 'hazy|input', 'gt|clear|target'),
    ),
    'polyu': _mean_and_real('polyu'),
    'cc15': _mean_and_real('cc15'),
    'nam': _mean_and_real('nam'),
    'sidd': (
        both(OURS, 'train', 'SIDD', 'noisy', 'gt'),
        Layout(
            PUBLISHER,
            'train',
            lq=r'(?P<scene>\d+_[^/]+)/(?:\d+_)?NOISY_SRGB(?P<name>[^/]*)',
            gt=r'(?P<scene>\d+_[^/]+)/(?:\d+_)?GT_SRGB(?P<name>[^/]*)',
            lq_name='{scene}{name}',
            gt_name='{scene}{name}',
        ),
    ),
    'i_haze': _haze('i_haze', '(?:_indoor)?'),
    'o_haze': _haze('o_haze', '(?:_outdoor)?'),
    'nh_haze': _haze('nh_haze', ''),
    'reds': (
        both(OURS, 'train', 'REDS', 'blur', 'sharp'),
        both(OURS, 'test', 'deblur/reds', 'input', 'target'),
        *(
            Layout(
                PUBLISHER,
                split,
                lq=rf'{folder}_blur/(?P<scene>\d+)/{N}',
                gt=rf'{folder}_sharp/(?P<scene>\d+)/{N}',
                **_SCENE,
            )
            for split, folder in (('train', 'train'), ('test', 'val'))
        ),
    ),
    **{
        f'realblur_{kind}': (
            both(OURS, 'train', f'RealBlur_{kind}', 'blur', 'sharp'),
            both(OURS, 'test', f'deblur/realblur_{kind}', 'input', 'target'),
            both(OTHERS, 'train', f'RealBlur[-_]{kind}/train', 'input|blur', 'target|sharp|gt'),
            both(OTHERS, 'test', f'RealBlur[-_]{kind}(?:/test)?', 'input|blur', 'target|sharp|gt'),
        )
        for kind in 'jr'
    },
    'lol_v2_real': _low_light('lol_v2_real', 'LOLv2_real', 'Real'),
    'lol_v2_syn': _low_light('lol_v2_syn', 'LOLv2_syn', 'Syn'),
    'sice': (
        both(OURS, 'train', 'SICE', 'exposures', 'gt'),
        Layout(
            PUBLISHER,
            'train',
            lq=r'(?:Dataset_)?Part_?(?P<part>\d+)/(?P<scene>\d+)/(?P<name>\d+)',
            gt=r'(?:Dataset_)?Part_?(?P<part>\d+)/Label/(?P<scene>\d+)',
            lq_name='{part}-{scene}_{name}',
            gt_name='{part}-{scene}',
        ),
    ),
}

MORE_LEFT_OUT: dict[str, tuple[tuple[str, str], ...]] = {
    'rain100h': ((r'(?:rainstreak|rainregion)[^/]*(?:/[^/]+)?', 'rain alone, not a picture'),),
    'rain800': ((r'test_nature/[^/]+', 'real rain without a clean side'),),
    'sots_indoor': ((r'outdoor/.*', 'outdoor half: mirage-basicsr prepare sots'),),
    'sidd': ((r'.*_RAW_[^/]*', 'raw data'),),
    'reds': ((r'(?:train|val)_(?:blur_comp|blur_jpeg|blur_bicubic|sharp_bicubic)/.*', 'other degradations'),),
}

_LQ = (
    'lq|low|low_?quality|low_?light|dark|input|inputs|rain|rainy|hazy|haze|blur|blurry|blurred|raw|noisy|noise|degraded|'
    'snow|snowy|underwater|under_?exposed'
)
_GT = (
    'gt|hq|high|target|targets|clean|clear|norain|no_?rain|sharp|reference|references|ref|original|ground_?truth|label|'
    'labels|normal|bright'
)


def by_sides(split: str, only_split: bool) -> Layout:
    """Two folders in one place whose names say what they are; the split is named above them, unless there is one only.

    Args:
        split: 'train' or 'test'.
        only_split: whether the set has no other.
    """
    word = 'train' if split == 'train' else 'test|val|eval'
    above = '[^/]*' if only_split else rf'[^/]*(?:{word})[^/]*(?:/[^/]+)?'
    return both('folders named after their sides', split, above, _LQ, _GT, inner=True)

"""How data sets are laid out where people get them: at the publishers', in the authors' copies, in other projects.

A layout is recognised by the ends of paths, upper and lower case alike, so it does not matter at which level of a
download the user points. Patterns are regular expressions of the path without its extension; `{name}` of a target is
what the group `name` matched. `|` in a target's folder is never needed: the folders themselves come from the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES

OURS = "the authors', PromptIR, AdaIR"
PUBLISHER = 'publisher'
OTHERS = 'other projects'
N = r'(?P<name>[^/]+)'


@dataclass(frozen=True)
class Layout:
    """Where one part of a data set lies in a download.

    Attributes:
        origin: Who hands it out like this.
        gt: Pattern of the clean files.
        lq: Pattern of the degraded ones; None for sets without.
        split: 'train' or 'test'.
        degradation: As in the table's part.
        gt_name: Stem of the file in our layout, made of the pattern's groups.
        lq_name: The same for degraded files.
        exclude: Pattern of paths that do not count although they fit.
        halves: Where one picture holds both sides, the half ('left', 'right') that is the degraded and the clean one.
        inner: Whether folders above the source do not count.
    """

    origin: str
    split: str
    gt: str
    lq: str | None = None
    degradation: str = ''
    gt_name: str = '{name}'
    lq_name: str = '{name}'
    exclude: str = ''
    halves: tuple[str, str] | None = None
    inner: bool = False

    def in_words(self) -> str:
        """The patterns for people: `<...>` may be absent, `{...|...}` is a choice, NAME and N are anything."""
        return ' with '.join(_in_words(pattern) for pattern in (self.lq, self.gt) if pattern)


def _in_words(pattern: str) -> str:
    for sign, word in (('[/_]', '/'), ('[-_]', '-'), ('[ _-]', ' '), ('C?', '<C>'), ('-?', '-'), ('_?', '_')):
        pattern = pattern.replace(sign, word)
    found = 1
    while found:  # groups, from the inside out
        pattern, found = re.subn(r'\(\?(P<\w+>|!|:)((?:\[[^\]]*\]|[^()\[\]])*)\)(\??)', _group_in_words, pattern)
    for sign, word in (('[^/]*', '*'), ('[^/]+', '*'), (r'\d+', 'N')):
        pattern = pattern.replace(sign, word)
    return pattern


def _group_in_words(match: re.Match) -> str:
    kind, inner, optional = match.groups()
    if kind == '!':
        return ''
    shown = inner if kind == ':' else kind[2:-1].upper()
    return f'<{shown}>' if optional else f'{{{shown}}}' if '|' in shown else shown


def both(origin: str, split: str, folder: str, lq: str, gt: str, name: str = N, **more: Any) -> Layout:
    """A layout with degraded and clean images in two folders of one parent."""
    return Layout(origin, split, lq=f'{folder}/(?:{lq})/{name}', gt=f'{folder}/(?:{gt})/{name}', **more)


_RAIN = r'(?:no)?(?:rain-?)?(?P<n>\d+)(?:x2)?'
_NUMBERED = {'lq_name': 'rain-{n}', 'gt_name': 'norain-{n}'}
_SCENE: dict[str, Any] = {'lq_name': '{scene}_{name}', 'gt_name': '{scene}_{name}'}
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
        only_split: Whether the set has no other.
    """
    word = 'train' if split == 'train' else 'test|val|eval'
    above = '[^/]*' if only_split else rf'[^/]*(?:{word})[^/]*(?:/[^/]+)?'
    return both('folders named after their sides', split, above, _LQ, _GT, inner=True)


_HAZY = r'(?P<name>\d{4}_[\d.]+_[\d.]+)'
_PART = r'(?:(?P<part>part[ _-]?\d+)/)'

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    'bsd400': (
        Layout(OURS, 'train', r'Train/Denoise/(?P<name>(?!0\d{4}$)[^/]+)'),
        Layout(PUBLISHER, 'train', r'(?:BSDS500|BSDS500/data/images|BSR/images|images)/(?:train|test)/(?P<name>\d+)'),
        Layout(OTHERS, 'train', rf'BSD_?400[^/]*/{N}'),
    ),
    'wed': (
        Layout(OURS, 'train', r'Train/Denoise/(?P<name>0\d{4})'),
        Layout(PUBLISHER, 'train', r'(?P<name>0\d{4})'),
    ),
    'rain100l': (
        both(OURS, 'train', 'Derain', 'rainy', 'gt'),
        Layout(PUBLISHER, 'train', lq=r'RainTrainL/(?P<name>rain-\d+)', gt=r'RainTrainL/(?P<name>norain-\d+)'),
        both(PUBLISHER, 'train', 'rain_data_train_Light', 'rain/X2|rain', 'norain', _RAIN, **_NUMBERED),
        both(OTHERS, 'train', 'Rain100L[^/]*/train[^/]*', 'rain|rainy|input', 'norain|gt|target', _RAIN, **_NUMBERED),
        both(OURS, 'test', 'Rain100L[^/]*(?:/test[^/]*)?', 'input|rainy|rain', 'target|gt|norain'),
        Layout(
            PUBLISHER,
            'test',
            lq=r'Rain100L[^/]*/(?:rainy/)?(?P<name>rain-\d+)',
            gt=r'Rain100L[^/]*/(?:norain/)?(?P<name>norain-\d+)',
        ),
        both(PUBLISHER, 'test', 'rain_data_test_Light', 'rain/X2|rain', 'norain', _RAIN, **_NUMBERED),
    ),
    'ots': (
        Layout(
            OURS,
            'train',
            lq=rf'Dehaze/synthetic/{_PART}?{_HAZY}',
            gt=rf'Dehaze/original/{N}',
            lq_name='{part}/{name}',
        ),
        Layout(
            PUBLISHER,
            'train',
            lq=rf'(?:(?:haze|hazy|OTS[^/]*)/)?{_PART}?(?:part\d+/)?{_HAZY}',
            gt=r'(?:clear|clear_images|original|gt)(?:/clear|/clear_images)?/(?P<name>\d{4})',
            lq_name='{part}/{name}',
            exclude=r'SOTS|dehaze/input',
        ),
    ),
    'sots': (
        both(OURS, 'test', 'dehaze', 'input', 'target'),
        both(PUBLISHER, 'test', '(?:SOTS[-_])?outdoor', 'hazy|input', 'gt|clear|target'),
    ),
    'gopro': (
        both(OURS, 'train', 'Train/Deblur', 'blur', 'sharp'),
        both(PUBLISHER, 'train', 'train/(?P<scene>GOPR[^/]+)', 'blur', 'sharp', **_SCENE),
        both(OTHERS, 'train', '(?:GoPro/train|train/GoPro)', 'input|blur', 'target|sharp'),
        both(OURS, 'test', 'deblur/gopro', 'input', 'target'),
        both(PUBLISHER, 'test', 'test/(?P<scene>GOPR[^/]+)', 'blur', 'sharp', **_SCENE),
        both(OTHERS, 'test', '(?:GoPro/test|test/GoPro)', 'input|blur', 'target|sharp'),
    ),
    'lol': (
        both(OURS, 'train', 'Train/Enhance', 'low', 'gt'),
        both(PUBLISHER, 'train', 'our485', 'low', 'high'),
        both(OTHERS, 'train', 'LOL[^/]*/train', 'low|input', 'high|gt|target', exclude='LOL[^/]*v2'),
        both(OURS, 'test', 'enhance/lol', 'input', 'target'),
        both(PUBLISHER, 'test', 'eval15', 'low', 'high'),
        both(OTHERS, 'test', 'LOL[^/]*/(?:test|val)', 'low|input', 'high|gt|target', exclude='LOL[^/]*v2'),
    ),
    'cdd11': tuple(
        both(PUBLISHER, split, rf'(?:CDD-?11[-_])?{split}(?:/{split})?', kind, 'clear', degradation=kind)
        for split in ('train', 'test')
        for kind in CDD11_TYPES
    ),
    'allweather': (
        both(OURS, 'train', 'all-?weather(?:/train)?', 'input', 'gt'),
        both(OTHERS, 'train', 'train', 'input', 'gt|target'),
    ),
    'snow100k': tuple(
        layout
        for size in 'sl'
        for layout in (
            both(OURS, 'test', f'snow100k_{size}', 'input', 'target', degradation=f'snow100k_{size}'),
            both(PUBLISHER, 'test', f'Snow100K-{size}', 'synthetic', 'gt', degradation=f'snow100k_{size}'),
            both(OTHERS, 'test', f'Snow100K-{size}', 'input', 'gt|target', degradation=f'snow100k_{size}'),
        )
    ),
    'outdoor_rain': (
        both(OURS, 'test', 'outdoor_rain', 'input', 'target'),
        Layout(
            PUBLISHER,
            'test',
            lq=r'(?:input|in|rain|data)/(?P<name>im_\d+_s\d+_a\d+)',
            gt=r'(?:gt|target|norain)/(?P<name>im_\d+(?:_s\d+_a\d+)?)',
            exclude=r'(?:[^/]*train|all-?weather)[^/]*/[^/]+/[^/]+$',
        ),
    ),
    'raindrop': (
        both(OURS, 'test', 'weather/raindrop', 'input', 'target'),
        Layout(PUBLISHER, 'test', lq=r'test_?b/data/(?P<name>\d+_rain)', gt=r'test_?b/gt/(?P<name>\d+_clean)'),
        both(
            OTHERS,
            'test',
            'raindrop[^/]*(?:/test_?b)?',
            'input|data',
            'gt|target',
            exclude=r'(?:test_?a|train[^/]*)/[^/]+/[^/]+$',
        ),
    ),
    'uieb': (
        both(OURS, 'test', 'uieb', 'input', 'target'),
        Layout(PUBLISHER, 'test', lq=rf'raw-?890/(?:raw-?890/)?{N}', gt=rf'reference-?890/(?:reference-?890/)?{N}'),
        both(OTHERS, 'test', '[^/]*uieb[^/]*', 'raw|lq|input', 'reference|ref|gt|target'),
    ),
    **{
        panel: (
            both(OURS, 'test', f'display/{panel}', 'input', 'target'),
            both(PUBLISHER, 'test', f'(?:{panel}[/_]test|test[/_]{panel})', 'lq|input', 'hq|gt|target'),
            both(OTHERS, 'test', panel, 'lq|input', 'hq|gt|target'),
        )
        for panel in ('toled', 'poled')
    },
    'bsd68': (
        Layout(OURS, 'test', rf'denoise/bsd68/{N}'),
        Layout(PUBLISHER, 'test', rf'C?BSD_?68/(?:original(?:_png)?/)?{N}'),
    ),
    'urban100': (
        Layout(OURS, 'test', rf'denoise/urban100/{N}'),
        Layout(PUBLISHER, 'test', r'image_SRF_2/(?P<name>img_\d+)_SRF_2_HR'),
        Layout(OTHERS, 'test', r'Urban100/(?:(?:HR|GT|original|GTmod\d+)/)?(?P<name>img_?\d+)'),
    ),
    'kodak24': (
        Layout(OURS, 'test', rf'denoise/kodak24/{N}'),
        Layout(PUBLISHER, 'test', r'(?P<name>kodim\d\d)'),
    ),
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

# Files of a download that are left out on purpose: a pattern of the path without extension, and why.
LEFT_OUT: dict[str, tuple[tuple[str, str], ...]] = {
    'bsd400': (
        (r'images/val/[^/]+|BSDS500/val/[^/]+', 'validation photographs: CBSD68 is among them'),
        (r'0\d{4}', 'belongs to WED: mirage-basicsr prepare wed'),
        (r'groundTruth/.*', 'drawn contours'),
    ),
    'wed': ((r'Train/Denoise/[^/]+', 'belongs to BSD400: mirage-basicsr prepare bsd400'),),
    'rain100l': ((r'(?:rainstreak|rainregion)[^/]*(?:/[^/]+)?', 'rain alone, not a picture'),),
    'ots': ((r'SOTS.*', 'test pictures: mirage-basicsr prepare sots'), (r'depth/[^/]+', 'depth maps')),
    'sots': ((r'indoor/.*|nyuhaze500/.*', 'indoor half'),),
    'gopro': (
        (r'blur_gamma/[^/]+', 'gamma-corrected copies'),
        (r'(?:input|target|blur|sharp)_crops?/[^/]+', 'cut-up copies; --subimages makes them'),
    ),
    'lol': ((r'(?:Real_captured|Synthetic)[^/]*/.*', 'of LOL-v2'),),
    'snow100k': (
        (r'mask/[^/]+', 'snow masks'),
        (r'Snow100K-M/.*', 'subset M, which the paper does not use'),
        (r'(?:all|train)/.*', 'training pairs, which come with AllWeather here'),
        (r'realistic/.*', 'real snow without a clean side'),
    ),
    'outdoor_rain': ((r'train/.*', 'training pairs, which come with AllWeather here'),),
    'raindrop': (
        (r'test_?a/.*', "test_a: the paper's 249 pairs are test_b"),
        (r'train/.*', 'training pairs, which come with AllWeather here'),
    ),
    'uieb': ((r'challenging-?60/.*', 'pictures without a reference'),),
    'toled': ((r'(?:train|val)[^/]*/.*', 'not of the test split'), (r'poled.*', 'the other panel')),
    'poled': ((r'(?:train|val)[^/]*/.*', 'not of the test split'), (r'toled.*', 'the other panel')),
    'bsd68': ((r'noisy\d+/[^/]+', 'noisy copies: the program adds the noise'),),
    'urban100': ((r'LR[^/]*/.*|[^/]*_LR|image_SRF_4/.*|[^/]*_SRF_2_[A-Za-z]+', 'low-resolution or restored copies'),),
    'rain100h': ((r'(?:rainstreak|rainregion)[^/]*(?:/[^/]+)?', 'rain alone, not a picture'),),
    'rain800': ((r'test_nature/[^/]+', 'real rain without a clean side'),),
    'sots_indoor': ((r'outdoor/.*', 'outdoor half: mirage-basicsr prepare sots'),),
    'sidd': ((r'.*_RAW_[^/]*', 'raw data'),),
    'reds': ((r'(?:train|val)_(?:blur_comp|blur_jpeg|blur_bicubic|sharp_bicubic)/.*', 'other degradations'),),
}

"""How data sets are laid out where people get them: at the publishers', in the authors' copies, in other projects.

A layout is recognised by the ends of paths, upper and lower case alike, so it does not matter at which level of a
download the user points. Patterns are regular expressions of the path without its extension; `{name}` of a target is
what the group `name` matched. `|` in a target's folder is never needed: the folders themselves come from the table.
"""

from __future__ import annotations

from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES
from mirage_data.sets.layout import OTHERS, OURS, PUBLISHER, Layout, N
from mirage_data.sets.layout import both as _both
from mirage_data.sets.layouts_more import MORE_LAYOUTS, MORE_LEFT_OUT

_HAZY = r'(?P<name>\d{4}_[\d.]+_[\d.]+)'
_PART = r'(?:(?P<part>part[ _-]?\d+)/)'
_RAIN = r'(?:no)?(?:rain-?)?(?P<n>\d+)(?:x2)?'
_NUMBERED = {'lq_name': 'rain-{n}', 'gt_name': 'norain-{n}'}
_SCENE = {'lq_name': '{scene}_{name}', 'gt_name': '{scene}_{name}'}

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
        _both(OURS, 'train', 'Derain', 'rainy', 'gt'),
        Layout(PUBLISHER, 'train', lq=r'RainTrainL/(?P<name>rain-\d+)', gt=r'RainTrainL/(?P<name>norain-\d+)'),
        _both(PUBLISHER, 'train', 'rain_data_train_Light', 'rain/X2|rain', 'norain', _RAIN, **_NUMBERED),
        _both(OTHERS, 'train', 'Rain100L[^/]*/train[^/]*', 'rain|rainy|input', 'norain|gt|target', _RAIN, **_NUMBERED),
        _both(OURS, 'test', 'Rain100L[^/]*(?:/test[^/]*)?', 'input|rainy|rain', 'target|gt|norain'),
        Layout(
            PUBLISHER,
            'test',
            lq=r'Rain100L[^/]*/(?:rainy/)?(?P<name>rain-\d+)',
            gt=r'Rain100L[^/]*/(?:norain/)?(?P<name>norain-\d+)',
        ),
        _both(PUBLISHER, 'test', 'rain_data_test_Light', 'rain/X2|rain', 'norain', _RAIN, **_NUMBERED),
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
        _both(OURS, 'test', 'dehaze', 'input', 'target'),
        _both(PUBLISHER, 'test', '(?:SOTS[-_])?outdoor', 'hazy|input', 'gt|clear|target'),
    ),
    'gopro': (
        _both(OURS, 'train', 'Train/Deblur', 'blur', 'sharp'),
        _both(PUBLISHER, 'train', 'train/(?P<scene>GOPR[^/]+)', 'blur', 'sharp', **_SCENE),
        _both(OTHERS, 'train', '(?:GoPro/train|train/GoPro)', 'input|blur', 'target|sharp'),
        _both(OURS, 'test', 'deblur/gopro', 'input', 'target'),
        _both(PUBLISHER, 'test', 'test/(?P<scene>GOPR[^/]+)', 'blur', 'sharp', **_SCENE),
        _both(OTHERS, 'test', '(?:GoPro/test|test/GoPro)', 'input|blur', 'target|sharp'),
    ),
    'lol': (
        _both(OURS, 'train', 'Train/Enhance', 'low', 'gt'),
        _both(PUBLISHER, 'train', 'our485', 'low', 'high'),
        _both(OTHERS, 'train', 'LOL[^/]*/train', 'low|input', 'high|gt|target', exclude='LOL[^/]*v2'),
        _both(OURS, 'test', 'enhance/lol', 'input', 'target'),
        _both(PUBLISHER, 'test', 'eval15', 'low', 'high'),
        _both(OTHERS, 'test', 'LOL[^/]*/(?:test|val)', 'low|input', 'high|gt|target', exclude='LOL[^/]*v2'),
    ),
    'cdd11': tuple(
        _both(PUBLISHER, split, rf'(?:CDD-?11[-_])?{split}(?:/{split})?', kind, 'clear', degradation=kind)
        for split in ('train', 'test')
        for kind in CDD11_TYPES
    ),
    'allweather': (
        _both(OURS, 'train', 'all-?weather(?:/train)?', 'input', 'gt'),
        _both(OTHERS, 'train', 'train', 'input', 'gt|target'),
    ),
    'snow100k': tuple(
        layout
        for size in 'sl'
        for layout in (
            _both(OURS, 'test', f'snow100k_{size}', 'input', 'target', degradation=f'snow100k_{size}'),
            _both(PUBLISHER, 'test', f'Snow100K-{size}', 'synthetic', 'gt', degradation=f'snow100k_{size}'),
            _both(OTHERS, 'test', f'Snow100K-{size}', 'input', 'gt|target', degradation=f'snow100k_{size}'),
        )
    ),
    'outdoor_rain': (
        _both(OURS, 'test', 'outdoor_rain', 'input', 'target'),
        Layout(
            PUBLISHER,
            'test',
            lq=r'(?:input|in|rain|data)/(?P<name>im_\d+_s\d+_a\d+)',
            gt=r'(?:gt|target|norain)/(?P<name>im_\d+(?:_s\d+_a\d+)?)',
            exclude=r'(?:[^/]*train|all-?weather)[^/]*/[^/]+/[^/]+$',
        ),
    ),
    'raindrop': (
        _both(OURS, 'test', 'weather/raindrop', 'input', 'target'),
        Layout(PUBLISHER, 'test', lq=r'test_?b/data/(?P<name>\d+_rain)', gt=r'test_?b/gt/(?P<name>\d+_clean)'),
        _both(
            OTHERS,
            'test',
            'raindrop[^/]*(?:/test_?b)?',
            'input|data',
            'gt|target',
            exclude=r'(?:test_?a|train[^/]*)/[^/]+/[^/]+$',
        ),
    ),
    'uieb': (
        _both(OURS, 'test', 'uieb', 'input', 'target'),
        Layout(PUBLISHER, 'test', lq=rf'raw-?890/(?:raw-?890/)?{N}', gt=rf'reference-?890/(?:reference-?890/)?{N}'),
        _both(OTHERS, 'test', '[^/]*uieb[^/]*', 'raw|lq|input', 'reference|ref|gt|target'),
    ),
    **{
        panel: (
            _both(OURS, 'test', f'display/{panel}', 'input', 'target'),
            _both(PUBLISHER, 'test', f'(?:{panel}[/_]test|test[/_]{panel})', 'lq|input', 'hq|gt|target'),
            _both(OTHERS, 'test', panel, 'lq|input', 'hq|gt|target'),
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
    **MORE_LAYOUTS,
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
    **MORE_LEFT_OUT,
}

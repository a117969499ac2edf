"""Rows of the data set table for sets that the paper does not use and people have; see `mirage_data.sets.rows`."""

from __future__ import annotations

from mirage_data.sets.table import DataSet, Part

_PKU = 'https://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html'
_XU = 'https://github.com/csjunxu/PolyU-Real-World-Noisy-Images-Dataset'
_NTIRE = 'research use'


def _test(place: str, count: int, content: str, pairing: str = 'same_name', gt_count: int = 0) -> Part:
    lq, gt = f'test/{place}/input', f'test/{place}/target'
    return Part('test', gt=gt, gt_count=gt_count or count, lq=lq, lq_count=count, pairing=pairing, content=content)


def _train(
    place: str, lq: str, count: int, content: str, pairing: str = 'same_name', gt: str = 'gt', gt_count: int = 0
) -> Part:
    lq, gt = f'Train/{place}/{lq}', f'Train/{place}/{gt}'
    return Part('train', gt=gt, gt_count=gt_count or count, lq=lq, lq_count=count, pairing=pairing, content=content)


_SAME = 'the same name on both sides'
_RAIN = 'rain-N.png with norain-N.png'

MORE_DATA_SETS = (
    DataSet(
        'rain100h',
        'Rain100H',
        'derain',
        (_train('Rain100H', 'rainy', 1800, _RAIN, 'rain100l'), _test('derain/Rain100H', 100, _RAIN, 'rain100l')),
        (_PKU,),
        'research use; clean sides from BSDS500',
        'Yang et al., Deep joint rain detection and removal from a single image, CVPR 2017',
        'Its clean sides are those of Rain100L: some training pairs are known to show its test photographs; '
        '`mirage-basicsr check-data` finds them.',
    ),
    DataSet(
        'rain800',
        'Rain800',
        'derain',
        (_train('Rain800', 'rainy', 700, _SAME), _test('derain/Rain800', 100, _SAME)),
        ('https://github.com/hezhangsprinter/ID-CGAN',),
        'research use',
        'Zhang et al., Image de-raining using a conditional generative adversarial network, TCSVT 2020',
        'Published as one JPEG for a pair, the clean picture on the left: prepare cuts it into two PNGs.',
    ),
    DataSet(
        'sots_indoor',
        'RESIDE SOTS indoor',
        'dehaze',
        (_test('dehaze_indoor', 500, 'input/ID_K.png with target/ID.png', 'sots', 50),),
        ('https://sites.google.com/view/reside-dehaze-datasets/reside-standard',),
        'academic use',
        'Li et al., Benchmarking single-image dehazing and beyond, TIP 2019',
    ),
    DataSet(
        'polyu',
        'PolyU',
        'denoise',
        (_test('denoise/polyu', 100, _SAME),),
        (_XU,),
        'research use',
        'Xu et al., Real-world noisy image denoising: a new benchmark, 2018',
        'The 100 crops of 512x512 (CroppedImages); NAME_real and NAME_mean become NAME on both sides.',
    ),
    DataSet(
        'cc15',
        'CC15',
        'denoise',
        (_test('denoise/cc15', 15, _SAME),),
        (_XU,),
        'research use',
        'Nam et al., A holistic approach to cross-channel image noise modeling, CVPR 2016',
        'The 15 crops of 512x512 of Nam; NAME_real and NAME_mean become NAME on both sides.',
    ),
    DataSet(
        'nam',
        'Nam',
        'denoise',
        (_test('denoise/nam', 11, _SAME),),
        ('https://snam.ml/research/ccnoise',),
        'research use',
        'Nam et al., A holistic approach to cross-channel image noise modeling, CVPR 2016',
        'Eleven scenes; copies in circulation are cut into crops, whose number then differs.',
    ),
    DataSet(
        'sidd',
        'SIDD-Medium',
        'denoise',
        (_train('SIDD', 'noisy', 320, 'SCENE_NUMBER.png on both sides'),),
        ('https://abdokamel.github.io/sidd/',),
        'MIT licence of the publisher',
        'Abdelhamed et al., A high-quality denoising dataset for smartphone cameras, CVPR 2018',
        'The sRGB half; its benchmark comes as MATLAB blocks and is not prepared here.',
    ),
    *(
        DataSet(
            name,
            title,
            'dehaze',
            (_test(f'dehaze_{name}', count, _SAME),),
            (page,),
            _NTIRE,
            paper,
        )
        for name, title, count, page, paper in (
            (
                'i_haze',
                'I-HAZE',
                35,
                'https://data.vision.ee.ethz.ch/cvl/ntire18/i-haze/',
                'Ancuti et al., I-HAZE: a dehazing benchmark with real hazy and haze-free indoor images, ACIVS 2018',
            ),
            (
                'o_haze',
                'O-HAZE',
                45,
                'https://data.vision.ee.ethz.ch/cvl/ntire18/o-haze/',
                'Ancuti et al., O-HAZE: a dehazing benchmark with real hazy and haze-free outdoor images, CVPRW 2018',
            ),
            (
                'nh_haze',
                'NH-HAZE',
                55,
                'https://data.vision.ee.ethz.ch/cvl/ntire20/nh-haze/',
                'Ancuti et al., NH-HAZE: an image dehazing benchmark with non-homogeneous hazy images, CVPRW 2020',
            ),
        )
    ),
    DataSet(
        'reds',
        'REDS',
        'deblur',
        (
            _train('REDS', 'blur', 24000, 'scene_frame.png on both sides', gt='sharp'),
            _test('deblur/reds', 3000, 'scene_frame.png on both sides'),
        ),
        ('https://seungjunnah.github.io/Datasets/reds',),
        'CC BY 4.0',
        'Nah et al., NTIRE 2019 challenge on video deblurring and super-resolution, CVPRW 2019',
        'The validation sequences serve as the test; the challenge keeps its own test set back.',
    ),
    *(
        DataSet(
            f'realblur_{kind}',
            f'RealBlur-{kind.upper()}',
            'deblur',
            (
                _train(f'RealBlur_{kind.upper()}', 'blur', 3758, _SAME, gt='sharp'),
                _test(f'deblur/realblur_{kind}', 980, _SAME),
            ),
            ('http://cg.postech.ac.kr/research/realblur/',),
            'research use',
            'Rim et al., Real-world blur dataset for learning and benchmarking deblurring algorithms, ECCV 2020',
            'In the split folders of MPRNet and Restormer (train and test, input and target); the archive of the '
            'publisher is divided by lists: sort it first.',
        )
        for kind in 'jr'
    ),
    *(
        DataSet(
            name,
            title,
            'enhance',
            (_train(place, 'low', count, _SAME), _test(f'enhance/{name}', 100, _SAME)),
            ('https://github.com/flyywh/CVPR-2020-Semi-Low-Light',),
            'research use',
            'Yang et al., Sparse gradient regularized deep Retinex network for robust low-light enhancement, TIP 2021',
        )
        for name, title, place, count in (
            ('lol_v2_real', 'LOL-v2 real', 'LOLv2_real', 689),
            ('lol_v2_syn', 'LOL-v2 synthetic', 'LOLv2_syn', 900),
        )
    ),
    DataSet(
        'sice',
        'SICE',
        'enhance',
        (_train('SICE', 'exposures', 4413, 'PART-SCENE_K.jpg with PART-SCENE.jpg', 'ots', gt_count=589),),
        ('https://github.com/csjianrui/SICE',),
        'research use',
        'Cai et al., Learning a deep single image contrast enhancer from multi-exposure images, TIP 2018',
        'Every exposure of a scene is a degraded side of its label.',
    ),
)

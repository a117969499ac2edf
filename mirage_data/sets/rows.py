"""The rows of the data set table; `mirage_data.sets.table` explains the columns.

Counts are those of the publishers and of the paper (its appendix A.1); where the two differ the note says so.
"""

from __future__ import annotations

from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES
from mirage_data.sets.rows_more import MORE_DATA_SETS
from mirage_data.sets.table import DataSet, Part

_WEB = 'photographs of others collected from the web or from earlier sets; research use'


def _cdd11_part(split: str, degradation: str, count: int) -> Part:
    return Part(
        split,
        gt=f'CDD-11/{split}/clear',
        gt_count=count,
        lq=f'CDD-11/{split}/{degradation}',
        lq_count=count,
        content='the same name in clear and in each degradation, e.g. 00001.png',
        degradation=degradation,
    )


DATA_SETS = (
    DataSet(
        'bsd400',
        'BSD400',
        'denoise',
        (
            Part(
                'train',
                gt='Train/Denoise',
                gt_count=400,
                content='the training and test photographs of BSDS500, e.g. 100075.jpg',
                gt_names=r'(?!0\d{4}$).*',
            ),
        ),
        (
            'https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html',
            'https://drive.google.com/file/d/1idKFDkAHJGAFDn1OyXZxsTbOSBx9GS8N/view (as PromptIR and AdaIR use it)',
        ),
        'Berkeley: non-commercial research and education',
        'Arbelaez et al., Contour detection and hierarchical image segmentation, TPAMI 2011',
        'Shares its folder with WED. 67 of the 400 are clean sides of Rain100L test images: published figures were '
        'made so; `mirage-basicsr check-data` shows them and writes a list of the others. CBSD68 comes from the 100 '
        'validation photographs of BSDS500, which are left out.',
    ),
    DataSet(
        'wed',
        'WED (Waterloo Exploration Database)',
        'denoise',
        (
            Part(
                'train',
                gt='Train/Denoise',
                gt_count=4744,
                content='pristine photographs 00001.bmp to 04744.bmp',
                gt_names=r'0\d{4}',
            ),
        ),
        (
            'https://kedema.org/project/exploration/index.html',
            'https://drive.google.com/file/d/1e62XGdi5c6IbvkZ70LFq0KLRhFvih7US/view (as AdaIR uses it)',
        ),
        'University of Waterloo: free for research with citation; ' + _WEB,
        'Ma et al., Waterloo Exploration Database, TIP 2017',
    ),
    DataSet(
        'rain100l',
        'Rain100L',
        'derain',
        (
            Part(
                'train',
                gt='Train/Derain/gt',
                gt_count=200,
                lq='Train/Derain/rainy',
                lq_count=200,
                pairing='rain100l',
                content='rainy/rain-N.png with gt/norain-N.png',
            ),
            Part(
                'test',
                gt='test/derain/Rain100L/target',
                gt_count=100,
                lq='test/derain/Rain100L/input',
                lq_count=100,
                pairing='rain100l',
                content='input/rain-N.png with target/norain-N.png, or N.png or rain-N.png on both sides',
            ),
        ),
        (
            'https://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html',
            'https://drive.google.com/drive/folders/1-_Tw-LHJF4vh8fpogKgZx1EQ9MhsJI_f (training and test, as PromptIR)',
        ),
        'research use; clean sides from BSDS500',
        'Yang et al., Deep joint rain detection and removal from a single image, CVPR 2017',
        'The publisher hands out a second pair of each kind (rainstreak images); they are not used.',
    ),
    DataSet(
        'ots',
        'RESIDE-beta OTS',
        'dehaze',
        (
            Part(
                'train',
                gt='Train/Dehaze/original',
                gt_count=2061,
                lq='Train/Dehaze/synthetic',
                lq_count=72135,
                pairing='ots',
                content='synthetic/partK/ID_A_BETA.jpg with original/ID.jpg',
                recursive=True,
            ),
        ),
        ('https://sites.google.com/view/reside-dehaze-datasets/reside-%CE%B2',),
        'academic use; ' + _WEB,
        'Li et al., Benchmarking single-image dehazing and beyond, TIP 2019',
        'Four parts, each an archive; give the folder that has them all, or prepare them one after the other.',
    ),
    DataSet(
        'sots',
        'RESIDE SOTS outdoor',
        'dehaze',
        (
            Part(
                'test',
                gt='test/dehaze/target',
                gt_count=492,
                lq='test/dehaze/input',
                lq_count=500,
                pairing='sots',
                content='input/ID_A_BETA.jpg with target/ID.png; a few clean images serve two hazy ones',
            ),
        ),
        ('https://sites.google.com/view/reside-dehaze-datasets/reside-standard',),
        'academic use; ' + _WEB,
        'Li et al., Benchmarking single-image dehazing and beyond, TIP 2019',
        'Only the outdoor half; indoor images are left out.',
    ),
    DataSet(
        'gopro',
        'GoPro',
        'deblur',
        (
            Part(
                'train',
                gt='Train/Deblur/sharp',
                gt_count=2103,
                lq='Train/Deblur/blur',
                lq_count=2103,
                content='the same name in blur and sharp, e.g. GOPR0372_07_00_000047.png',
            ),
            Part(
                'test',
                gt='test/deblur/gopro/target',
                gt_count=1111,
                lq='test/deblur/gopro/input',
                lq_count=1111,
                content='the same name in input and target, e.g. GOPR0384_11_00_000001.png',
            ),
        ),
        (
            'https://seungjunnah.github.io/Datasets/gopro (GOPRO_Large.zip)',
            'https://drive.google.com/file/d/1y_wQ5G5B65HS_mdIjxKYTcnRys_AGh5v/view (as AdaIR uses it)',
        ),
        'CC BY 4.0',
        'Nah et al., Deep multi-scale convolutional neural network for dynamic scene deblurring, CVPR 2017',
        'The gamma-corrected copies (blur_gamma) of the original are left out; scene names go in front of frame names.',
    ),
    DataSet(
        'lol',
        'LOL-v1',
        'enhance',
        (
            Part(
                'train',
                gt='Train/Enhance/gt',
                gt_count=485,
                lq='Train/Enhance/low',
                lq_count=485,
                content='the same name in low and gt, e.g. 2.png',
            ),
            Part(
                'test',
                gt='test/enhance/lol/target',
                gt_count=15,
                lq='test/enhance/lol/input',
                lq_count=15,
                content='the same name in input and target, e.g. 1.png',
            ),
        ),
        ('https://daooshee.github.io/BMVC2018website/',),
        'research use',
        'Wei et al., Deep Retinex decomposition for low-light enhancement, BMVC 2018',
        'The set of 500 real pairs (our485 and eval15), not the synthetic ones and not LOL-v2.',
    ),
    DataSet(
        'cdd11',
        'CDD11',
        'composite',
        tuple(
            _cdd11_part(split, degradation, count)
            for split, count in (('train', 1183), ('test', 200))
            for degradation in CDD11_TYPES
        ),
        ('https://github.com/gy65896/OneRestore (CDD-11_train, CDD-11_test)',),
        'as the OneRestore repository says (research); clean sides from RAISE',
        'Guo et al., OneRestore: a universal restoration framework for composite degradation, ECCV 2024',
    ),
    DataSet(
        'allweather',
        'AllWeather',
        'weather',
        (
            Part(
                'train',
                gt='Train/AllWeather/gt',
                gt_count=18069,
                lq='Train/AllWeather/input',
                lq_count=18069,
                content='the same name in input and gt, listed in allweather.txt',
            ),
        ),
        ('https://github.com/jeya-maria-jose/TransWeather (train data and text files)',),
        'research use; made of Snow100K, RainDrop and Outdoor-Rain',
        'Valanarasu et al., TransWeather, CVPR 2022',
        'Copies exist in which test images of its three sources leak into training: run `mirage-basicsr check-data`.',
    ),
    DataSet(
        'snow100k',
        'Snow100K',
        'desnow',
        tuple(
            Part(
                'test',
                gt=f'test/weather/snow100k_{size}/target',
                gt_count=count,
                lq=f'test/weather/snow100k_{size}/input',
                lq_count=count,
                content='the same name in input and target, e.g. beautiful_smile_00003.jpg',
                degradation=f'snow100k_{size}',
            )
            for size, count in (('s', 16611), ('l', 16801))
        ),
        ('https://sites.google.com/view/yunfuliu/desnownet',),
        'research use; ' + _WEB,
        'Liu et al., DesnowNet, TIP 2018',
        'Its subset M and its 50,000 training pairs are not used here: training snow comes with AllWeather.',
    ),
    DataSet(
        'outdoor_rain',
        'Outdoor-Rain (Test1)',
        'derain',
        (
            Part(
                'test',
                gt='test/weather/outdoor_rain/target',
                gt_count=50,
                lq='test/weather/outdoor_rain/input',
                lq_count=750,
                pairing='outdoor_rain',
                content='input/im_ID_sSTRENGTH_aLIGHT.png with target/im_ID.png, fifteen to one',
            ),
        ),
        ('https://github.com/liruoteng/HeavyRainRemoval',),
        'research use',
        'Li et al., Heavy rain image restoration, CVPR 2019',
        'Copies with one clean file per rainy one (750 of the same name) are accepted.',
    ),
    DataSet(
        'raindrop',
        'RainDrop (test b)',
        'raindrop',
        (
            Part(
                'test',
                gt='test/weather/raindrop/target',
                gt_count=249,
                lq='test/weather/raindrop/input',
                lq_count=249,
                pairing='raindrop',
                content='input/N_rain.jpg with target/N_clean.jpg',
            ),
        ),
        ('https://github.com/rui1996/DeRaindrop',),
        'research use',
        'Qian et al., Attentive generative adversarial network for raindrop removal, CVPR 2018',
        "The paper's count of 249 is the publisher's test_b; test_a has 58. Training drops come with AllWeather.",
    ),
    DataSet(
        'uieb',
        'UIEB',
        'underwater',
        (
            Part(
                'test',
                gt='test/underwater/uieb/target',
                gt_count=890,
                lq='test/underwater/uieb/input',
                lq_count=890,
                content='the same name in input (raw-890) and target (reference-890)',
            ),
        ),
        ('https://li-chongyi.github.io/proj_benchmark.html',),
        'academic, non-commercial use',
        'Li et al., An underwater image enhancement benchmark dataset and beyond, TIP 2020',
        'The 60 challenging images without reference are left out.',
    ),
    *(
        DataSet(
            panel.lower(),
            panel,
            'display',
            (
                Part(
                    'test',
                    gt=f'test/display/{panel.lower()}/target',
                    gt_count=30,
                    lq=f'test/display/{panel.lower()}/input',
                    lq_count=30,
                    content='the same name in input (LQ) and target (HQ), e.g. 1.png',
                ),
            ),
            ('https://yzhouas.github.io/projects/UDC/udc.html',),
            'academic use',
            'Zhou et al., Image restoration for under-display camera, CVPR 2021',
            'The test split of the challenge data; its 240 training and 30 validation pairs are left out.',
        )
        for panel in ('TOLED', 'POLED')
    ),
    DataSet(
        'bsd68',
        'CBSD68 (colour BSD68)',
        'denoise',
        (Part('test', gt='test/denoise/bsd68', gt_count=68, content='in colour, e.g. 101085.jpg or 0001.png'),),
        (
            'https://github.com/clausmichele/CBSD68-dataset',
            'https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/',
        ),
        'Berkeley: non-commercial research and education',
        'Martin et al., A database of human segmented natural images, ICCV 2001',
        'The colour version: grey copies of BSD68 give other figures; `mirage-basicsr check-data` reports them.',
    ),
    DataSet(
        'urban100',
        'Urban100',
        'denoise',
        (Part('test', gt='test/denoise/urban100', gt_count=100, content='img_001.png to img_100.png'),),
        (
            'https://github.com/jbhuang0604/SelfExSR',
            'https://drive.google.com/drive/folders/1B3DJGQKB6eNdwuQIhdskA64qUuVKLZ9u (as PromptIR uses it)',
        ),
        'photographs from Flickr under Creative Commons; research use',
        'Huang et al., Single image super-resolution from transformed self-exemplars, CVPR 2015',
    ),
    DataSet(
        'kodak24',
        'Kodak24',
        'denoise',
        (Part('test', gt='test/denoise/kodak24', gt_count=24, content='kodim01.png to kodim24.png'),),
        ('https://r0k.us/graphics/kodak/',),
        'released by Kodak for unrestricted use',
        'Franzen, Kodak lossless true color image suite, 1999',
    ),
    *MORE_DATA_SETS,
)

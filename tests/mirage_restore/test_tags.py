"""What photographs hold beside pixels: the same bytes come back, and another program (exiftool) reads the same."""

import json
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest
from made_files import RGB, RGB16, png_chunk
from PIL import Image, ImageCms, ImageOps

from mirage_restore import exif
from mirage_restore.files import Options, restore_files
from mirage_restore.photo import Photo, read_photo
from mirage_restore.photo_write import write_photo

QUIET = Options(progress=False)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'tiff:Orientation="6" dc:format="Zürich"/></rdf:RDF></x:xmpmeta>'
).encode()
IPTC = b'\x1c\x02\x78\x00\x0cA caption \xe4.' + b'\x1c\x02\x5a\x00\x04Wien'
EXIFTOOL = pytest.mark.skipif(shutil.which('exiftool') is None, reason='exiftool is another program')


def exif_block(order='<', orientation=6, thumbnail=b'\xff\xd8thumbnail\xff\xd9'):
    """A block as a camera writes it: text that is not ASCII, a maker's note, GPS, a thumbnail."""

    def table(start, entries, following):
        body, values = struct.pack(order + 'H', len(entries)), b''
        after = start + 2 + 12 * len(entries) + 4
        for tag, kind, count, value in entries:
            if len(value) > 4:
                place = after + len(values)
                values += value + b'\0' * (len(value) % 2)
                value = struct.pack(order + 'I', place)
            body += struct.pack(order + 'HHI', tag, kind, count) + value.ljust(4, b'\0')
        return body + struct.pack(order + 'I', following) + values

    short = lambda v: struct.pack(order + 'H', v)  # noqa: E731
    long = lambda v: struct.pack(order + 'I', v)  # noqa: E731
    artist = 'Zoë © 2020'.encode() + b'\0'
    place = {}
    for _ in range(2):  # the places are known after the first round
        first = table(
            8,
            [
                (0x010F, 2, 6, b'Maker\0'),
                (0x0112, 3, 1, short(orientation)),
                (0x011A, 5, 1, struct.pack(order + 'II', 300, 1)),
                (0x011B, 5, 1, struct.pack(order + 'II', 300, 1)),
                (0x0128, 3, 1, short(2)),
                (0x013B, 2, len(artist), artist),
                (0x8769, 4, 1, long(place.get('exif', 0))),
                (0x8825, 4, 1, long(place.get('gps', 0))),
            ],
            place.get('second', 0),
        )
        place['exif'] = 8 + len(first)
        details = table(
            place['exif'],
            [
                (0x829A, 5, 1, struct.pack(order + 'II', 1, 125)),
                (0x927C, 7, 9, b'secret\0\1\2'),
                (0xA002, 4, 1, long(RGB.shape[1])),
                (0xA003, 3, 1, short(RGB.shape[0])),
            ],
            0,
        )
        place['gps'] = place['exif'] + len(details)
        gps = table(
            place['gps'],
            [
                (0, 1, 4, bytes([2, 3, 0, 0])),
                (1, 2, 2, b'N\0'),
                (2, 5, 3, struct.pack(order + '6I', 48, 1, 12, 1, 30, 1)),
            ],
            0,
        )
        place['second'] = place['gps'] + len(gps)
        at = place['second'] + 2 + 2 * 12 + 4
        second = table(place['second'], [(0x0201, 4, 1, long(at)), (0x0202, 4, 1, long(len(thumbnail)))], 0)
    return (b'II*\0' if order == '<' else b'MM\0*') + long(8) + first + details + gps + second + thumbnail


def photo(pixels=RGB, **more):
    return Photo(pixels, ICC, exif_block(orientation=1), XMP.replace(b'"6"', b'"1"'), IPTC, (300.0, 200.0), **more)


def source_jpeg(path, order='<'):
    from mirage_restore.containers import photoshop_segment

    Image.fromarray(RGB).save(
        path,
        quality=95,
        exif=b'Exif\0\0' + exif_block(order),
        icc_profile=ICC,
        xmp=XMP,
        extra=photoshop_segment(IPTC),
        dpi=(300, 300),
    )


def exiftool(path):
    command = ['exiftool', '-j', '-n', '-G1', '-a', '-charset', 'iptc=latin', str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    return json.loads(done.stdout)[0]


@pytest.mark.parametrize('order', '<>')
def test_an_exif_block_changes_by_orientation_size_and_thumbnail_only(order):
    block = exif_block(order)
    patched = exif.upright(block, 480, 640)
    assert len(patched) == len(block)
    assert exif.orientation_of(block) == 6 and exif.orientation_of(patched) == 1
    assert b'thumbnail' not in patched
    different = [i for i, (a, b) in enumerate(zip(block, patched)) if a != b]
    thumbnail = block.index(b'\xff\xd8thumbnail')
    assert len([i for i in different if i < thumbnail]) <= 1 + 2 + 2 + 4  # orientation, two sizes, the link


@pytest.mark.parametrize('order', '<>')
def test_jpeg_to_jpeg_keeps_every_block(order, tmp_path):
    source_jpeg(tmp_path / 'a.jpg', order)
    restore_files(lambda pixels: pixels, [tmp_path / 'a.jpg'], tmp_path / 'out', QUIET)
    with Image.open(tmp_path / 'out' / 'a.jpg') as image:
        assert image.size == RGB.shape[:2]  # turned
        assert image.info['exif'] == b'Exif\0\0' + exif.upright(exif_block(order), *image.size)
        assert image.info['icc_profile'] == ICC
        assert image.info['xmp'] == XMP.replace(b'"6"', b'"1"')
        assert image.info['dpi'] == (300, 300)
    result = read_photo(tmp_path / 'out' / 'a.jpg')
    assert result.iptc == IPTC
    expected = ImageOps.exif_transpose(Image.open(tmp_path / 'a.jpg'))
    assert np.abs(result.pixels.astype(int) - np.array(expected)).mean() < 2


HOLDS = {
    'jpg': 'icc exif xmp iptc dpi',
    'png': 'icc exif xmp iptc dpi',
    'tif': 'icc exif xmp iptc dpi',
    'webp': 'icc exif xmp',
    'avif': 'icc exif xmp',
    'heic': 'icc exif xmp',
    'bmp': 'dpi',
    'ppm': '',
    'tga': '',
    'gif': '',
}


@pytest.mark.parametrize('pixels', [RGB, RGB16], ids=['8', '16'])
@pytest.mark.parametrize('ending', HOLDS)
def test_what_a_format_holds_comes_back_and_the_rest_is_named(ending, pixels, tmp_path):
    if ending == 'heic':
        pytest.importorskip('pillow_heif')
    given = photo(pixels)
    dropped = write_photo(given, tmp_path / f'a.{ending}')
    again = read_photo(tmp_path / f'a.{ending}')
    held = HOLDS[ending].split()
    words = {'icc': 'colour profile', 'exif': 'EXIF', 'xmp': 'XMP', 'iptc': 'IPTC', 'dpi': 'resolution'}
    for key, word in words.items():
        carried_by_exif = key == 'dpi' and 'exif' in held
        assert (word in dropped) == (key not in held and not carried_by_exif), (key, dropped)
    assert again.icc_profile == (ICC if 'icc' in held else None)
    assert again.xmp == (given.xmp if 'xmp' in held else None)
    assert again.iptc == (IPTC if 'iptc' in held else None)
    if 'dpi' in held:
        assert again.dpi == pytest.approx((300, 200), abs=0.02)
    if 'exif' in held:
        here, there = exif._first_directory(again.exif), exif._first_directory(given.exif)
        described = {e.tag for e in there} - {0x0112}
        assert described <= {e.tag for e in here}
        for tag in (0x010F, 0x013B):
            assert next(e.value for e in here if e.tag == tag) == next(e.value for e in there if e.tag == tag)
        below = {b.tag: b.value for e in here for b in e.below}
        assert below[0x829A] == next(b.value for e in there for b in e.below if b.tag == 0x829A)
    elif again.exif is not None:
        raise AssertionError('EXIF where none is held')


@pytest.mark.parametrize('way', ['jpg png jpg', 'jpg tif jpg', 'jpg tif png', 'png tif png', 'tif png tif'])
def test_nothing_is_lost_on_the_way_through_formats_that_hold_it(way, tmp_path):
    given = photo()
    for number, ending in enumerate(way.split()):
        path = tmp_path / f'{number}.{ending}'
        write_photo(given, path)
        given = read_photo(path)
    assert (given.icc_profile, given.xmp, given.iptc) == (ICC, photo().xmp, IPTC)
    assert b'Zo\xc3\xab \xc2\xa9 2020' in given.exif and b'secret' in given.exif


@EXIFTOOL
@pytest.mark.parametrize('ending', ['jpg', 'png', 'tif', 'webp', 'avif', 'heic'])
@pytest.mark.parametrize('order', '<>')
def test_exiftool_reads_the_same_words(order, ending, tmp_path):
    if ending == 'heic':
        pytest.importorskip('pillow_heif')
    source_jpeg(tmp_path / 'a.jpg', order)
    options = Options(progress=False, format=ending)
    restore_files(lambda pixels: pixels, [tmp_path / 'a.jpg'], tmp_path / 'out', options)
    before, after = exiftool(tmp_path / 'a.jpg'), exiftool(tmp_path / 'out' / f'a.{ending}')
    assert before['IFD0:Artist'] == 'Zoë © 2020'
    for key in ('IFD0:Artist', 'IFD0:Make', 'ExifIFD:ExposureTime', 'GPS:GPSLatitude', 'XMP-dc:Format'):
        assert after[key] == before[key], key
    assert after.get('IFD0:Orientation', 1) == 1
    assert (after['ExifIFD:ExifImageWidth'], after['ExifIFD:ExifImageHeight']) == RGB.shape[:2]
    assert not [key for key in after if key.startswith('IFD1')]
    assert after.get('ExifTool:Warning') == before.get('ExifTool:Warning')
    if ending in ('jpg', 'png', 'tif'):
        assert after['IPTC:City'] == before['IPTC:City'] == 'Wien'


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'tif'])
def test_every_orientation_is_applied_in_every_format(ending, orientation, tmp_path):
    path = tmp_path / f'a.{ending}'
    if ending == 'tif':
        Image.fromarray(RGB).save(path, tiffinfo={0x0112: orientation})
    else:
        options = {'png': {}, 'jpg': {'quality': 97, 'subsampling': 0}, 'webp': {'lossless': True}}[ending]
        Image.fromarray(RGB).save(path, exif=exif_block(orientation=orientation), **options)
    expected = np.array(ImageOps.exif_transpose(Image.open(path)))
    restore_files(lambda pixels: pixels, [path], tmp_path / 'out', QUIET)
    with Image.open(tmp_path / 'out' / path.name) as image:
        assert image.getexif().get(0x0112, 1) == 1
        assert np.abs(np.array(image).astype(int) - expected).mean() < 2


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'tif'])
def test_an_orientation_that_stands_in_xmp_alone_is_applied(ending, orientation, tmp_path):
    xmp = XMP.replace(b'"6"', b'"%d"' % orientation)
    if ending == 'tif':
        Image.fromarray(RGB).save(tmp_path / 'a.tif', tiffinfo={700: xmp})  # ours states one
    else:
        write_photo(Photo(RGB, xmp=xmp, lossless=True), tmp_path / f'a.{ending}', 97)
    expected = np.array(ImageOps.exif_transpose(Image.open(tmp_path / f'a.{ending}')))
    given = read_photo(tmp_path / f'a.{ending}')
    assert np.abs(given.pixels.astype(int) - expected).mean() < 2
    assert given.xmp == XMP.replace(b'"6"', b'"1"')


@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp'])
def test_exif_decides_where_xmp_states_another_orientation(ending, tmp_path):
    write_photo(Photo(RGB, exif=exif_block(orientation=1), xmp=XMP, lossless=True), tmp_path / f'a.{ending}')
    given = read_photo(tmp_path / f'a.{ending}')
    assert given.pixels.shape == RGB.shape
    assert given.xmp == XMP.replace(b'"6"', b'"1"')


@pytest.mark.parametrize('pixels', [RGB, RGB16], ids=['8', '16'])
def test_a_tiff_states_no_resolution_that_the_source_did_not(pixels, tmp_path):
    write_photo(Photo(pixels), tmp_path / 'a.tif')
    with Image.open(tmp_path / 'a.tif') as image:
        assert 'dpi' not in image.info and [image.tag_v2[tag] for tag in (282, 283, 296)] == [1, 1, 1]
    given = read_photo(tmp_path / 'a.tif')
    assert np.array_equal(given.pixels, pixels) and given.dpi is None
    write_photo(Photo(pixels, exif=exif_block(orientation=1)), tmp_path / 'b.tif')  # EXIF states it
    assert read_photo(tmp_path / 'b.tif').dpi == (300, 300)


def test_colour_and_text_chunks_of_a_png_are_kept(tmp_path):
    chunks = [
        (b'gAMA', struct.pack('>I', 45455)),
        (b'cHRM', struct.pack('>8I', *range(1, 9))),
        (b'tEXt', b'Title\0A picture'),
        (b'iTXt', 'Author\0\0\0\0\0Zoë'.encode()),
    ]
    Image.fromarray(RGB).save(tmp_path / 'plain.png')
    data = (tmp_path / 'plain.png').read_bytes()
    (tmp_path / 'a.png').write_bytes(data[:33] + b''.join(png_chunk(*c) for c in chunks) + data[33:])
    restore_files(lambda pixels: pixels, [tmp_path / 'a.png'], tmp_path / 'out', QUIET)
    result = (tmp_path / 'out' / 'a.png').read_bytes()
    assert all(png_chunk(*chunk) in result for chunk in chunks)
    write_photo(read_photo(tmp_path / 'a.png'), tmp_path / 'a.jpg')
    assert write_photo(read_photo(tmp_path / 'a.png'), tmp_path / 'a.jpg') == ('PNG text', 'PNG colour')


def test_a_plain_png_is_written_as_pillow_writes_it(tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    restore_files(lambda pixels: pixels, [tmp_path / 'a.png'], tmp_path / 'out', QUIET)
    assert (tmp_path / 'out' / 'a.png').read_bytes() == (tmp_path / 'a.png').read_bytes()


def test_structure_of_a_tiff_is_not_passed_on_and_words_are(tmp_path):
    tifffile = pytest.importorskip('tifffile')
    planes = np.moveaxis(RGB16, 2, 0).copy()
    tifffile.imwrite(
        tmp_path / 'a.tif',
        planes,
        photometric='rgb',
        planarconfig='separate',
        description='A scan',
        resolution=(600, 600),
        resolutionunit='inch',
        iccprofile=ICC,
        extratags=[(315, 's', 0, 'Someone', True)],
    )
    restore_files(lambda pixels: pixels, [tmp_path / 'a.tif'], tmp_path / 'out', QUIET)
    with tifffile.TiffFile(tmp_path / 'out' / 'a.tif') as file:
        page = file.pages[0]
        assert np.array_equal(page.asarray(), RGB16)
        assert page.description == 'A scan' and page.tags[315].value == 'Someone'
        assert page.iccprofile == ICC and page.get_resolution('inch') == (600, 600)


@pytest.mark.parametrize('cut', [3, 9, 20, 60, 150])
def test_a_damaged_exif_block_does_not_stop_a_photograph(cut, tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.png', exif=exif_block()[:cut])
    assert read_photo(tmp_path / 'a.png').pixels.shape in (RGB.shape, RGB.transpose(1, 0, 2).shape)


def test_blocks_at_random_never_raise():
    rng = np.random.default_rng(0)
    block = exif_block()
    for _ in range(300):
        data = bytearray(block)
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(256)
        try:
            exif.orientation_of(bytes(data))
            exif.upright(bytes(data), 10, 10)
        except struct.error:
            pass  # read_photo takes it for a damaged block


def test_a_profile_for_other_pixels_is_left_out_and_said(tmp_path):
    grey = Image.fromarray(RGB[..., 0].copy())
    grey.save(tmp_path / 'a.jpg', icc_profile=ICC)
    given = read_photo(tmp_path / 'a.jpg')
    assert given.icc_profile is None
    assert re.search('profile', ' '.join(given.notes))


def test_cmyk_goes_through_its_profile(tmp_path):
    profile = next(iter(sorted(__import__('pathlib').Path('/usr/share/color/icc').rglob('*CMYK*.icc'))), None)
    if profile is None:
        pytest.skip('no CMYK profile on this machine')
    Image.fromarray(RGB).convert('CMYK').save(tmp_path / 'a.jpg', icc_profile=profile.read_bytes(), quality=95)
    given = read_photo(tmp_path / 'a.jpg')
    assert 'by its profile' in given.notes[0]


def test_cmyk_with_a_profile_that_is_none_is_as_without(tmp_path):
    inks = Image.fromarray(RGB).convert('CMYK')
    inks.save(tmp_path / 'without.tif')
    expected = read_photo(tmp_path / 'without.tif').pixels
    for name, profile in {'broken': b'x' * 200, 'of RGB': ICC}.items():
        inks.save(tmp_path / f'{name}.tif', icc_profile=profile)
        given = read_photo(tmp_path / f'{name}.tif')
        assert np.array_equal(given.pixels, expected)
        assert 'without its profile, which is none of CMYK' in given.notes[-1]


def test_camera_raw_is_developed_and_keeps_its_words(tmp_path):
    pytest.importorskip('rawpy')
    tifffile = pytest.importorskip('tifffile')
    linear = (np.repeat(np.repeat(RGB, 4, 0), 4, 1) / 255) ** 2.2
    mosaic = np.zeros(linear.shape[:2])
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[row::2, column::2] = linear[row::2, column::2, channel]
    matrix = (3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572)  # XYZ to linear sRGB
    tifffile.imwrite(
        tmp_path / 'a.dng',
        np.rint(mosaic * 16383).astype(np.uint16),
        photometric=32803,
        extratags=[
            (33421, 3, 2, (2, 2), True),
            (33422, 1, 4, bytes([0, 1, 1, 2]), True),
            (271, 2, 0, 'Maker', True),
            (50706, 1, 4, bytes([1, 4, 0, 0]), True),
            (50708, 2, 0, 'A camera', True),
            (50717, 3, 1, 16383, True),
            (50721, 10, 9, tuple(n for v in matrix for n in (round(v * 10000), 10000)), True),
            (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),
            (50778, 3, 1, 21, True),
        ],
    )
    restore_files(lambda pixels: pixels, [tmp_path / 'a.dng'], tmp_path / 'out', QUIET)
    result = read_photo(tmp_path / 'out' / 'a.png')
    assert (result.pixels.dtype, result.pixels.shape) == (np.uint16, linear.shape)
    shown = result.pixels[8::4, 8::4].astype(float) / 65535
    assert np.corrcoef(shown.reshape(-1), RGB[2:, 2:].reshape(-1))[0, 1] > 0.97
    assert b'Maker' in result.exif

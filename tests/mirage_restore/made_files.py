"""Image files of every kind, made on the spot, each with the pixels that a person expects to see in it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms

try:
    import tifffile
except ImportError:
    tifffile = None

HEIGHT, WIDTH = 48, 64


def photograph() -> np.ndarray:
    """(48, 64, 3) uint8: gradients, an edge, and every channel another."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    red = 40 + 170 * x / WIDTH
    green = 60 + 120 * y / HEIGHT + 20 * np.sin(x / 5)
    blue = 200 - 120 * x / WIDTH * y / HEIGHT
    rgb = np.stack([red, green, blue], 2)
    rgb[10:20, 20:40] = (180, 90, 60)
    return np.rint(rgb).astype(np.uint8)


RGB = photograph()
RGB16 = RGB.astype(np.uint16) * 257 + 13
GREY, GREY16 = RGB[..., 1].copy(), RGB16[..., 1].copy()
ALPHA = np.rint(np.linspace(0, 255, WIDTH)).astype(np.uint8)[None].repeat(HEIGHT, 0)
ALPHA16 = ALPHA.astype(np.uint16) * 257
RGBA, RGBA16 = np.dstack([RGB, ALPHA]), np.dstack([RGB16, ALPHA16])
LA, LA16 = np.dstack([GREY, ALPHA]), np.dstack([GREY16, ALPHA16])
IMAGE = Image.fromarray(RGB)
PALETTE = IMAGE.quantize(64)
PALETTE_RGB = np.array(PALETTE.convert('RGB'))
BILEVEL = np.where(GREY > 110, 255, 0).astype(np.uint8)
FLOAT = (RGB / np.float32(255)).astype(np.float32)
#: Largest mean difference, as a share of the range, that a format's own loss explains.
LOSSY = 0.02

Builder = Callable[[Path], None]
CASES: dict[str, tuple[Builder, np.ndarray, float]] = {}


def add(name: str, build: Builder, expected: np.ndarray, tolerance: float = 0.0) -> None:
    """Register a file: how it is made, what is seen in it, and the mean difference allowed."""
    CASES[name] = (build, expected, tolerance)


def pillow(name: str, image: Image.Image, expected: np.ndarray, tolerance: float = 0.0, **options) -> None:
    add(name, lambda path: image.save(path, **options), expected, tolerance)


def opencv(name: str, pixels: np.ndarray, expected: np.ndarray) -> None:
    order = {2: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}
    bgr = pixels if pixels.ndim == 2 else pixels[..., order[pixels.shape[2]]]
    add(name, lambda path: path.write_bytes(cv2.imencode(path.suffix, bgr)[1].tobytes()), expected)


def tiff(name: str, pixels: np.ndarray, expected: np.ndarray, tolerance: float = 0.0, **options) -> None:
    if tifffile is not None:
        add(name, lambda path: tifffile.imwrite(path, pixels, **options), expected, tolerance)


# --- PNG: every kind of pixels and depth, written here, since no library writes all of them -------------------------
def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def png(rows: list[bytes], size: tuple[int, int], depth: int, colour: int, chunks: bytes = b'') -> bytes:
    header = struct.pack('>IIBBBBB', *size, depth, colour, 0, 0, 0)
    body = zlib.compress(b''.join(b'\0' + row for row in rows))
    start = b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', header)
    return start + chunks + png_chunk(b'IDAT', body) + png_chunk(b'IEND', b'')


def packed(values: np.ndarray, depth: int) -> list[bytes]:
    """Rows of values of 1, 2, 4 or 8 bits."""
    bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
    return [np.packbits(row.reshape(-1)).tobytes() for row in bits]


def _png_cases() -> None:
    for depth in (1, 2, 4, 8):
        most = 2**depth - 1
        values = (GREY.astype(int) * most // 255).astype(np.uint8)
        shown = (values.astype(int) * 255 // most).astype(np.uint8)
        rows, size = packed(values, depth), (WIDTH, HEIGHT)
        add(f'grey {depth} bits.png', lambda p, r=rows, d=depth: p.write_bytes(png(r, (WIDTH, HEIGHT), d, 0)), shown)
        key = png_chunk(b'tRNS', struct.pack('>H', int(values[0, 0])))
        seen = np.dstack([shown, np.where(values == values[0, 0], 0, 255).astype(np.uint8)])
        add(
            f'grey {depth} bits with a key.png',
            lambda p, r=rows, d=depth, k=key: p.write_bytes(png(r, (WIDTH, HEIGHT), d, 0, k)),
            seen,
        )
        colours = np.random.default_rng(depth).integers(0, 256, (2**depth, 3), np.uint8)
        palette = png_chunk(b'PLTE', colours.tobytes())
        add(
            f'palette {depth} bits.png',
            lambda p, r=rows, d=depth, c=palette: p.write_bytes(png(r, (WIDTH, HEIGHT), d, 3, c)),
            colours[values],
        )
        clear = png_chunk(b'tRNS', bytes([0, 128]))
        opacity = np.full(2**depth, 255, np.uint8)
        opacity[:2] = (0, 128)
        add(
            f'palette {depth} bits with alpha.png',
            lambda p, r=rows, d=depth, c=palette + clear: p.write_bytes(png(r, (WIDTH, HEIGHT), d, 3, c)),
            np.dstack([colours[values], opacity[values]]),
        )
        assert size
    for name, pixels, colour in (('grey', GREY16, 0), ('rgb', RGB16, 2), ('grey alpha', LA16, 4), ('rgba', RGBA16, 6)):
        rows = [row.astype('>u2').tobytes() for row in pixels]
        add(f'{name} 16 bits.png', lambda p, r=rows, c=colour: p.write_bytes(png(r, (WIDTH, HEIGHT), 16, c)), pixels)
    rows = [row.astype('>u2').tobytes() for row in RGB16]
    key = png_chunk(b'tRNS', RGB16[0, 0].astype('>u2').tobytes())
    seen = np.where((RGB16[0, 0] == RGB16).all(-1), 0, 65535).astype(np.uint16)
    add(
        'rgb 16 bits with a key.png',
        lambda p: p.write_bytes(png(rows, (WIDTH, HEIGHT), 16, 2, key)),
        np.dstack([RGB16, seen]),
    )
    seen = np.where((RGB[0, 0] == RGB).all(-1), 0, 255).astype(np.uint8)
    pillow('rgb with a key.png', IMAGE, np.dstack([RGB, seen]), transparency=tuple(int(v) for v in RGB[0, 0]))
    for name, pixels in (('rgb', RGB), ('rgba', RGBA), ('grey', GREY), ('grey alpha', LA)):
        pillow(f'{name}.png', Image.fromarray(pixels), pixels)


# --- TIFF: structures, compressions, photometric interpretations --------------------------------------------------
def _tiff_cases() -> None:
    planar = {'photometric': 'rgb', 'planarconfig': 'separate'}
    for depth, rgb, rgba, grey, la in ((8, RGB, RGBA, GREY, LA), (16, RGB16, RGBA16, GREY16, LA16)):
        straight = {'photometric': 'rgb', 'extrasamples': ['unassalpha']}
        tiff(f'rgb {depth}.tif', rgb, rgb)
        tiff(f'planar {depth}.tif', np.moveaxis(rgb, 2, 0).copy(), rgb, **planar)
        tiff(
            f'planar with alpha {depth}.tif',
            np.moveaxis(rgba, 2, 0).copy(),
            rgba,
            **planar,
            extrasamples=['unassalpha'],
        )
        tiff(f'tiles {depth}.tif', rgb, rgb, tile=(16, 16))
        tiff(f'planar tiles {depth}.tif', np.moveaxis(rgb, 2, 0).copy(), rgb, **planar, tile=(16, 16))
        tiff(f'big {depth}.tif', rgb, rgb, bigtiff=True)
        tiff(f'other byte order {depth}.tif', rgb, rgb, byteorder='>')
        tiff(f'big, other byte order {depth}.tif', rgb, rgb, byteorder='>', bigtiff=True)
        tiff(f'one strip a row {depth}.tif', rgb, rgb, rowsperstrip=1)
        tiff(f'grey {depth}.tif', grey, grey)
        tiff(f'white is zero {depth}.tif', np.iinfo(grey.dtype).max - grey, grey, photometric='miniswhite')
        tiff(f'straight alpha {depth}.tif', rgba, rgba, **straight)
        tiff(
            f'grey alpha {depth}.tif',
            la,
            la,
            photometric='minisblack',
            extrasamples=['unassalpha'],
            planarconfig='contig',
        )
        tiff(f'infrared {depth}.tif', rgba, rgb, photometric='rgb', extrasamples=['unspecified'])
        tiff(
            f'alpha behind infrared {depth}.tif',
            np.dstack([rgb, rgb[..., :1], rgba[..., 3:]]),
            rgba,
            photometric='rgb',
            extrasamples=['unspecified', 'unassalpha'],
        )
        for kind in ('lzw', 'zlib', 'packbits'):
            tiff(f'{kind} {depth}.tif', rgb, rgb, compression=kind)
        tiff(f'predictor {depth}.tif', rgb, rgb, compression='lzw', predictor=True)
        premultiplied = rgba.astype(np.float64)
        premultiplied[..., :3] *= rgba[..., 3:] / float(np.iinfo(rgba.dtype).max)
        tiff(
            f'associated alpha {depth}.tif',
            np.rint(premultiplied).astype(rgba.dtype),
            rgba,
            0.012,
            photometric='rgb',
            extrasamples=['assocalpha'],
        )
        inks = np.array(IMAGE.convert('CMYK')).astype(rgb.dtype) * (257 if depth == 16 else 1)
        tiff(
            f'cmyk {depth}.tif',
            inks,
            RGB.astype(rgb.dtype) * (257 if depth == 16 else 1),
            0.001,
            photometric='separated',
        )
    tiff('zstd 16.tif', RGB16, RGB16, compression='zstd')
    tiff('jpegxl.tif', RGB, RGB, compression='jpegxl', photometric='rgb', compressionargs={'lossless': True})
    tiff('jpeg2000 16.tif', RGB16, RGB16, compression='jpeg2000', photometric='rgb')
    tiff('float64.tif', FLOAT.astype(np.float64), FLOAT)
    tiff(
        'float64 grey white is zero.tif',
        1 - FLOAT[..., 0].astype(np.float64),
        FLOAT[..., 0],
        1e-6,
        photometric='miniswhite',
    )
    for kind in ('zstd', 'lzma', 'webp'):
        options = {'compressionargs': {'lossless': True}} if kind == 'webp' else {}
        tiff(f'{kind}.tif', RGB, RGB, compression=kind, photometric='rgb', **options)
    for chroma in ((1, 1), (2, 2), (2, 1)):
        tiff(
            f'jpeg {chroma[0]}{chroma[1]}.tif',
            RGB,
            RGB,
            LOSSY,
            photometric='rgb',
            compression='jpeg',
            subsampling=chroma,
            compressionargs={'level': 98},
        )
    tiff('grey jpeg.tif', GREY, GREY, LOSSY, compression='jpeg', compressionargs={'level': 98})
    tiff('float32.tif', FLOAT, FLOAT)
    tiff('float16.tif', FLOAT.astype(np.float16), FLOAT.astype(np.float16).astype(np.float32))
    tiff('float32 grey.tif', FLOAT[..., 0].copy(), FLOAT[..., 0])
    tiff(
        'float32 with alpha.tif',
        np.dstack([FLOAT, FLOAT[..., 0]]),
        np.dstack([FLOAT, FLOAT[..., 0]]),
        photometric='rgb',
        extrasamples=['unassalpha'],
    )
    pillow('pillow cmyk.tif', IMAGE.convert('CMYK'), RGB, 0.001)
    pillow('palette.tif', PALETTE, PALETTE_RGB)
    pillow('ycbcr.tif', IMAGE.convert('YCbCr'), RGB, 0.008)
    pillow('fax.tif', Image.fromarray(BILEVEL).convert('1', dither=Image.Dither.NONE), BILEVEL, compression='group4')
    pillow('bilevel.tif', Image.fromarray(BILEVEL).convert('1', dither=Image.Dither.NONE), BILEVEL)
    to_lab = ImageCms.buildTransform(ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'), 'RGB', 'LAB')
    pillow('lab.tif', ImageCms.applyTransform(IMAGE, to_lab), RGB, 0.008)
    if tifffile is not None:
        add('sub-IFD.tif', lambda path: _pages(path, [(RGB, {'subifds': 1}), (RGB[::2, ::2], {'subfiletype': 1})]), RGB)
        add(
            'preview first.tif',
            lambda path: _pages(path, [(RGB[::4, ::4], {'subfiletype': 1}), (RGB16, {'subfiletype': 0})]),
            RGB16,
        )
        add('two pages.tif', lambda path: _pages(path, [(RGB, {}), (RGB[::-1], {})]), RGB)


def _pages(path: Path, pages: list[tuple[np.ndarray, dict]]) -> None:
    with tifffile.TiffWriter(path) as writer:
        for pixels, options in pages:
            writer.write(pixels, photometric='rgb', **options)


# --- JPEG, WebP, AVIF, HEIC, BMP, GIF, PNM, TGA --------------------------------------------------------------------
def _other_cases() -> None:
    fine = {'quality': 97, 'subsampling': 0}
    pillow('a.jpg', IMAGE, RGB, LOSSY, **fine)
    for ending in ('jpeg', 'jpe', 'jfif'):
        pillow(f'a.{ending}', IMAGE, RGB, LOSSY, format='JPEG', **fine)
    pillow('progressive.jpg', IMAGE, RGB, LOSSY, progressive=True, **fine)
    pillow('420.jpg', IMAGE, RGB, LOSSY, quality=97)
    pillow('grey.jpg', Image.fromarray(GREY), GREY, LOSSY, quality=97)
    pillow('cmyk.jpg', IMAGE.convert('CMYK'), RGB, LOSSY, quality=97)
    pillow('stored as rgb.jpg', IMAGE, RGB, LOSSY, keep_rgb=True, **fine)
    pillow('restart markers.jpg', IMAGE, RGB, LOSSY, restart_marker_rows=1, **fine)
    small = IMAGE.resize((16, 12))
    add(
        'with a preview (MPO).jpg',
        lambda path: IMAGE.save(path, 'MPO', save_all=True, append_images=[small], quality=97),
        RGB,
        LOSSY,
    )
    add(
        'camera.mpo', lambda path: IMAGE.save(path, 'MPO', save_all=True, append_images=[small], quality=97), RGB, LOSSY
    )
    pillow('lossless.webp', IMAGE, RGB, lossless=True)
    pillow('lossless with alpha.webp', Image.fromarray(RGBA), RGBA, lossless=True, exact=True)
    pillow('lossy.webp', IMAGE, RGB, LOSSY, quality=97)
    pillow('lossy with alpha.webp', Image.fromarray(RGBA), RGBA, 0.03, quality=97, exact=True)
    pillow('a.avif', IMAGE, RGB, LOSSY, quality=97, subsampling='4:4:4')
    pillow('with alpha.avif', Image.fromarray(RGBA), RGBA, LOSSY, quality=97, subsampling='4:4:4')
    pillow('rgb.bmp', IMAGE, RGB)
    pillow('palette.bmp', PALETTE, PALETTE_RGB)
    pillow('grey.bmp', Image.fromarray(GREY), GREY)
    pillow('bilevel.bmp', Image.fromarray(BILEVEL).convert('1', dither=Image.Dither.NONE), BILEVEL)
    pillow('device independent.dib', IMAGE, RGB, format='DIB')
    add('with alpha.bmp', lambda path: path.write_bytes(bmp_with_alpha(RGBA)), RGBA)
    pillow('still.gif', PALETTE, PALETTE_RGB)
    pillow('interlaced.gif', PALETTE, PALETTE_RGB, interlace=1)
    see_through = np.dstack([PALETTE_RGB, np.where(np.array(PALETTE) == 5, 0, 255).astype(np.uint8)])
    pillow('transparent.gif', PALETTE, see_through, transparency=5)
    pillow('rgb.tga', IMAGE, RGB)
    pillow('with alpha.tga', Image.fromarray(RGBA), RGBA)
    pillow('packed.tga', IMAGE, RGB, compression='tga_rle')
    opencv('rgb 8.ppm', RGB, RGB)
    opencv('rgb 16.ppm', RGB16, RGB16)
    opencv('grey 8.pgm', GREY, GREY)
    opencv('grey 16.pgm', GREY16, GREY16)
    pillow('bilevel.pbm', Image.fromarray(BILEVEL).convert('1', dither=Image.Dither.NONE), BILEVEL)
    text = b'P3\n# a remark\n%d %d 255\n' % (WIDTH, HEIGHT) + b' '.join(b'%d' % v for v in RGB.reshape(-1))
    add('text.ppm', lambda path: path.write_bytes(text), RGB)
    ten = GREY.astype(np.uint16) * 4
    ten_bits = b'P5 %d %d 1023\n' % (WIDTH, HEIGHT) + ten.astype('>u2').tobytes()
    add('10 bits.pgm', lambda path: path.write_bytes(ten_bits), np.rint(ten * (65535 / 1023)).astype(np.uint16))
    add(
        '4 bits.pgm',
        lambda path: path.write_bytes(b'P5 %d %d 15\n' % (WIDTH, HEIGHT) + (GREY >> 4).tobytes()),
        ((GREY >> 4) * 17).astype(np.uint8),
    )
    digits = b' '.join(b'%d' % (v == 0) for v in BILEVEL.reshape(-1))
    add('text.pbm', lambda path: path.write_bytes(b'P1\n%d %d\n' % (WIDTH, HEIGHT) + digits), BILEVEL)
    try:
        import pillow_heif
    except ImportError:
        return
    add('a.heic', lambda path: heic(pillow_heif, path, 'RGB', RGB), RGB, LOSSY)
    add('with alpha.heic', lambda path: heic(pillow_heif, path, 'RGBA', RGBA), RGBA, LOSSY)
    add('10 bits.heic', lambda path: heic(pillow_heif, path, 'RGB;16', RGB16), RGB16, LOSSY)
    add('two pictures.heif', lambda path: heic(pillow_heif, path, 'RGB', RGB, RGB[::-1].copy()), RGB, LOSSY)


def heic(library, path: Path, mode: str, *pictures: np.ndarray) -> None:
    file = library.HeifFile()
    for pixels in pictures:
        file.add_frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    buffer = io.BytesIO()
    file.save(buffer, quality=97, chroma=444)
    path.write_bytes(buffer.getvalue())


def bmp_with_alpha(rgba: np.ndarray) -> bytes:
    """A BMP of 32 bits with masks, its rows from top to bottom."""
    height, width = rgba.shape[:2]
    body = rgba[..., [2, 1, 0, 3]].tobytes()
    header = struct.pack('<IiiHHIIiiII', 108, width, -height, 1, 32, 3, len(body), 2835, 2835, 0, 0)
    header += struct.pack('<IIII', 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b'BGRs' + bytes(48)
    return b'BM' + struct.pack('<IHHI', 122 + len(body), 0, 0, 122) + header + body


_png_cases()
_tiff_cases()
_other_cases()

"""File endings: what is read, what is written as what. Imports nothing: the command shows its help at once."""

from __future__ import annotations

__all__ = ['FORMATS', 'PHOTO_EXTENSIONS', 'RAW_EXTENSIONS', 'VIDEO_EXTENSIONS', 'is_known', 'video_ending']

#: Endings of results and the format that each is written in.
FORMATS = {
    '.png': 'PNG',
    '.jpg': 'JPEG',
    '.jpeg': 'JPEG',
    '.jpe': 'JPEG',
    '.jfif': 'JPEG',
    '.webp': 'WEBP',
    '.tif': 'TIFF',
    '.tiff': 'TIFF',
    '.bmp': 'BMP',
    '.avif': 'AVIF',
    '.heic': 'HEIC',
    '.heif': 'HEIC',
    '.hif': 'HEIC',
    '.ppm': 'PNM',
    '.pgm': 'PNM',
    '.pnm': 'PNM',
    '.tga': 'TGA',
    '.gif': 'GIF',
}
#: Camera raw files, which the extra ``raw`` reads; results have another format.
RAW_EXTENSIONS = ('.dng', '.cr2', '.cr3', '.nef', '.nrw', '.arw', '.raf', '.orf', '.rw2', '.pef', '.srw')
PHOTO_EXTENSIONS = (*FORMATS, '.dib', '.pbm', *RAW_EXTENSIONS)
VIDEO_EXTENSIONS = (
    *('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.mpeg', '.m2v', '.ts', '.mts', '.m2ts', '.vob'),
    *('.wmv', '.asf', '.flv', '.3gp', '.3g2', '.ogv', '.mxf'),
)
#: Formats of results that have no format of their own: GIF would need a palette, raw and bitmap files are read only.
DEFAULT_FORMAT = '.png'
READ_ONLY = ('.gif', '.dib', '.pbm', *RAW_EXTENSIONS)


#: Videos that are written in the container they came in; the others become Matroska, which holds all they have.
_OWN_CONTAINER = ('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.ts', '.mts', '.m2ts')
_HOLDS_H265 = ('.mp4', '.m4v', '.mov', '.mkv', '.ts', '.mts', '.m2ts')
_ANYTHING = '.mkv'


def video_ending(ending: str, encoder: str | None) -> str:
    """Ending of the result of a video: its own, unless that container cannot hold what the encoder makes."""
    lower = ending.lower()
    holds = {
        None: _OWN_CONTAINER,
        'h264': [each for each in _OWN_CONTAINER if each != '.webm'],
        'h265': _HOLDS_H265,
        'ffv1': ('.mkv', '.avi'),
    }
    return ending if lower in holds[encoder] else _ANYTHING


def is_known(ending: str) -> bool:
    """Whether files with this ending, such as '.png', are restored."""
    return ending.lower() in PHOTO_EXTENSIONS or ending.lower() in VIDEO_EXTENSIONS

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
#: What is only read, and the ending of its result: GIF would need a palette, MPO is a JPEG with a second picture.
READ_ONLY = {'.gif': '.png', '.pbm': '.png', '.dib': '.bmp', '.mpo': '.jpg', **dict.fromkeys(RAW_EXTENSIONS, '.png')}
PHOTO_EXTENSIONS = (*FORMATS, *(ending for ending in READ_ONLY if ending not in FORMATS))
VIDEO_EXTENSIONS = (
    *('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.mpeg', '.m2v', '.ts', '.mts', '.m2ts', '.vob'),
    *('.wmv', '.asf', '.flv', '.3gp', '.3g2', '.ogv', '.mxf'),
)
DEFAULT_FORMAT = '.png'  # of results whose source has an unknown ending


#: Videos that are written in the container they came in; the others become Matroska, which holds all they have.
VIDEO_CONTAINERS = ('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.ts', '.mts', '.m2ts')
_HOLDS_H265 = ('.mp4', '.m4v', '.mov', '.mkv', '.ts', '.mts', '.m2ts')
_ANYTHING = '.mkv'


def video_ending(ending: str, encoder: str | None) -> str:
    """Ending of the result of a video: its own, unless that container cannot hold what the encoder makes."""
    lower = ending.lower()
    holds = {
        None: VIDEO_CONTAINERS,
        'h264': [each for each in VIDEO_CONTAINERS if each != '.webm'],
        'h265': _HOLDS_H265,
        'ffv1': ('.mkv', '.avi'),
    }
    return ending if lower in holds[encoder] else _ANYTHING


def is_known(ending: str) -> bool:
    """Whether files with this ending, such as '.png', are restored."""
    return ending.lower() in PHOTO_EXTENSIONS or ending.lower() in VIDEO_EXTENSIONS

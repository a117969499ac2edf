"""The command ``mirage-web``."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import socket
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from mirage_restore.machine import bound_spinning, say

from .limits import Limits

__all__ = ['main']

_LOCAL = frozenset({'127.0.0.1', 'localhost', '::1'})


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; returns 0, 1 if the port or a package cannot be had, 2 for wrong arguments."""
    bound_spinning()
    args = _parser().parse_args(arguments)
    try:
        limits = Limits(args.max_mb, args.max_megapixels, args.max_seconds, args.queue, args.keep)
        names = frozenset(map(_bare_name, args.name or ()))
        opened = _listen(args.host, args.port)
    except ValueError as error:
        say(f'mirage-web: {error}', sys.stderr)
        return 2
    except OSError as error:
        reason = error.strerror
        if error.errno == errno.EADDRINUSE:
            reason = 'the port is in use, perhaps by another mirage-web; choose another with --port N, or 0 for any'
        say(f'mirage-web: {args.host}:{args.port}: {reason}', sys.stderr)
        return 1
    with opened:
        try:
            import uvicorn

            from .app import make_app
        except ImportError as error:
            say(f'mirage-web: {error.name} is missing: pip install "mirage-ir[web]"', sys.stderr)
            return 1
        try:
            host = args.host.lower()
            local = host in _LOCAL or _is_loopback(host)
            hosts = (_LOCAL | {host} if local else None) if not names else names | _LOCAL
            app = make_app(limits, weights=args.weights, device=args.device, hosts=hosts)
        except ValueError as error:
            say(f'mirage-web: {error}', sys.stderr)
            return 2
        shown = f'[{args.host}]' if ':' in args.host else args.host
        if not local:
            say(f'Everybody who reaches {args.host} can use this server; put a proxy with passwords and TLS before it.')
        say(f'Open http://{shown}:{opened.getsockname()[1]} in a browser; Ctrl-C stops.')
        config = uvicorn.Config(
            app, log_level='warning', timeout_keep_alive=30, timeout_graceful_shutdown=3, server_header=False
        )
        uvicorn.Server(config).run(sockets=[opened])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='mirage-web', description='Restore photographs and short videos in a browser, or over HTTP.'
    )
    add, limits = parser.add_argument, Limits()
    add('--host', default='127.0.0.1', help='address to listen at; 0.0.0.0 lets others in (%(default)s)')
    add('--port', type=int, default=7860, help='0 for any that is free (%(default)s)')
    add('--name', action='append', help='a name by which a proxy asks, such as photos.example.org; repeatable')
    add('-w', '--weights', metavar='FILE', help='weights to offer beside those in the package')
    add('--device', default='auto', help="'auto', 'cpu', 'cuda', 'cuda:N' or 'mps' (%(default)s)")
    add('--max-mb', type=float, default=limits.megabytes, help='of an upload (%(default)g)')
    add('--max-megapixels', type=float, default=limits.megapixels, help='of a picture (%(default)g)')
    add('--max-seconds', type=float, default=limits.seconds, help='of a video; 0 for no videos (%(default)g)')
    add('--queue', type=int, default=limits.waiting, help='uploads that wait at most (%(default)s)')
    add(
        '--keep',
        type=float,
        default=limits.minutes,
        metavar='MINUTES',
        help='for which results can be fetched (%(default)g)',
    )
    return parser


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; opened before PyTorch is loaded, so that a used port is told at once.

    Raises:
        ValueError: Not a port.
        OSError: The address cannot be had.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f'--port must be from 0 to 65535, got {port}')
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != 'win32':
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(128)
    except OSError:
        opened.close()
        raise
    return opened


def _bare_name(name: str) -> str:
    """A name as it is compared with that in a request: lower-cased, without a port and without brackets.

    Raises:
        ValueError: It holds more than a name and a port.
    """
    try:
        if ':' in name.partition(':')[2] and not name.startswith('['):  # an IPv6 address has colons of its own
            return str(ipaddress.ip_address(name))
        asked = urlsplit(f'//{name}')
        if asked.hostname and asked.netloc == name and not set(name) & set('@ '):
            return asked.hostname
    except ValueError:  # no address, or a bracket without its other
        pass
    raise ValueError(f'--name must be a name such as photos.example.org, got {name!r}')


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == '__main__':
    sys.exit(main())

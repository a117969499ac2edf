"""Check every link and anchor between the pages of a built site, without a network: ``check_links.py site``."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = {''}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ('href', 'src') and value and tag != 'base':
                self.links.add(value)
            if name in ('id', 'name') and value:
                self.anchors.add(value)


def broken_links(site: Path) -> list[str]:
    """'page: link' of each that leads nowhere within the site."""
    pages = {file: _Page(file.read_text(encoding='utf-8')) for file in site.rglob('*.html')}
    broken = []
    for file, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or (file.name == '404.html' and link.startswith('/')):
                continue
            path = unquote(parts.path)
            target = site / path.lstrip('/') if path.startswith('/') else (file.parent / path if path else file)
            target = target.resolve() / 'index.html' if target.is_dir() else target.resolve()
            anchors = next((other.anchors for name, other in pages.items() if name.resolve() == target), None)
            if not target.exists() or (anchors is not None and unquote(parts.fragment) not in anchors):
                broken.append(f'{file.relative_to(site)}: {link}')
    return broken


if __name__ == '__main__':
    found = broken_links(Path(sys.argv[1]))
    print('\n'.join(found) or 'no broken links')
    sys.exit(bool(found))

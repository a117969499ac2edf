"""Which wing may import which: docs/architecture.md in a few lines."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# what a wing may import of the project beside itself; a longer name is a part of the shorter one with rules of its own
ALLOWED = {
    'mirage_losses': (),
    'mirage_arch': (),
    'mirage_arch/spd_heads.py': ('mirage_arch', 'mirage_losses'),
    'mirage_data/option.py': (),
    'mirage_data/crew.py': (),
    'mirage_data/files': (),
    'mirage_data/degradations': ('mirage_data/files',),
    'mirage_data/datasets': (
        'mirage_data/files',
        'mirage_data/degradations',
        'mirage_data/sets',
        'mirage_data/option.py',
    ),
    'mirage_data/sets': ('mirage_data/files', 'mirage_data/degradations', 'mirage_data/crew.py'),
    'mirage_data': ('mirage_data',),
    'mirage_restore/machine.py': ('mirage_data/files',),  # how much memory there is; trainings ask, too
    'mirage_restore': ('mirage_arch', 'mirage_data/files', 'mirage_data/crew.py'),
    'mirage_web': ('mirage_restore',),
    'mirage_ir/measuring': ('mirage_data', 'mirage_arch', 'mirage_losses'),
    'mirage_ir/training': (
        'mirage_ir/measuring',
        'mirage_data',
        'mirage_arch',
        'mirage_losses',
        'mirage_restore/machine.py',
    ),
    'mirage_ir/options': ('mirage_ir/training', 'mirage_ir/measuring', 'mirage_data', 'mirage_arch', 'mirage_losses'),
    'mirage_ir/commands': ('mirage_ir', 'mirage_data', 'mirage_arch', 'mirage_losses'),
    'mirage_ir': ('mirage_restore', 'mirage_arch', 'mirage_data', 'mirage_losses'),
    'research': ('mirage_ir', 'mirage_restore', 'mirage_arch', 'mirage_data', 'mirage_losses'),
}
WITHOUT_BASICSR = ('mirage_losses', 'mirage_data', 'mirage_restore', 'mirage_web')
FILES = sorted(
    path.relative_to(ROOT) for wing in {name.split('/')[0] for name in ALLOWED} for path in (ROOT / wing).rglob('*.py')
)


def wing_of(path: str) -> str:
    return max((name for name in ALLOWED if f'{path}/'.startswith(f'{name}/') or path == name), key=len, default='')


def imported(file: Path) -> set[str]:
    """What a file imports, as paths below the root."""
    package = file.parent.parts
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding='utf-8'))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            base = '.'.join(package[: len(package) - node.level + 1]) if node.level else ''
            module = '.'.join(part for part in (base, node.module) if part)
            modules = [module, *(f'{module}.{alias.name}' for alias in node.names)]
        for module in modules:
            path = module.replace('.', '/')
            if not (ROOT / path).exists() and not (ROOT / f'{path}.py').is_file():
                path = path.rpartition('/')[0] or path  # a name in a module
            found.add(f'{path}.py' if (ROOT / f'{path}.py').is_file() else path)
    return found


@pytest.mark.parametrize('file', FILES, ids=str)
def test_arrows_point_one_way(file):
    wing = wing_of(file.as_posix())
    for path in imported(file):
        other = wing_of(path)
        assert not (path.split('/')[0] == 'basicsr' and wing.startswith(WITHOUT_BASICSR)), f'{file} imports BasicSR'
        allowed = {wing, *ALLOWED[wing]}
        inside = any(other == name or other.startswith(f'{name}/') for name in allowed)
        assert not other or inside, f'{file} ({wing}) imports {path} ({other}); allowed: {", ".join(sorted(allowed))}'

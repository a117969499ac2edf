"""Test with BasicSR's own runner: ``python basicsr/test.py -opt options/test_5deg.yml``."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import mirage_ir  # noqa: E402, F401  at the top, so that spawned DataLoader workers know every class, too

if __name__ == '__main__':
    from mirage_ir.commands.run import test

    test(root=ROOT)

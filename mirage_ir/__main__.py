"""``python -m mirage_ir COMMAND``: the same as ``mirage-basicsr COMMAND``, for torchrun and debuggers."""

import sys

from .cli import main

if __name__ == '__main__':
    sys.exit(main())

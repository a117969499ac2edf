"""What a run was asked for: its command line and the options in effect."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from mirage_data.files.write import write_file

from .selection import Selection

_TITLE = 'Options in effect'


@dataclass
class CommandLine:
    """A command of training or testing.

    Args:
        text: The words as they were given.
        fresh: Whether ``--fresh`` was among them.
        selection: What ``--only`` and ``--without`` ask for.
        option_file: The option file.
        options: The options in effect as the text of an option file; None if nobody has worked them out.
    """

    text: str
    fresh: bool = False
    selection: Selection = Selection()
    option_file: str = ''
    options: str | None = None

    def select(self, opt: MutableMapping, forced: Iterable[str]) -> None:
        """Take out of the options what is left out, unless those in effect are without it already; say what was done.

        Args:
            opt: Options as BasicSR parsed them; ``left_out`` is added for the reader of the log.
            forced: The values of ``--force_yml``.

        Raises:
            SelectionError: The selection does not fit the options.
        """
        if self.options is None and (notes := self.selection.apply(opt, forced)):
            opt['left_out'] = '; '.join(notes)
        if self.selection and opt.get('left_out') and opt['rank'] == 0:
            print(opt['left_out'].replace('; ', '\n'), flush=True)

    def keep_options(self, folder: str, drawn_seed: int | None = None) -> None:
        """Keep the options in effect, under the name of the option file, in the folder of the run.

        A file that is there is replaced, unless it says the same.

        Args:
            folder: It must exist.
            drawn_seed: The seed of a run whose options name none.
        """
        source = Path(self.option_file)
        if not source.is_file():
            return
        text = self.options if self.options is not None else source.read_text(encoding='utf-8')
        if drawn_seed is not None:
            text = re.sub(r'(?m)^manual_seed:.*\n?', '', text).rstrip('\n')
            text += f'\nmanual_seed: {drawn_seed}  # drawn for this run\n'
        target = Path(folder) / source.name
        if target.is_file() and target.read_text(encoding='utf-8').endswith(text):
            return
        head = f'# {_TITLE}, {time.asctime()}\n# {self.text}\n\n'
        write_file(target, head + text)

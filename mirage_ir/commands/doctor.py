"""Look at this installation: versions, BasicSR, registered names, linked checkouts, devices, disk.

mirage-basicsr doctor
mirage-basicsr doctor --json
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from . import command_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if something will fail."""
    from mirage_ir import doctor

    parser = command_parser('doctor', __doc__)
    parser.add_argument('--json', action='store_true', help='print the findings as JSON')
    arguments = parser.parse_args(argv)
    if not arguments.json:
        return doctor.main()
    found = [(title, finding) for title, examine in doctor.SECTIONS.items() for finding in examine()]
    print(json.dumps([{'section': title, **finding._asdict()} for title, finding in found], indent=1))
    return 1 if any(finding.level == 'FAIL' for _, finding in found) else 0

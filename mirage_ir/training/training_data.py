"""What a run was trained on, kept beside its weights and told with every figure made from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mirage_data.files.write import write_file
from mirage_data.sets.completeness import mixture_notes, published

FILE = 'training_data.json'


def write_training_data(opt: Mapping, dataset: object) -> None:
    """Writes the sources of a run, and how they differ from the published sets, into the run's folder.

    Args:
        opt: Options of the run; read are ``path: experiments_root`` and what `Selection` left out.
        dataset: The training set; others than mixtures have no sources to tell of.
    """
    if not hasattr(dataset, 'ratios'):
        return
    rows = dataset.ratios()
    notes = [opt['left_out']] if opt.get('left_out') else []
    content = {'sources': rows, 'notes': [*notes, *mixture_notes(rows)]}
    write_file(Path(opt['path']['experiments_root'], FILE), json.dumps(content, indent=1, default=str) + '\n')


def data_notes(opt: Mapping) -> dict[str, str]:
    """What the figures of a test run should be read with: incomplete training data, sets left out.

    Args:
        opt: Options of a test run. The notes of the training are found by the place of its weights.

    Returns:
        Entries of the protocol, which tables show below their figures; empty if there is nothing to say.
    """
    notes = {}
    if opt.get('left_out'):
        notes['chosen'] = opt['left_out']
    weights = opt['path'].get('pretrain_network_g')
    if weights:
        try:
            content = json.loads(Path(weights).resolve().parents[1].joinpath(FILE).read_text(encoding='utf-8'))
            if content['notes']:
                notes['trained on incomplete data'] = '; '.join(map(str, content['notes']))
        except (OSError, ValueError, LookupError, TypeError):  # weights from elsewhere
            pass
    parts = []
    for phase, dataset in opt['datasets'].items():
        known = published(dataset, 'test') if phase.startswith('test') else None
        found = known and _images(dataset)
        if found and found != known.samples:
            parts.append(f'{dataset["name"]} {found} of {known.samples}')
    if parts:
        notes['incomplete test sets'] = ', '.join(parts)
    return notes


def _images(dataset: Mapping) -> int | None:
    from mirage_data.files.store import open_store

    root = dataset.get('dataroot_lq') or dataset.get('dataroot_gt')
    try:
        count = len(open_store(root, dataset.get('io_backend'), dataset.get('recursive', True)).names)
    except ValueError:
        return None
    sigma = dataset.get('sigma')
    return count * (len(sigma) if isinstance(sigma, (list, tuple)) else 1)

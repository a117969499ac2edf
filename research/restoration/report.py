"""Tables of measured restoration: Markdown for reading, CSV and JSON for programs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mirage_ir.measuring.tables import markdown_table, published_table
from research.restoration.scores import BM3D, CLASSICAL, INPUT, LINE, METHODS, OPENCV, OURS, SetScores

TITLES = {
    'input': 'input',
    'classical': 'classical',
    'opencv_nlm': "OpenCV's NLM",
    'bm3d': 'BM3D',
    'oracle': 'oracle (known kernel)',
    'ours': 'ours',
}
#: Published networks shown beside ours, where the set is the paper's: the oldest, the best known and MIRAGE's own.
LARGE_MODELS = ('AirNet', 'PromptIR', 'MIRAGE-T')
CLEAN_TARGET = 40.0  # dB that clean photographs should come back with at least
HARM = 0.1  # dB below the input from which on a picture counts as made worse
RIVALS = (INPUT, CLASSICAL, OPENCV, BM3D)


def markdown(scores: Sequence[SetScores], about: Mapping[str, Any]) -> str:
    """Tables of PSNR / SSIM, one for each source of pictures, with the methods' parameters below.

    Args:
        scores: of the sets, in order.
        about: facts on the run, one line each, printed first.
    """
    parts = ['\n'.join(f'- {key}: {value}' for key, value in about.items())]
    for source in dict.fromkeys(row.source for row in scores):
        rows = [row for row in scores if row.source == source]
        methods = [m for m in METHODS if any(row.count(m) for row in rows)]
        models = LARGE_MODELS if any(row.published for row in rows) else ()
        verdicts = [m for m in RIVALS if OURS in methods and m in methods]
        heads = ['set', 'pictures', *(TITLES[m] for m in methods), *(f'{m} (published)' for m in models)]
        heads += [f'ours - {TITLES[m]}' for m in verdicts]
        body = []
        for row in rows:
            cells = [row.name, str(row.pictures), *(_figures(row, m) for m in methods)]
            cells += [_published_figures(row, model) for model in models]
            body.append(cells + [_verdict(row, m) for m in verdicts])
        parts.append(f'**{source}** (PSNR in dB / SSIM)\n\n{markdown_table(heads, body)}')
    parts += [table for table in (_harm(scores), _circumstances(scores)) if table]
    parts.append('\n'.join(_notes(scores)))
    return '\n\n'.join(parts) + '\n'


def write_report(folder: Path, scores: Sequence[SetScores], about: Mapping[str, Any]) -> None:
    """Write `restoration.md`, `.csv` (a line for each set and method) and `.json` (with each picture's figures)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'restoration.md').write_text(markdown(scores, about), encoding='utf-8')
    with open(folder / 'restoration.csv', 'w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['set', 'method', 'pictures', 'psnr', 'ssim', 'parameters'])
        for row in scores:
            for method in METHODS:
                if row.count(method):
                    means = [f'{row.mean(method, metric):.6f}' for metric in ('psnr', 'ssim')]
                    writer.writerow([row.name, method, row.count(method), *means, row.words.get(method, '')])
            for model in LARGE_MODELS:
                values = _published(row, model)
                if values:
                    writer.writerow([row.name, f'{model} (published)', '', values['psnr'], values['ssim'], ''])
    content = {'about': dict(about), 'sets': [_as_json(row) for row in scores]}
    (folder / 'restoration.json').write_text(json.dumps(content, indent=2, allow_nan=False) + '\n', encoding='utf-8')


def _figures(row: SetScores, method: str) -> str:
    psnr, ssim = row.mean(method, 'psnr'), row.mean(method, 'ssim')
    if psnr is None:
        return '-'
    if math.isinf(psnr):
        return 'identical'
    part = '' if row.count(method) == row.pictures else f' ({row.count(method)} of {row.pictures})'
    return f'{psnr:.2f} / {ssim:.3f}{part}'


def _published(row: SetScores, model: str) -> Mapping[str, float]:
    if row.published is None:
        return {}
    number, column = row.published
    return published_table(number).row(model).scores[column]


def _published_figures(row: SetScores, model: str) -> str:
    values = _published(row, model)
    return f'{values["psnr"]:.2f} / {values["ssim"]:.3f}' if values else '-'


def _verdict(row: SetScores, rival: str) -> str:
    """Difference in PSNR to a rival on the pictures that both have, in bold where ours is not better."""
    ours, other = row.mean(OURS, 'psnr', among=rival), row.mean(rival, 'psnr', among=OURS)
    if ours is None or other is None:
        return '-'
    if math.isinf(row.mean(INPUT, 'psnr')):
        return f'above {CLEAN_TARGET:g}' if ours > CLEAN_TARGET else f'**not above {CLEAN_TARGET:g}**'
    return f'{ours - other:+.2f}' if ours > other else f'**{ours - other:+.2f}**'


def _harm(scores: Sequence[SetScores]) -> str:
    """What the means hide: the worst picture, how many were made worse, and how much is brightness and colour."""
    heads = [
        'set',
        'lowest of ours',
        'least gain',
        f'worse by over {HARM:g} dB',
        'input, lines fitted',
        'ours, lines fitted',
    ]
    lines = []
    for row in scores:
        ours, given = row.each(OURS, 'psnr'), row.each(INPUT, 'psnr')
        if not ours:
            continue
        gains = [ours[name] - given[name] for name in ours if math.isfinite(given.get(name, math.inf))]
        lost = str(sum(gain < -HARM for gain in gains)) if gains else '-'
        cells = [row.name, _decibels(min(ours.values())), f'{min(gains):+.2f}' if gains else '-', lost]
        lines.append(cells + [_decibels(row.mean(method, LINE)) for method in (INPUT, OURS)])
    title = '**What the means hide** (PSNR in dB; lines: one for each colour and picture, fitted to the ground truth)'
    return '\n'.join([title, '', markdown_table(heads, lines)]) if lines else ''


def _circumstances(scores: Sequence[SetScores]) -> str:
    """The same pictures between bars, in tiles, in another size: against the set that they are named to be like."""
    by_name = {row.name: row for row in scores}
    lines = []
    for row in scores:
        other = by_name.get(row.against)
        if other is None or not row.count(OURS):
            continue
        here, there = row.each(OURS, 'psnr'), other.each(OURS, 'psnr')
        common = [name for name in here if name in there]
        if not common:
            continue
        changes = [here[name] - there[name] for name in common if math.isfinite(here[name] - there[name])]
        mean = math.fsum(changes) / len(changes) if changes else 0.0
        means = [math.fsum(each[name] for name in common) / len(common) for each in (there, here)]
        cells = [row.name, row.against, str(len(common)), *map(_decibels, means), f'{mean:+.2f}']
        lines.append([*cells, f'{min(changes, default=0.0):+.2f}'])
    heads = ['set', 'against', 'pictures', 'ours there', 'ours here', 'difference', 'worst']
    title = '**The same pictures under other circumstances** (PSNR of ours in dB)'
    return '\n'.join([title, '', markdown_table(heads, lines)]) if lines else ''


def _decibels(value: float | None) -> str:
    return '-' if value is None else 'identical' if math.isinf(value) else f'{value:.2f}'


def _notes(scores: Sequence[SetScores]) -> list[str]:
    notes = []
    if any(row.count(OURS) for row in scores):
        notes.append(
            '- Differences are in PSNR over the pictures that both methods were measured on; bold: ours is '
            'not better. On clean photographs the figure is the output against the input.'
        )
    for row in scores:
        shown = [f'{TITLES[m]}: {words}' for m, words in row.words.items() if row.count(m)]
        if shown:
            notes.append(f'- {row.name}: ' + '; '.join(shown))
    return notes


def _as_json(row: SetScores) -> dict[str, Any]:
    methods = {
        method: {
            'pictures': row.count(method),
            'parameters': row.words.get(method, ''),
            **{metric: _finite(row.mean(method, metric)) for metric in ('psnr', 'ssim', LINE)},
            'each': {name: {k: _finite(v) for k, v in values.items()} for name, values in row.values[method].items()},
        }
        for method in METHODS
        if row.count(method)
    }
    published = {model: dict(_published(row, model)) for model in LARGE_MODELS if _published(row, model)}
    against = {'against': row.against} if row.against else {}
    return {
        'set': row.name,
        'source': row.source,
        **against,
        'pictures': row.pictures,
        'methods': methods,
        'published': published,
    }


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: the PSNR of equal images is null."""
    return value if value is not None and math.isfinite(value) else None

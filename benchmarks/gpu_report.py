"""The report of gpu.py as text."""

from __future__ import annotations

import json
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any, Optional

import report

STEP_TARGET = 2.0  # microseconds of the device for a step forward, of the first case at 'high'
PERPLEXITY_TARGET, TRAINING_TARGET = 83.0, 90.0  # of the medium model, and seconds
_TITLES = {'train': 'training', 'infer': 'inference'}
_SHOWN = 12  # kernels of a profile


def text(results: dict[str, Any]) -> str:
    """Return the report of all parts that were measured."""
    facts = results['facts'][0] if results['facts'] else {}
    gpu = ', '.join(f'{name} {value}' for name, value in facts.get('facts', {}).items())
    parts = [gpu or 'no facts']
    for make in (_comparisons, _recurrences, _kernels, _profiles, _hops, _grids, _verdicts):
        parts += make(results)
    parts += [_training(entry) for entry in results['train']]
    parts.append(_table('processes', [_task(task) for task in results['tasks']]))
    for title in ('missed', 'wrong'):
        parts += ['\n'.join(f'{title}: {line}' for line in results[title])]
    return '\n\n'.join(part for part in parts if part)


def _table(title: str, rows: Sequence[dict[str, str]]) -> str:
    """Return a table under a title; the keys of the first row are its header."""
    return f'{title}\n' + report.table([list(rows[0]), *(list(row.values()) for row in rows)])


def _entries(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cases and updates, including those that failed at once."""
    return [*results['layers'], *results['updates']]


def _comparisons(results: dict[str, Any]) -> list[str]:
    rows = []
    for entry in _entries(results):
        for found in entry.get('comparisons', ()):
            for mode, times in found['times'].items():
                target = entry['target'] if (found['precision'], mode) == ('high', 'train') else ''
                row = {
                    'batch/time/units/layers': entry['name'],
                    'precision': found['precision'],
                    'difference': _formatted('{:.1e}', found.get('difference')),
                    'mode': _TITLES[mode] + found['by'],
                    **_beside('ms', times),
                    'target': f'{target}',
                }
                for part in ('device', 'host'):
                    of_part = {name: split[part] for name, split in found['split'][mode].items()}
                    row.update(_beside(part, of_part))
                rows.append(row)
    title = 'Milliseconds a call, then of device and host alone; ratio: torch / chainer_lstm'
    return [_table(title, rows)] if rows else []


def _beside(title: str, times: dict[str, float]) -> dict[str, str]:
    ratio = times['torch'] / times['ours'] if 'torch' in times else None
    cells = {
        f'{title}: {name}': _formatted('{:.3f}', times[name] * 1e3 if name in times else None)
        for name in ('ours', 'torch')
    }
    return {**cells, f'{title}: ratio': _formatted('{:.2f}x', ratio)}


def _formatted(form: str, value: Optional[float]) -> str:
    return '-' if value is None else form.format(value)


def _recurrences(results: dict[str, Any]) -> list[str]:
    limits = results['facts'][0] if results['facts'] else {}
    rows = [
        {
            'one layer': entry['name'],
            'engine': found['engine'],
            'precision': found['precision'],
            'way': found['way'],
            'us/step': f'{found["microseconds a step"]:.2f}',
            'host us': f'{found["microseconds of the host"]:.0f}',
            'GB/s': f'{found["bytes a second"] / 1e9:.0f}',
            'of copy': _share(found['bytes a second'], limits.get('copy')),
            'TFLOP/s': f'{found["operations a second"] / 1e12:.2f}',
            'of product': _share(found['operations a second'], limits.get(found['precision'])),
        }
        for entry in results['layers']
        for found in entry.get('recurrences', ())
    ]
    reached = ', '.join(
        f'{name} {limits[name] / 1e9:.0f}' for name in ('copy', 'highest', 'high') if name in limits
    )
    title = f'The recurrence alone; a copy (GB/s) and products (GFLOP/s) here reach: {reached}'
    return [_table(title, rows)] if rows else []


def _share(value: float, limit: Optional[float]) -> str:
    return '-' if limit is None else f'{value / limit:.1%}'


def _kernels(results: dict[str, Any]) -> list[str]:
    rows = [
        {'case': entry['name'], **{name: str(value) for name, value in found.items()}}
        for entry in results['layers']
        for found in entry.get('kernels', ())
    ]
    return [_table('What the persistent kernels take of a multiprocessor', rows)] if rows else []


def _profiles(results: dict[str, Any]) -> list[str]:
    tables = []
    for entry in _entries(results):
        for found in entry.get('profiles', ()):
            kernels = found['kernels']
            calls = sum(row['calls'] for row in kernels)
            spent = sum(row['microseconds'] for row in kernels)
            title = f'{entry["name"]}, training, {found["side"]}: {calls} calls, {spent:.0f} us'
            rows = [
                {
                    'kernel': row['kernel'][:60],
                    'calls': str(row['calls']),
                    'us': f'{row["microseconds"]:.1f}',
                }
                for row in kernels[:_SHOWN]
            ]
            tables.append(_table(title, rows) if rows else title)
    return tables


def _hops(results: dict[str, Any]) -> list[str]:
    rows = [
        {
            'through': found['way'],
            'blocks': str(found['blocks']),
            'us': f'{found["microseconds"]:.3f}',
        }
        for entry in results['hops']
        for found in entry.get('rounds', ())
    ]
    return [_table('A word from every block to every block', rows)] if rows else []


def _grids(results: dict[str, Any]) -> list[str]:
    """Return the engine's grid and the fastest one; gpu.json has all of them."""
    times = [found for entry in results['grids'] for found in entry.get('times', ())]
    of_kind: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for found in times:
        kind = found['case'], found['precision'], found['direction']
        of_kind.setdefault(kind, []).append(found)
    rows = []
    for kind, grids in of_kind.items():
        row = dict(zip(('one sequence', 'precision', 'way'), kind))
        fastest = min(grids, key=lambda found: found['microseconds a step'])
        for title, found in (
            ('taken', next((found for found in grids if found['taken']), None)),
            ('fastest', fastest),
        ):
            row[f'{title} grid'] = '-' if found is None else found['grid']
            step = None if found is None else found['microseconds a step']
            row[f'{title}: us/step'] = _formatted('{:.2f}', step)
        rows.append(row)
    return [_table(f'Of {len(times)} grids that fit', rows)] if rows else []


def _verdicts(results: dict[str, Any]) -> list[str]:
    lines: dict[str, str] = {}
    for entry in _entries(results):
        lines.update(entry.get('verdicts', {}))
    named = '\n'.join(f'{key} {verdict}' for key, verdict in lines.items())
    return [f"What 'auto' found of the persistent engine\n{named}"] if lines else []


def _training(entry: dict[str, Any]) -> str:
    rows = [{name: f'{value:.4g}' for name, value in epoch.items()} for epoch in entry['epochs']]
    return _table('PTB medium', rows) if rows else 'PTB medium: not one epoch'


def _task(task: dict[str, Any]) -> dict[str, str]:
    return {
        'part': task['part'],
        'name': task['name'],
        'ended': task['status'],
        'seconds': f'{task["seconds"]:.0f}',
        'clocks': ', '.join(f'{name} {value:g}' for name, value in task['clocks'].items()) or '-',
    }


def clocks(lines: Sequence[str]) -> dict[str, float]:
    """Return the figures of lines of nvidia-smi: timestamp, MHz, MHz, W, degrees."""
    rows = []
    for line in lines:
        try:
            rows.append([float(cell) for cell in line.split(',')[1:5]])
        except ValueError:  # a figure that nvidia-smi does not know, or half a line
            continue
    complete = [row for row in rows if len(row) == 4]
    if not complete:
        return {}
    sm, memory, power, temperature = zip(*complete)
    return {
        'least SM MHz': min(sm),
        'median SM MHz': statistics.median(sm),
        'median memory MHz': statistics.median(memory),
        'most W': max(power),
        'most degrees': max(temperature),
    }


def epochs(log: pathlib.Path) -> list[dict[str, float]]:
    """Return the last entry with a validation of each epoch in a log of the PTB example."""
    try:
        entries = json.loads(log.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return []
    names = ('epoch', 'perplexity', 'val_perplexity', 'words/sec', 'elapsed_time')
    return [
        {name: entry[name] for name in names if name in entry}
        for entry in entries
        if 'val_perplexity' in entry
    ]


def wrong(results: dict[str, Any]) -> list[str]:
    """Return processes that failed, errors, and results that differ from torch's."""
    found = [
        f'{task["part"]}, {task["name"]}: {task["status"]}'
        for task in results['tasks']
        if task['status'] != 'ok'
    ]
    for task in results['tasks']:
        for entry in results[task['part']]:
            if entry['name'] == task['name']:
                found += entry['errors']
    for entry in _entries(results):
        found += [
            f'{entry["name"]} at {comparison["precision"]!r}: chainer_lstm and torch differ by '
            f'{comparison["difference"]:.1e}'
            for comparison in entry.get('comparisons', ())
            if not comparison['agrees']
        ]
    return found


def missed(results: dict[str, Any]) -> list[str]:
    """Return the targets that were not reached."""
    found = []
    for entry in _entries(results):
        for comparison in entry.get('comparisons', ()):
            times = comparison['times'].get('train', {})
            if comparison['precision'] == 'high' and 'torch' in times:
                ratio = times['torch'] / times['ours']
                if ratio < entry['target']:
                    found.append(
                        f'{entry["name"]}{comparison["by"]}: {ratio:.2f}x of torch, '
                        f'the target is {entry["target"]}x'
                    )
    for entry in results['layers'][:1]:
        for step in entry.get('recurrences', ()):
            of = step['engine'], step['precision'], step['way']
            taken = step['microseconds a step']
            if of == ('persistent', 'high', 'forward') and taken > STEP_TARGET:
                found.append(f'{entry["name"]}: {taken:.2f} us a step, the target is {STEP_TARGET}')
    for entry in results['train']:
        last = entry['epochs'][-1] if entry['epochs'] else {}
        perplexity, spent = last.get('val_perplexity'), last.get('elapsed_time')
        if perplexity is None or perplexity > PERPLEXITY_TARGET or spent > TRAINING_TARGET:
            found.append(
                f'PTB medium: validation perplexity {perplexity} after {spent} seconds, the target '
                f'is {PERPLEXITY_TARGET} within {TRAINING_TARGET}'
            )
    return found

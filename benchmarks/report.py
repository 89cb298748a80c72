"""Describe the machine, and show figures as tables and charts."""

from __future__ import annotations

import datetime
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any, Optional

from chainer_lstm.kernels import native

MODES = {'train': 'training', 'infer': 'inference'}
# what is compared with what; the order is also that of the turns
PAIRS = (
    ('NStepLSTM', 'chainer NStepLSTM'),
    ('forward_sequence', 'torch LSTM'),
    ('LSTM steps', 'chainer LSTM steps'),
)


def machine() -> dict[str, Any]:
    """Return the facts that figures depend on; None for facts that this system does not tell."""
    affinity = getattr(os, 'sched_getaffinity', None)
    load = getattr(os, 'getloadavg', None)
    return {
        'date': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'system': platform.platform(),
        'python': platform.python_version(),
        **_cpu(),
        'caches': _caches(),
        'instruction sets': native.instruction_sets(),
        'threads': threads(),
        'cores': os.cpu_count(),
        'cores usable': len(affinity(0)) if affinity else None,
        'load before': load()[0] if load else None,
        'environment': {
            name: value for name, value in sorted(os.environ.items()) if name.endswith('_THREADS')
        },
    }


def processor(machine: dict[str, Any]) -> str:
    """Return the name of the processor and the threads and instructions that the engine uses."""
    sets = machine['instruction sets'] or ['no native engine']
    return (
        f'{machine["cpu"]}, family {machine["cpu family"]} model {machine["cpu model"]}, '
        f'{sets[0]}, {machine["threads"]} threads'
    )


def details(machine: dict[str, Any]) -> str:
    """Return one line about the machine."""
    caches = ', '.join(f'{name} {size}' for name, size in machine['caches'].items())
    return (
        f'{processor(machine)}, {machine["cores usable"] or machine["cores"]} cores, {caches}, '
        f'load {machine["load before"]}'
    )


def threads() -> Optional[int]:
    """Return how many threads the native engine uses; None if it was not built."""
    library = native.library()
    return None if library is None else library.chainer_lstm_get_num_threads()


def _cpu() -> dict[str, Optional[str]]:
    """Return the processor's name, family and model."""
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(':')
        found.setdefault(key.strip(), value.strip())
    return {
        'cpu': found.get('model name') or platform.processor() or None,
        'cpu family': found.get('cpu family'),
        'cpu model': found.get('model'),
    }


def _caches() -> dict[str, str]:
    """Return the sizes of the first core's caches, by level and type."""
    found = {}
    for folder in sorted(pathlib.Path('/sys/devices/system/cpu/cpu0/cache').glob('index*')):
        try:
            level, kind, size = (
                (folder / name).read_text().strip() for name in ('level', 'type', 'size')
            )
        except OSError:
            continue
        found[f'L{level} {kind}'] = size
    return found


def tables(results: dict[str, Any]) -> str:
    """Return tables of times and ratios, with a column for each shape."""
    shapes = results['shapes']
    head = ['batch/time/units/layers', *(entry['name'] for entry in shapes)]
    names = [
        name for pair in PAIRS for name in pair if any(name in entry['parity'] for entry in shapes)
    ]
    times, ratios = [], []
    for mode, title in MODES.items():
        times += [
            [f'{title}, {name}', *(_time(entry['times'][mode].get(name)) for entry in shapes)]
            for name in names
        ]
        ratios += [
            [
                f'{title}, {measured} / {peer}',
                *(_ratio(entry['ratios'][mode].get(measured)) for entry in shapes),
            ]
            for measured, peer in PAIRS
            if peer in names
        ]
    memory = [
        'peak memory of forward_sequence / what it needs',
        *(f'{entry["memory"]["ratio"]:.2f}' for entry in shapes),
    ]
    parts = ['Milliseconds a call: median (fastest-slowest)', table([head, *times])]
    if ratios:
        parts += ['Times as ratios: below 1 the first is the faster', table([head, *ratios])]
    parts += ['One layer', table([head, memory])]
    return '\n\n'.join(parts)


def _time(figures: Optional[dict[str, Any]]) -> str:
    if figures is None:
        return '-'
    digits = 0 if figures['median'] >= 0.1 else 1 if figures['median'] >= 0.001 else 3
    median, low, high = (f'{figures[key] * 1e3:.{digits}f}' for key in ('median', 'min', 'max'))
    return f'{median} ({low}-{high})'


def _ratio(value: Optional[float]) -> str:
    return '-' if value is None else f'{value:.2f}'


def table(rows: Sequence[Sequence[str]]) -> str:
    first, *others = [len(max(column, key=len)) for column in zip(*rows)]
    return '\n'.join(
        '  '.join(
            [row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others))]
        )
        for row in rows
    )


def chart(results: dict[str, Any], path: pathlib.Path) -> None:
    """Draw how many times as fast as its peers this package is: a bar for the mean over the cases
    of a figure that has one, a line to the worst.

    Raises:
        ImportError: there is no matplotlib.
    """
    from matplotlib.figure import Figure

    bars = [
        (goal['bar'], goal['mean'], goal['worst'])
        for row in results['rows'].values()
        for goal in row['goals']
        if goal['bar'] and goal['met'] is not None
    ]
    bars.sort(key=lambda bar: -bar[1])
    figure = Figure(figsize=(8, 1.2 + 0.36 * len(bars)), layout='constrained')
    axes = figure.subplots()
    names, means, worst = zip(*bars) if bars else ((), (), ())
    colors = ['#6baed6' if mean >= 1 else '#fdae6b' for mean in means]
    drawn = axes.barh(names, means, color=colors)
    for bar, mean in zip(drawn, means):
        axes.text(0.06, bar.get_y() + bar.get_height() / 2, f'{mean:.2f}', va='center')
    axes.vlines(worst, *_edges(drawn), color='#08519c', label='worst shape')
    axes.axvline(1, color='black', linewidth=0.8)
    axes.invert_yaxis()
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_xlabel(f'times as fast as the peer; {processor(results["machine"])}')
    if bars:
        axes.legend(loc='lower right')
    figure.savefig(path, dpi=120)


def _edges(bars: Any) -> tuple[list[float], list[float]]:
    """Return where bars begin and end in the direction of their width."""
    begin = [bar.get_y() for bar in bars]
    return begin, [y + bar.get_height() for y, bar in zip(begin, bars)]

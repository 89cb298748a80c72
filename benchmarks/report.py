"""The machine and the figures, for people."""

from __future__ import annotations

import datetime
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any, Optional

MODES = {'train': 'training', 'infer': 'inference'}
# what is compared with what; the order is also that of the turns
PAIRS = (
    ('ours NStepLSTM', 'chainer NStepLSTM'),
    ('ours forward_sequence', 'torch LSTM'),
    ('ours LSTM steps', 'chainer LSTM steps'),
)
COLORS = dict(
    zip(
        [name for pair in PAIRS for name in pair],
        ('#08519c', '#9ecae1', '#a63603', '#fdae6b', '#006d2c', '#a1d99b'),
    )
)


def machine() -> dict[str, Any]:
    """What the figures depend on; None for what this system does not tell."""
    affinity = getattr(os, 'sched_getaffinity', None)
    load = getattr(os, 'getloadavg', None)
    return {
        'date': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'system': platform.platform(),
        'python': platform.python_version(),
        'cpu': _cpu(),
        'cores': os.cpu_count(),
        'cores usable': len(affinity(0)) if affinity else None,
        'load before': load()[0] if load else None,
        'environment': {
            name: value for name, value in sorted(os.environ.items()) if name.endswith('_THREADS')
        },
    }


def _cpu() -> Optional[str]:
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.processor() or None)


def tables(results: dict[str, Any]) -> str:
    """Times, then ratios, a column for each shape."""
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
                f'{title}, {ours} / {peer}',
                *(_ratio(entry['ratios'][mode].get(ours)) for entry in shapes),
            ]
            for ours, peer in PAIRS
            if peer in names
        ]
    memory = [
        'peak memory of forward_sequence / what it needs',
        *(f'{entry["memory"]["ratio"]:.2f}' for entry in shapes),
    ]
    parts = ['Milliseconds a call: median (fastest-slowest)', table([head, *times])]
    if ratios:
        parts += ['Times as ratios: below 1 ours is the faster', table([head, *ratios])]
    ragged = results['ragged']
    most = ragged['shape']['time']
    parts += [
        'One layer',
        table([head, memory]),
        f'ours NStepLSTM at {"/".join(map(str, ragged["shape"].values()))}, '
        f'lengths drawn from 1 to {most}: '
        f'{ragged["ratio"]:.2f} times the time a token as with all lengths {most}',
    ]
    last = results['last']
    rows = [[f'training, {name}', _time(figures)] for name, figures in last['times'].items()]
    if last['ratio'] is not None:
        rows.append(['as a ratio', _ratio(last['ratio'])])
    parts += [
        f'Loss on the last output only, {"/".join(map(str, last["shape"].values()))}, '
        'milliseconds a call',
        table(rows),
    ]
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
    """Draws the medians as bars.

    Raises:
        ImportError: there is no matplotlib.
    """
    from matplotlib.figure import Figure

    shapes = results['shapes']
    figure = Figure(figsize=(12, 8), layout='constrained')
    for axes, (mode, title) in zip(figure.subplots(2, 1), MODES.items()):
        names = [name for name in COLORS if any(name in entry['times'][mode] for entry in shapes)]
        width = 0.8 / max(len(names), 1)
        for k, name in enumerate(names):
            bars = [
                (x, entry['times'][mode][name]['median'] * 1e3)
                for x, entry in enumerate(shapes)
                if name in entry['times'][mode]
            ]
            drawn = axes.bar(
                [x + (k - (len(names) - 1) / 2) * width for x, _ in bars],
                [y for _, y in bars],
                width,
                label=name,
                color=COLORS[name],
            )
            axes.bar_label(drawn, [f'{y:.{0 if y >= 100 else 1}f}' for _, y in bars], fontsize=6)
        axes.set(title=title, ylabel='milliseconds', yscale='log')
        axes.yaxis.set_major_formatter('{x:g}')
        axes.yaxis.set_minor_formatter('')
        axes.set_xticks(range(len(shapes)), [entry['name'] for entry in shapes])
    if names:
        figure.legend(
            *axes.get_legend_handles_labels(), loc='outside upper center', ncols=3, fontsize='small'
        )
    axes.set_xlabel(f'batch/time/units/layers, float32; {results["machine"]["cpu"]}')
    figure.savefig(path, dpi=120)

"""What gpu.py found, for people."""

from __future__ import annotations

from typing import Any

import report

STEP_TARGET = 2.0  # microseconds of the device for a step forward, of the first case at 'high'


def tables(results: dict[str, Any]) -> str:
    """Whole sequences and updates beside torch's, then the recurrence alone."""
    rows = [
        [
            'batch/time/units/layers',
            'precision',
            'difference',
            'mode',
            'ours',
            'torch',
            'ratio',
            'target',
            'device: ours',
            'torch',
            'ratio',
            'host: ours',
            'torch',
            'ratio',
        ]
    ]
    steps = [
        [
            'one layer',
            'engine',
            'precision',
            'way',
            'us/step',
            'host us',
            'GB/s',
            'of copy',
            'TFLOP/s',
            'of product',
        ]
    ]
    for entry in [*results['cases'], *results['updates']]:
        for found in entry['comparisons']:
            for mode, times in found['times'].items():
                device, host = (
                    {name: split[part] for name, split in found['split'][mode].items()}
                    for part in ('device', 'host')
                )
                target = (
                    f'{entry["target"]}x' if (found['precision'], mode) == ('high', 'train') else ''
                )
                rows.append(
                    [
                        entry['name'],
                        found['precision'],
                        _or_dash('difference', found, '{:.1e}'),
                        report.MODES[mode],
                        *_cells(times),
                        target,
                        *_cells(device),
                        *_cells(host),
                    ]
                )
        for found in entry.get('recurrences', ()):
            steps.append(
                [
                    entry['name'],
                    found['engine'],
                    found['precision'],
                    found['way'],
                    f'{found["microseconds a step"]:.2f}',
                    f'{found["microseconds of the host"]:.0f}',
                    f'{found["bytes a second"] / 1e9:.0f}',
                    f'{found["of copy"]:.1%}',
                    f'{found["operations a second"] / 1e12:.2f}',
                    f'{found["of product"]:.1%}',
                ]
            )
    limits = results['ceilings']
    return '\n\n'.join(
        [
            'Milliseconds a call, then of the device and of the host alone; ratio: torch / ours; '
            f'on {results["machine"]["gpu"]}',
            report.table(rows),
            f'The recurrence alone; a copy here reaches {limits["copy"] / 1e9:.0f} GB/s, a product '
            f'{limits["highest"] / 1e12:.1f} TFLOP/s, with TF32 {limits["high"] / 1e12:.1f}',
            report.table(steps),
        ]
    )


def _or_dash(key: str, values: dict[str, Any], form: str) -> str:
    return form.format(values[key]) if key in values else '-'


def _cells(times: dict[str, float]) -> list[str]:
    ratio = f'{times["torch"] / times["ours"]:.2f}x' if 'torch' in times else '-'
    return [
        *(f'{times[name] * 1e3:.3f}' if name in times else '-' for name in ('ours', 'torch')),
        ratio,
    ]


def wrong(results: dict[str, Any]) -> list[str]:
    """Tests that failed, errors, and numbers that differ from torch's."""
    found = []
    if results.get('tests', {}).get('passed') is False:
        found.append(f'tests: {results["tests"]["summary"]}')
    for entry in [*results.get('cases', ()), *results.get('updates', ())]:
        found += entry['errors']
        found += [
            f'{entry["name"]} at {comparison["precision"]!r}: ours and torch differ by '
            f'{comparison["difference"]:.1e}'
            for comparison in entry['comparisons']
            if not comparison['agrees']
        ]
    return found


def missed(results: dict[str, Any]) -> list[str]:
    """Targets that were not reached."""
    found = []
    for entry in [*results.get('cases', ()), *results.get('updates', ())]:
        for comparison in entry['comparisons']:
            times = comparison['times'].get('train', {})
            if comparison['precision'] == 'high' and 'torch' in times:
                ratio = times['torch'] / times['ours']
                if ratio < entry['target']:
                    found.append(
                        f'{entry["name"]}: {ratio:.2f}x of torch, the target is {entry["target"]}x'
                    )
    step = next(
        (
            found['microseconds a step']
            for entry in results.get('cases', ())
            for found in entry['recurrences']
            if (found['engine'], found['precision'], found['way']) == ('auto', 'high', 'forward')
        ),
        0,
    )
    if step > STEP_TARGET:
        found.append(
            f'{results["cases"][0]["name"]}: {step:.2f} us a step, the target is {STEP_TARGET}'
        )
    return found

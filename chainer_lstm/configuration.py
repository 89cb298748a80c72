"""Show the versions, engines and devices that this installation computes with."""

from __future__ import annotations

import importlib.util
import platform
from importlib import metadata

import chainer_lstm
from chainer_lstm import gpu
from chainer_lstm.kernels import native
from chainer_lstm.kernels.native.missing import why_missing

_LIBRARIES = ('chainer', 'numpy', 'cupy', 'torch', 'matplotlib')


def show_config() -> None:
    """Print a table of versions, engines, devices, threads and instruction sets.

    On a machine with a GPU it also has the measurements of ``lstm_engine = 'auto'``.
    """
    rows = {
        'chainer_lstm': chainer_lstm.__version__,
        'Python': f'{platform.python_version()} on {platform.system()} {platform.machine()}',
        **{name: _version(name) for name in _LIBRARIES},
        'engine numpy': 'ready',
        'engine native': _native(),
        'engines cupy, persistent': _cupy(),
    }
    width = max(map(len, rows))
    print('\n'.join(f'{name:{width}}  {value}' for name, value in rows.items()))
    if gpu.missing() is None:
        _show_verdicts()


def _version(name: str) -> str:
    if importlib.util.find_spec(name) is None:
        return 'not installed'
    distributions = metadata.packages_distributions().get(name, [name])
    return ', '.join(
        f'{metadata.version(each)} ({each})' if each != name else metadata.version(each)
        for each in dict.fromkeys(distributions)
    )


def _native() -> str:
    library = native.library()
    if library is None:
        return f'{why_missing()}; numpy is used'
    return (
        f'ready: {" > ".join(native.instruction_sets())}, '
        f'{library.chainer_lstm_get_num_threads()} threads'
    )


def _cupy() -> str:
    missing = gpu.missing()
    if missing is not None:
        return missing
    import cupy

    devices = [cupy.cuda.runtime.getDeviceProperties(k) for k in range(gpu.number())]
    return 'ready: ' + ', '.join(
        f'{device["name"].decode()} (compute capability {device["major"]}.{device["minor"]})'
        for device in devices
    )


def _show_verdicts() -> None:
    """Print which engine was measured faster, in this process and in earlier ones."""
    from chainer_lstm.kernels.engines import auto

    for number in range(gpu.number()):
        for key, verdict in auto.verdicts(number).items():
            print(f'persistent on GPU {number}: {key} {verdict}')

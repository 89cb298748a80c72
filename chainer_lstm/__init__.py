"""Chainer's LSTM family on today's Python, NumPy, CuPy and GPUs.

Importing it makes Chainer 7.8.1 importable again.  Use ``chainer_lstm.links`` instead of
``chainer.links``, or call ``install()`` to replace Chainer's links by them.
"""

import importlib
from typing import TYPE_CHECKING, Any

from chainer_lstm import compat

if TYPE_CHECKING:
    from chainer_lstm.configuration import show_config as show_config
    from chainer_lstm.installation import install as install
    from chainer_lstm.installation import installed as installed
    from chainer_lstm.installation import uninstall as uninstall

compat.install()

__version__ = '0.1.0'

_MODULES = (
    'cells',
    'datasets',
    'functions',
    'initializers',
    'interop',
    'kernels',
    'links',
    'models',
    'optimizers',
    'training',
)
_INSTALLATION = ('install', 'installed', 'uninstall')


def __getattr__(name: str) -> Any:
    # imported when first asked for: with `import chainer_lstm` alone, Chainer is not loaded yet
    if name in _INSTALLATION:
        return getattr(importlib.import_module('chainer_lstm.installation'), name)
    if name in _MODULES:
        return importlib.import_module(f'chainer_lstm.{name}')
    if name == 'show_config':
        return importlib.import_module('chainer_lstm.configuration').show_config
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

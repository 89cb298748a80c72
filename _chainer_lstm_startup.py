"""Let ``import chainer`` work without ``import chainer_lstm`` before it.

``chainer_lstm.pth`` imports this module whenever an interpreter starts, so it imports only modules
that are loaded already.  ``CHAINER_LSTM_STARTUP=0`` in the environment switches it off.
"""

import os
import sys


class Finder:
    """Find Chainer as the other finders do, with a loader that imports chainer_lstm first."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        # Python holds a lock of all imports here: an import may wait for ever
        if fullname in ('chainer', 'chainermn', 'onnx_chainer') and target is None:
            for finder in sys.meta_path:
                if finder is not cls and hasattr(finder, 'find_spec'):
                    spec = finder.find_spec(fullname, path)
                    if spec is not None:
                        if spec.loader is not None:
                            spec.loader = Loader(spec.loader)
                        return spec
        return None


class Loader:
    """Import chainer_lstm, then leave the module to its own loader."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        spec.loader = self._loader  # which Python goes on with
        try:  # noqa: SIM105  (contextlib would have to be imported)
            import chainer_lstm  # noqa: F401
        except ImportError:
            pass  # Chainer is of another version, and left as it is
        return spec.loader.create_module(spec)

    def __getattr__(self, name):
        return getattr(self._loader, name)


if os.environ.get('CHAINER_LSTM_STARTUP') != '0':
    sys.meta_path.insert(0, Finder)

"""Let ``import chainer`` work without ``import chainer_lstm`` before it.

``chainer_lstm.pth`` imports this module whenever an interpreter starts, so it imports nothing but
what is there already.  ``CHAINER_LSTM_STARTUP=0`` in the environment switches it off.
"""
import os
import sys


class Finder:
    """Find no module, but import chainer_lstm before Chainer is looked for.

    Importing chainer_lstm puts the finder of ``chainer_lstm.compat`` into ``sys.meta_path``; other
    threads that import Chainer meanwhile wait here for that import.
    """

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname in ('chainer', 'chainermn', 'onnx_chainer'):
            try:
                import chainer_lstm  # noqa: F401
            except ImportError:  # Chainer is absent or of another version, and is left to itself
                return None
        return None


if os.environ.get('CHAINER_LSTM_STARTUP') != '0':
    sys.meta_path.insert(0, Finder)

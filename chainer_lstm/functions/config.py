"""The package's entries in ``chainer.config``; set them like any other of Chainer's.

``lstm_engine``
    'auto' (the default), or the engine that must be used, on the CPU 'numpy'
    or 'native', on a GPU 'cupy' or 'persistent'.  'native' is C++, and the
    choice of 'auto' if it was built.  'persistent' runs a whole sequence in one
    launch; it computes float32 and float16 sequences of LSTM cells whose
    recurrent weights fit into the GPU (compute capability 8.0; on an H100 up to
    1392 units, at 'medium' 2112).  With 'persistent' selected, a sequence that
    it cannot run raises ValueError.

    On a GPU 'auto' measures: the first sequence of a kind is computed by 'cupy',
    and 'persistent' computes copies of it.  If the results agree and it is
    faster, it computes all later ones of this kind (cell, dtype, direction,
    units, batch rounded up to a multiple of 8, few or many steps, one or two
    directions at once, precision).  A result that differs, or a timeout, is a
    RuntimeWarning, once; ``show_config()`` prints all verdicts.  They are kept
    for later processes in the folder CHAINER_LSTM_CACHE_DIR
    (``~/.cache/chainer_lstm``), by device, driver, versions and kernel source;
    delete its files to measure again.  With
    ``chainer.config.cudnn_deterministic`` nothing is measured and 'auto' is
    'cupy', because a choice by measured times can differ from run to run, and
    with it the last bits of the results.

``lstm_matmul_precision``
    How exact float32 products have to be, in PyTorch's words: 'highest' (the
    default), 'high' (TF32 is enough) or 'medium' (bfloat16 is enough).
    'persistent' multiplies by the recurrent weights in bfloat16 three times
    ('highest': both numbers in two parts, which leaves 16 bits of each), in
    TF32 or in bfloat16; at 'high' and 'medium' the GPU's other products are
    TF32.  Sequences of float16 it computes in float32, with recurrent weights in
    TF32, which has all bits of float16, or at 'medium' in bfloat16.  All other
    engines compute at 'highest', whatever is allowed.

``lstm_forget_bias``
    The default of ``forget_bias_init`` in ``links.LSTM`` and
    ``StatelessLSTM``, 1 as in Chainer from v2 on; 0 was that of Chainer v1.
"""

from __future__ import annotations

from typing import Any

import chainer
import numpy

from chainer_lstm import kernels
from chainer_lstm.chainer_private import setting

PRECISIONS = ('highest', 'high', 'medium')

for _name, _value in (
    ('lstm_engine', 'auto'),
    ('lstm_matmul_precision', 'highest'),
    ('lstm_forget_bias', 1),
):
    if not hasattr(chainer.global_config, _name):
        setattr(chainer.global_config, _name, _value)


def engine_of(x: Any) -> kernels.Engine:
    """Return the engine for an array under the current configuration.

    Raises:
        ValueError: an entry of ``chainer.config`` has an unknown value, or
            names an engine that cannot compute the array.
    """
    precision = setting('lstm_matmul_precision')
    if precision not in PRECISIONS:
        raise ValueError(
            f'expected chainer.config.lstm_matmul_precision to be one of {PRECISIONS}, '
            f'got {precision!r}'
        )
    engine = setting('lstm_engine')
    if isinstance(x, numpy.ndarray):
        return kernels.engine_of(x, engine, precision)
    return kernels.engine_of(x, engine, precision, not chainer.config.cudnn_deterministic)


def is_static_graph() -> bool:
    """Return whether ``chainer.static_graph`` records, which replays Chainer's own functions."""
    return setting('schedule_func') is not None


def is_observed() -> bool:
    """Return whether Chainer has to see every node: for hooks, in debug mode, in a static graph."""
    return bool(chainer.get_function_hooks() or setting('debug') or is_static_graph())

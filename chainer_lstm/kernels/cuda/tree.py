"""The gates of tree LSTMs in one CuPy kernel, with the equations of ``cells/tree.py``.

A kernel is generated for each number of children, and compiled at its first use.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from chainer_lstm.arrays import Array
from chainer_lstm.cells.tree import Gates

_PREAMBLE = """
template <typename T> struct Real { typedef T type; };
template <> struct Real<float16> { typedef float type; };  // float16 is computed in float32

template <typename R> __device__ R sigmoid(R x) {
    const R half = 0.5;
    return tanh(x * half) * half + half;
}
"""
_TYPE = 'typedef Real<T>::type R;'


def forward(xp: Any, gates: Gates, cs: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Activate gates in place; return c, tanh(c) and h, see ``cells.tree.combine``."""
    kernel = _forward(xp, len(gates.a), len(gates.f))
    c, t, h = (xp.empty(gates.o.shape, gates.o.dtype) for _ in range(3))
    kernel(*cs, *_flat(gates), c, t, h)
    return c, t, h


def backward(
    xp: Any,
    gates: Gates,
    cs: Sequence[Array],
    t: Array,
    gc: Any,
    gh: Any,
    room: Gates,
    gcs: Sequence[Array],
) -> None:
    """Compute the gradients, see ``cells.tree.backward``."""
    _backward(xp, len(gates.a), len(gates.f))(*cs, *_flat(gates), t, gc, gh, *_flat(room), *gcs)


def _flat(gates: Gates) -> list[Array]:
    return [*gates.a, *gates.i, gates.o, *gates.f]


def _names(inputs: int, children: int, prefix: str = '') -> list[str]:
    """Return the names of gates in the order of ``_flat``."""
    counts = (('a', inputs), ('i', inputs), ('o', 1), ('f', children))
    return [f'{prefix}{gate}{k}' for gate, count in counts for k in range(count)]


def _typed(names: Sequence[str]) -> str:
    return ', '.join(f'T {name}' for name in names)


@functools.cache
def _forward(xp: Any, inputs: int, children: int) -> Any:
    body = [_TYPE, 'R sum = 0;']
    for k in range(inputs):
        body.append(f'{{ R a = tanh(R(a{k})), i_ = sigmoid(R(i{k}));')
        body.append(f'  a{k} = a; i{k} = i_; sum += a * i_; }}')
    for k in range(children):
        body.append(f'{{ R f = sigmoid(R(f{k})); f{k} = f; sum += f * R(c{k}); }}')
    body += ['R t_ = tanh(sum), o = sigmoid(R(o0));', 'o0 = o; c = sum; t = t_; h = o * t_;']
    given = [f'c{k}' for k in range(children)]
    written = [*_names(inputs, children), 'c', 't', 'h']
    return _kernel(xp, given, written, body, f'tree_forward_{inputs}_{children}')


@functools.cache
def _backward(xp: Any, inputs: int, children: int) -> Any:
    body = [
        _TYPE,
        'R o = o0, t_ = t, gh_ = gh, g = gh_ * o * (1 - t_ * t_) + R(gc);',
        'go0 = gh_ * t_ * (o - o * o);',
    ]
    for k in range(inputs):
        body.append(f'{{ R a = a{k}, i_ = i{k};')
        body.append(f'  ga{k} = g * i_ * (1 - a * a); gi{k} = g * a * (i_ - i_ * i_); }}')
    for k in range(children):
        body.append(f'{{ R f = f{k}; gf{k} = g * R(c{k}) * (f - f * f); gc{k} = g * f; }}')
    given = [*(f'c{k}' for k in range(children)), *_names(inputs, children), 't', 'gc', 'gh']
    written = [*_names(inputs, children, 'g'), *(f'gc{k}' for k in range(children))]
    return _kernel(xp, given, written, body, f'tree_backward_{inputs}_{children}')


def _kernel(
    xp: Any, given: Sequence[str], written: Sequence[str], body: Sequence[str], name: str
) -> Any:
    return xp.ElementwiseKernel(
        _typed(given), _typed(written), '\n'.join(body), name, preamble=_PREAMBLE
    )

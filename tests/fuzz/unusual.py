"""Unusual uses: gradients and arrays that a script passes by mistake, or that few scripts pass.

A case has at most one of them, its choice ``unusual``, and further choices for each use.
"""

from __future__ import annotations

import math
from typing import Any

import chainer
import numpy

UNUSUAL = (
    'nothing',
    'tiny gradients',
    'shared gradient',
    'output twice',
    'gradients of None',
    'gradient dtype',
    'gradient shape',
    'array shape',
    'replaced array',
)

# given to chainer.grad, because Variable.backward accepts no gradients
OF_GRAD = (
    'shared gradient',
    'output twice',
    'gradients of None',
    'gradient dtype',
    'gradient shape',
)

SHAPES = {
    'scalar': lambda shape: (),
    'one': lambda shape: (1,),
    'ones': lambda shape: (1,) * len(shape),
    'one row': lambda shape: (1, *shape[1:]),
    'one column': lambda shape: (*shape[:-1], 1),
    'last axis': lambda shape: shape[-1:],
    'without first axis': lambda shape: shape[1:],
    'two': lambda shape: (2,),
    'no rows': lambda shape: (0, *shape[1:]),
    'row more': lambda shape: (*(n + 1 for n in shape[:1]), *shape[1:]),
    'row less': lambda shape: (*(max(n - 1, 0) for n in shape[:1]), *shape[1:]),
    'column more': lambda shape: (*shape[:-1], *(n + 1 for n in shape[-1:])),
    'column less': lambda shape: (*shape[:-1], *(max(n - 1, 0) for n in shape[-1:])),
    'transposed': lambda shape: shape[::-1],
    'flat': lambda shape: (math.prod(shape),),
    'axis before': lambda shape: (1, *shape),
    'axis after': lambda shape: (*shape, 1),
    # of few rows, so that reading it as another shape leaves its memory
    'very wide': lambda shape: (*shape[:-1], *(_wide(shape) for n in shape[-1:])),
    'twice as many units': lambda shape: tuple(2 * n if n == max(shape) else n for n in shape),
}

# magnitudes that float32 or float64 holds as denormal numbers, or not at all
TINY = (1e-38, 1e-30, 1e-42, 1e-300, 1e-308, 1e-315)

# Creators of outputs that are given a gradient of another shape. Chainer's other functions
# compute something else of it than of the gradient that NumPy broadcasts.
_CREATORS = ('chainer_lstm.', 'chainer.functions.array.')


def _wide(shape):
    return 1000000 // max(math.prod(shape[:-1]), 1)


def is_(case: Any, name: str) -> bool:
    """Return whether the case has this unusual use."""
    return case.one('unusual', UNUSUAL) == name


def gradient_shape(case: Any, y: chainer.Variable) -> tuple[int, ...]:
    """Return the shape of the gradient that the package is given for an output."""
    if not is_(case, 'gradient shape'):
        return y.shape
    shape = SHAPES[case.one('gradient_shape', tuple(SHAPES))](y.shape)
    creator = _creator(y)
    if not creator.startswith(_CREATORS) or not _depends_on_package(y):
        return y.shape
    if creator.endswith('.reshape') and math.prod(shape) == math.prod(y.shape):
        return y.shape  # Chainer reshapes such a gradient
    return shape


def fits(shape: tuple[int, ...], y: chainer.Variable) -> bool:
    """Return whether NumPy broadcasts the shape to that of the output."""
    try:
        return numpy.broadcast_shapes(shape, y.shape) == y.shape
    except ValueError:
        return False


def is_own(y: chainer.Variable) -> bool:
    """Return whether a node of the package has computed the output, with none after it."""
    return _creator(y).startswith('chainer_lstm.')


def array_shape(case: Any, index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the array that is made as the ``index``-th of a case."""
    if not is_(case, 'array shape') or 0 in shape:  # of no elements NumPy makes no rows by itself
        return shape
    # all matrices of a gate, a direction or a layer of NStep lie beside each other
    span = case.one('arrays_of_the_shape', (1, 2, 4, 8, 16))
    if index // span != case.one('array_of_the_shape', tuple(range(24))):
        return shape
    return SHAPES[case.one('array_shape', tuple(SHAPES))](shape)


def replace(side: Any, outputs: dict[str, chainer.Variable]) -> None:
    """Replace the array of one variable, a leaf or an output, after forward."""
    variables = {**side.leaves, **outputs}
    if side.is_package:
        side.decided['replaced'] = _replaced(side.case, variables, outputs)
    name = side.decided['replaced']
    if name is None:
        return
    variable = variables[name]
    kind = side.case.one('replacement', ('other values', *SHAPES))
    shape = SHAPES.get(kind, lambda shape: shape)(variable.shape)
    side.may_refuse = True
    side.keeps_shapes = shape == variable.shape
    variable.array = side.replacement(name, shape, variable.dtype)


def _replaced(case, variables, outputs):
    """Return the name of a variable that no function of Chainer's takes, or None.

    Chainer's functions split and join gradients by the shapes that arrays have in backward.
    """
    taken = set()
    for creator in _creators(outputs.values()):
        if not type(creator).__module__.startswith('chainer_lstm.'):
            taken.update(creator.inputs)
    if case.one('how', ('grad', 'backward', 'backward twice')) != 'grad':
        taken.update(
            y.node for y in outputs.values()
        )  # the loss reads their arrays: gradients get the new shape
    names = [name for name, variable in variables.items() if variable.node not in taken]
    return names[case.one('replaced', tuple(range(24))) % len(names)] if names else None


def _creator(y):
    """Return the module of the node that has computed a variable, '' for none."""
    return '' if y.creator_node is None else type(y.creator_node).__module__


def _depends_on_package(y):
    """Return whether a node of the package is among those that have computed a variable."""
    return any(type(creator).__module__.startswith('chainer_lstm.') for creator in _creators([y]))


def _creators(ys):
    """Return all nodes that have computed the variables."""
    found = set()
    left = {y.creator_node for y in ys} - {None}
    while left:
        creator = left.pop()
        found.add(creator)
        left |= {x.creator_node for x in creator.inputs} - found - {None}
    return found

"""Gradients of a surface's outputs, in the way that a case chooses."""
from __future__ import annotations

import itertools
from typing import Any

import chainer
import chainer.functions as F
import numpy

from tests.fuzz.sides import Ours
from tests.fuzz.sides import Side
from tests.fuzz.sides import to_numpy

Arrays = dict[str, Any]


class Mismatch(AssertionError):
    """The package is wrong, or Chainer is, or the documentation."""


class Gradients:
    """Of the outputs that have a loss, by the leaves that have none of the numbers ``without_gradient``.

    ``how``: by ``chainer.grad``, which is given the outputs' gradients, in any
    memory order; or by the ``backward`` of a loss, once or twice.
    """

    def __init__(self, side: Side, outputs: dict[str, chainer.Variable]) -> None:
        case = side.case
        self.side, self.how = side, case.one('how', ('grad', 'backward', 'backward twice'))
        self.ys: list[chainer.Variable] = []
        self.gys: list[chainer.Variable] = []
        without = case.some('without_loss', tuple(range(9)), 5)
        for k, (name, y) in enumerate(outputs.items()):
            if k % 9 not in without:
                self._add(y, side.gradient(name, y))
            elif not isinstance(side, Ours):  # Chainer's own code cannot do without here and there
                self._add(y, side.gradient(name, y) * 0)
        without = case.some('without_gradient', tuple(range(7)), 3)
        self.wanted = {name: leaf for k, (name, leaf) in enumerate(side.leaves.items()) if k % 7 not in without}

    def _add(self, y, gy):
        for k, other in enumerate(self.ys):
            if other is y:  # two names of one output: chainer.grad would take the last gradient alone
                self.gys[k] += gy
                return
        self.ys.append(y)
        self.gys.append(gy)

    def of(self, order: int) -> list[Arrays]:
        """First gradients, and those of a loss on these, …."""
        ys, gys, found = self.ys, self.gys, []
        for left in reversed(range(order)):
            grads = (self._by_call if self.how == 'grad' else self._by_backward)(ys, gys, left > 0)
            if isinstance(self.side, Ours):
                self._check(grads)
            found.append({name: None if g is None else to_numpy(g) for name, g in grads.items()})
            known = {name: g for name, g in grads.items() if g is not None}
            ys = list(known.values())
            gys = [self.side.gradient(f'of {name}', g) for name, g in known.items()]
        return found

    def _by_call(self, ys, gys, with_graph):
        unique = {id(leaf): leaf for leaf in self.wanted.values()}
        if not ys or not unique:
            return dict.fromkeys(self.wanted)
        grads = dict(zip(unique, chainer.grad(ys, list(unique.values()), gys, enable_double_backprop=with_graph)))
        return {name: grads[id(leaf)] for name, leaf in self.wanted.items()}

    def _by_backward(self, ys, gys, with_graph):
        for leaf in self.side.leaves.values():
            leaf.cleargrad()
        if ys:
            # that of a plain sum comes back as one number behind all elements; sums of float16 may overflow
            terms = (y if (gy.array == 1).all() else y * gy for y, gy in zip(ys, gys))
            loss = sum(F.cast(F.sum(F.cast(y, 'f') if y.dtype == 'e' else y), 'd') for y in terms)
            for _ in range(2 if self.how == 'backward twice' and not with_graph else 1):
                loss.cleargrad()
                loss.backward(enable_double_backprop=with_graph)
        return {name: leaf.grad_var for name, leaf in self.wanted.items()}

    def _check(self, grads):
        for name, g in grads.items():
            leaf = self.wanted[name]
            if g is not None and (g.dtype, g.shape) != (leaf.dtype, leaf.shape):
                raise Mismatch(f'gradient by {name}: expected {leaf.dtype} {leaf.shape}, got {g.dtype} {g.shape}')
        # optimizer hooks work on the gradients of parameters in place
        params = {id(leaf): (name, grads[name].array) for name, leaf in self.wanted.items()
                  if isinstance(leaf, chainer.Parameter) and grads[name] is not None}
        for (name, g), (other, other_g) in itertools.combinations(params.values(), 2):
            if self.side.xp is numpy and numpy.shares_memory(g, other_g):
                raise Mismatch(f'the gradients by {name} and {other} share memory')

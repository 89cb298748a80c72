"""Gradients of a surface's outputs, in the way that a case chooses."""

from __future__ import annotations

import itertools
from typing import Any, Optional

import chainer
import chainer.functions as F
import numpy

from tests.fuzz import unusual
from tests.fuzz.sides import Ours, Side, to_numpy

Arrays = dict[str, Any]


class Mismatch(AssertionError):
    """The package is wrong, or Chainer is, or the documentation."""


class Gradients:
    """Of the outputs that have a loss, by the leaves that have none
    of the numbers ``without_gradient``.

    ``how``: by ``chainer.grad``, which is given the outputs' gradients, in any
    memory order; or by the ``backward`` of a loss, once or twice.
    """

    def __init__(self, side: Side, outputs: dict[str, chainer.Variable]) -> None:
        case = side.case
        ways = ('grad', 'backward', 'backward twice')
        self.side = side
        if case.one('unusual', unusual.UNUSUAL) in unusual.OF_GRAD:
            ways = ways[:1]
        self.how = case.one('how', ways)
        self.ys: list[chainer.Variable] = []
        self.gys: list[Optional[chainer.Variable]] = []
        self.creators = {y.creator_node for y in outputs.values()}
        without = case.some('without_loss', tuple(range(9)), 5)
        for k, (name, y) in enumerate(outputs.items()):
            if k % 9 not in without:
                self._add(y, self._given(k, name, y))
            elif not isinstance(side, Ours):  # Chainer's own code cannot do without here and there
                self._add(y, chainer.Variable(numpy.zeros(y.shape)))
        without = case.some('without_gradient', tuple(range(7)), 3)
        self.wanted = {
            name: leaf for k, (name, leaf) in enumerate(side.leaves.items()) if k % 7 not in without
        }

    def _given(self, k, name, y):
        """Return the gradient of the k-th output, for the package None in place of ones."""
        side = self.side
        if unusual.is_(side.case, 'gradients of None'):
            none = side.case.some('none', tuple(range(9)), 5, 1)
            if k % 9 in none:
                return None if side.is_package else _ones(y)
        gy = side.gradient(name, y, True)
        if not self._has_to_take(y, gy):
            side.may_refuse = True
        return gy

    def _has_to_take(self, y, gy):
        """Whether an error for a gradient is a fault of the package."""
        if (gy.shape, gy.dtype) == (y.shape, y.dtype):
            return True
        if gy.dtype != y.dtype and len(self.creators) > 1:
            return False  # Chainer adds no gradients of two dtypes
        return unusual.fits(gy.shape, y) and unusual.is_own(y)

    def _add(self, y, gy):
        for k, other in enumerate(self.ys):
            if (
                other is y
            ):  # two names of one output: chainer.grad would take the last gradient alone
                before = _ones(y) if self.gys[k] is None else self.gys[k]
                self.gys[k] = before + (_ones(y) if gy is None else gy)
                return
        self.ys.append(y)
        self.gys.append(gy)

    def of(self, order: int) -> list[Arrays]:
        """First gradients, and those of a loss on these, …."""
        ys, gys, found = self.ys, self.gys, []
        for left in reversed(range(order)):
            grads = (self._by_call if self.how == 'grad' else self._by_backward)(ys, gys, left > 0)
            if isinstance(self.side, Ours) and not self._is_unusual():
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
        if unusual.is_(self.side.case, 'output twice') and isinstance(self.side, Ours):
            # chainer.grad takes the last one
            ys = [ys[0], *ys]
            gys = [self.side.gradient('that is not taken', ys[0]), *gys]
        grads = dict(
            zip(
                unique,
                chainer.grad(ys, list(unique.values()), gys, enable_double_backprop=with_graph),
            )
        )
        return {name: grads[id(leaf)] for name, leaf in self.wanted.items()}

    def _by_backward(self, ys, gys, with_graph):
        for leaf in self.side.leaves.values():
            leaf.cleargrad()
        if ys:
            # that of a plain sum comes back as one number behind all elements;
            # sums of float16 may overflow
            terms = (y if (gy.array == 1).all() else y * gy for y, gy in zip(ys, gys))
            loss = sum(F.cast(F.sum(F.cast(y, 'f') if y.dtype == 'e' else y), 'd') for y in terms)
            for _ in range(2 if self.how == 'backward twice' and not with_graph else 1):
                loss.cleargrad()
                loss.backward(enable_double_backprop=with_graph)
        return {name: leaf.grad_var for name, leaf in self.wanted.items()}

    def _is_unusual(self):
        """Whether gradients may be of another shape or dtype than the leaves."""
        uses = ('gradient dtype', 'array shape', 'replaced array')
        return self.side.case.choices['unusual'] in uses

    def _check(self, grads):
        for name, g in grads.items():
            leaf = self.wanted[name]
            if g is not None and (g.dtype, g.shape) != (leaf.dtype, leaf.shape):
                raise Mismatch(
                    f'gradient by {name}: expected {leaf.dtype} {leaf.shape}, '
                    f'got {g.dtype} {g.shape}'
                )
        # optimizer hooks work on the gradients of parameters in place
        params = {
            id(leaf): (name, grads[name].array)
            for name, leaf in self.wanted.items()
            if isinstance(leaf, chainer.Parameter) and grads[name] is not None
        }
        for (name, g), (other, other_g) in itertools.combinations(params.values(), 2):
            if self.side.xp is numpy and numpy.shares_memory(g, other_g):
                raise Mismatch(f'the gradients by {name} and {other} share memory')


def _ones(y):
    return chainer.Variable(y.xp.ones(y.shape, y.dtype))

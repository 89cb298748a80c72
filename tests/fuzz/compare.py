"""Runs a surface on both sides, takes its gradients, and compares everything that comes out."""
from __future__ import annotations

import warnings
from typing import Any

import chainer
import chainer.functions as F
import numpy
from chainer.utils import type_check

from tests.fuzz.case import Case
from tests.fuzz.sides import Chainers
from tests.fuzz.sides import Ours
from tests.fuzz.sides import Side
from tests.fuzz.sides import case_dtype
from tests.fuzz.sides import engines
from tests.fuzz.sides import to_numpy
from tests.fuzz.surfaces import SURFACES

Arrays = dict[str, Any]
EPSILON = {'e': 2. ** -11, 'f': 2. ** -24, 'd': 2. ** -53}  # the rounding of one operation
GPU_EPSILON = {'highest': 2. ** -17, 'high': 2. ** -11, 'medium': 2. ** -9}  # of a product by 'persistent'


class Mismatch(AssertionError):
    """The package is wrong, or Chainer is, or the documentation."""


def check(surface: str, case: Case) -> bool:
    """Runs a case.  Where both sides raise the same exception they agree.

    Returns:
        Whether there was something to compare.

    Raises:
        Mismatch: the sides disagree.
        Exception: one of them has raised it.
    """
    ours, chainers = Ours(case), Chainers(case)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', RuntimeWarning)
            actual = _observed(ours, surface)
    except (ValueError, TypeError, type_check.InvalidType) as error:
        try:
            _observed(chainers, surface)
        except type(error):
            return False
        raise
    expected = _observed(chainers, surface)
    for array, before in ours.given:
        if not (array == before).all():
            raise Mismatch('an array that was given has changed')
    largest = ours.largest
    for order, (found, right) in enumerate(zip(actual, expected)):
        largest *= max([1., *(abs(x).max(initial=0) for x in right.values() if x is not None)])
        _compare(found, right, _tolerance(ours, chainers, order, largest))
    return True


def _tolerance(ours: Side, chainers: Side, order: int, largest: float) -> dict[str, float]:
    """How far a result may be from the exact one, by dtype.

    A result is computed in ``depth`` steps forward, and as many again for each
    order of gradients.  A step is a sum of at most ``terms`` rounded products
    of numbers that are no larger than ``largest``, the product of the largest
    input and the largest results of each order.  Slopes of the gates are at
    most 1 and rows of weights are scaled to sums near 1, so an error does not
    grow on its way.  float16 is computed in float32, and rounded only where a
    function ends: for c, h and their gradients, and as often where gradients
    of several steps are added.
    """
    steps = (order + 1) * ours.depth
    rounded = {char: steps * chainers.terms * largest * epsilon for char, epsilon in EPSILON.items()}
    if ours.engine == 'persistent':
        precision = ours.case.choices['precision']
        rounded['f'] = steps * chainers.terms * largest * GPU_EPSILON[precision]
    narrow = {ours.case.choices.get('matrix_dtype'), case_dtype(ours.case).char}
    if 'e' in narrow:  # a float32 gradient by a float16 computation is no better than that
        rounded['e'] = rounded['f'] + 8 * steps * largest * EPSILON['e']
        return dict.fromkeys('efd', rounded['e'])
    if 'f' in narrow:
        rounded['d'] = rounded['f']
    return rounded


def _compare(found: Arrays, right: Arrays, tolerance: dict[str, float]) -> None:
    if found.keys() != right.keys():
        raise Mismatch(f'expected {sorted(right)}, got {sorted(found)}')
    for name, expected in right.items():
        actual = found[name]
        if actual is None or expected is None:  # not reached by any loss, which is a gradient of zeros
            actual, expected = (numpy.zeros(1) if x is None else x for x in (actual, expected))
            if actual.any() or expected.any():
                raise Mismatch(f'{name}: expected {expected}, got {actual}')
            continue
        if actual.shape != expected.shape:
            raise Mismatch(f'{name}: expected shape {expected.shape}, got {actual.shape}')
        error, allowed = abs(actual.astype('d') - expected).max(initial=0), tolerance[actual.dtype.char]
        if not error <= allowed:  # NaN is not
            raise Mismatch(f'{name}: off by {error:.3g}, where rounding explains {allowed:.3g}')


def _observed(side: Side, surface: str) -> list[Arrays]:
    """-> values, gradients and second gradients by name, as far as the case goes."""
    case = side.case
    order, backprop = case.one('order', (1, 0, 2)), case.one('enable_backprop', (True, False))
    engine = case.one('engine', engines())
    train = case.one('train', (True, False))
    with side.configuration(engine), chainer.using_config('train', train):
        numpy.random.seed(case.seed)
        with chainer.using_config('enable_backprop', backprop):
            outputs = SURFACES[surface](side)
    values = {name: to_numpy(y) for name, y in outputs.items()}
    _check_dtypes(side, outputs)
    if not backprop or order == 0:
        return [values]
    with side.configuration(case.one('engine_of_backward', (engine, *engines()))):
        found = _Gradients(side, outputs).of(order)
    after = {name: to_numpy(y) for name, y in outputs.items()}
    for name, y in values.items():
        if not numpy.array_equal(y, after[name]):
            raise Mismatch(f'{name} has changed in backward')
    return [values, *found]


def _check_dtypes(side, outputs):
    if isinstance(side, Ours):
        for name, y in outputs.items():
            if y.dtype != case_dtype(side.case):
                raise Mismatch(f'{name}: expected {case_dtype(side.case)}, got {y.dtype}')


class _Gradients:
    """Gradients of outputs by all leaves, in the way that the case chooses."""

    def __init__(self, side: Side, outputs: dict[str, chainer.Variable]) -> None:
        case = side.case
        without = case.some('without_loss', tuple(range(9)), 5)
        self.side, self.how = side, case.one('how', ('grad', 'backward', 'backward twice'))
        self.ys, self.gys = [], []
        for k, (name, y) in enumerate(outputs.items()):
            gy = side.gradient(name, y)
            if k % 9 in without:
                if isinstance(side, Ours):
                    continue
                gy = gy * 0
            same = [at for at, other in enumerate(self.ys) if other is y]
            if same:  # chainer.grad takes the last of them
                self.gys[same[0]] += gy
            else:
                self.ys.append(y)
                self.gys.append(gy)
        self.wanted = {name: leaf for k, (name, leaf) in enumerate(side.leaves.items())
                       if k % 7 not in case.some('without_gradient', tuple(range(7)), 3)}

    def of(self, order: int) -> list[Arrays]:
        ys, gys, found = self.ys, self.gys, []
        for left in reversed(range(order)):
            with_graph = left > 0
            grads = self._by_call(ys, gys, with_graph) if self.how == 'grad' else self._by_backward(ys, gys, with_graph)
            self._check(grads)
            found.append({name: None if g is None else to_numpy(g) for name, g in grads.items()})
            known = {name: g for name, g in grads.items() if g is not None}
            ys = list(known.values())
            gys = [self.side.gradient(f'{order} {name}', g) for name, g in known.items()]
        return found

    def _by_call(self, ys, gys, with_graph):
        if not ys or not self.wanted:
            return dict.fromkeys(self.wanted)
        unique = {id(leaf): leaf for leaf in self.wanted.values()}
        grads = dict(zip(unique, chainer.grad(ys, list(unique.values()), gys, enable_double_backprop=with_graph)))
        return {name: grads[id(leaf)] for name, leaf in self.wanted.items()}

    def _by_backward(self, ys, gys, with_graph):
        for leaf in self.side.leaves.values():
            leaf.cleargrad()
        if ys:
            loss = sum(F.cast(F.sum(y * gy), 'd') for y, gy in zip(ys, gys))
            if isinstance(loss, chainer.Variable):
                for _ in range(2 if self.how == 'backward twice' and not with_graph else 1):
                    loss.cleargrad()
                    loss.backward(enable_double_backprop=with_graph)
        return {name: leaf.grad_var for name, leaf in self.wanted.items()}

    def _check(self, grads):
        if not isinstance(self.side, Ours):
            return
        for name, g in grads.items():
            leaf = self.wanted[name]
            if g is not None and (g.dtype, g.shape) != (leaf.dtype, leaf.shape):
                raise Mismatch(f'gradient by {name}: expected {leaf.dtype} {leaf.shape}, got {g.dtype} {g.shape}')

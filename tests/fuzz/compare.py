"""Runs a surface on all sides, and compares everything that comes out."""
from __future__ import annotations

import warnings
from typing import Any

import chainer
import numpy
from chainer.utils import type_check

from tests.fuzz import loops
from tests.fuzz.case import Case
from tests.fuzz.gradients import Arrays
from tests.fuzz.gradients import Gradients
from tests.fuzz.gradients import Mismatch
from tests.fuzz.sides import Chainers
from tests.fuzz.sides import Loops
from tests.fuzz.sides import Ours
from tests.fuzz.sides import Side
from tests.fuzz.sides import case_dtype
from tests.fuzz.sides import engines
from tests.fuzz.sides import to_numpy
from tests.fuzz.surfaces import SURFACES

EPSILON = {'e': 2. ** -11, 'f': 2. ** -24, 'd': 2. ** -53}  # the rounding of one operation
FLOAT16_MAX = 65504
GPU_EPSILON = {'highest': 2. ** -16, 'high': 2. ** -11, 'medium': 2. ** -8}  # of a product by 'persistent'


def check(surface: str, case: Case) -> bool:
    """Runs a case.  Where both sides raise the same exception they agree, and where numbers are too large for float16.

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
    except RuntimeWarning:
        if 'e' in _dtypes(ours) and _largest(chainers, _observed(chainers, surface)) > FLOAT16_MAX:
            return False
        raise
    expected = _observed(chainers, surface)
    for array, before in ours.given:
        if not (array == before).all():
            raise Mismatch('an array that was given has changed')
    for order, (found, right) in enumerate(zip(actual, expected)):
        largest = _largest(chainers, expected[:order + 1])
        _compare(found, right, _tolerance(ours, _roundings(chainers, order, largest)))
    if hasattr(loops.functions, surface) and not (case.choices['train'] and case.choices.get('dropout')):
        values, = _observed(Loops(case), surface, 0)
        _compare(values, expected[0], {'d': _roundings(chainers, 0, chainers.largest) * EPSILON['d']})
    return True


def _largest(chainers: Side, results: list[Arrays]) -> float:
    """The product of the largest input and the largest results of each order, which no number on the way exceeds."""
    largest = chainers.largest
    for right in results:
        largest *= max([1., *(abs(x).max(initial=0) for x in right.values() if x is not None)])
    return largest


def _roundings(chainers: Side, order: int, largest: float) -> float:
    """How far a result may be from the exact one, in units of the rounding of one operation on a number near 1.

    A result is computed in ``depth`` steps forward, and as many again for each
    order of gradients.  A step is a sum of at most ``terms`` rounded products
    of numbers that are no larger than ``largest``.  Slopes of the gates are at
    most 1 and rows of weights are scaled to sums near 1, so an error does not
    grow on its way.
    """
    return (order + 1) * chainers.depth * chainers.terms * largest


def _tolerance(ours: Side, roundings: float) -> dict[str, float]:
    """By dtype, how far a result may be off.

    float16 is computed in float32 and rounded only where a function ends:
    eight times a step, for c, h, their gradients, and the sums of these.  A
    result is no more exact than the narrowest dtype that takes part.
    """
    allowed = {char: roundings * epsilon for char, epsilon in EPSILON.items()}
    if ours.engine == 'persistent':
        allowed['f'] = roundings * GPU_EPSILON[ours.case.choices['precision']]
    narrow = _dtypes(ours)
    if 'e' in narrow:
        return dict.fromkeys('efd', allowed['f'] + 8 * roundings / ours.terms * EPSILON['e'])
    if 'f' in narrow:
        allowed['d'] = allowed['f']
    return allowed


def _dtypes(ours: Side) -> set:
    return {ours.case.choices.get('matrix_dtype'), case_dtype(ours.case).char}


def _compare(found: Arrays, right: Arrays, tolerance: dict[str, float]) -> None:
    if found.keys() != right.keys():
        raise Mismatch(f'expected {sorted(right)}, got {sorted(found)}')
    for name, expected in right.items():
        actual = found[name]
        if actual is None or expected is None:  # not reached by any loss, which is a gradient of zeros
            if any(x is not None and x.any() for x in (actual, expected)):
                raise Mismatch(f'{name}: expected {expected}, got {actual}')
            continue
        if actual.shape != expected.shape:
            raise Mismatch(f'{name}: expected shape {expected.shape}, got {actual.shape}')
        error, allowed = abs(actual.astype('d') - expected).max(initial=0), tolerance[actual.dtype.char]
        if not error <= allowed:  # NaN is not
            raise Mismatch(f'{name}: off by {error:.3g}, where rounding explains {allowed:.3g}')


def _observed(side: Side, surface: str, most: int = 2) -> list[Arrays]:
    """-> values, gradients and second gradients by name, as far as the case goes."""
    case = side.case
    order, backprop = min(case.one('order', (1, 0, 2)), most), case.one('enable_backprop', (True, False))
    engine, train = case.one('engine', engines()), case.one('train', (True, False))
    with side.configuration(engine), chainer.using_config('train', train):
        numpy.random.seed(case.seed)
        with chainer.using_config('enable_backprop', backprop):
            outputs = SURFACES[surface](side)
    _check_dtypes(side, outputs)
    values = {name: to_numpy(y) for name, y in outputs.items()}
    if not backprop or order == 0:
        return [values]
    with side.configuration(case.one('engine_of_backward', (engine, *engines()))):
        found = Gradients(side, outputs).of(order)
    for name, y in outputs.items():
        if not numpy.array_equal(values[name], to_numpy(y)):
            raise Mismatch(f'{name} has changed in backward')
    return [values, *found]


def _check_dtypes(side: Side, outputs: dict[str, Any]) -> None:
    for name, y in outputs.items():
        if isinstance(side, Ours) and y.dtype != case_dtype(side.case):
            raise Mismatch(f'{name}: expected {case_dtype(side.case)}, got {y.dtype}')

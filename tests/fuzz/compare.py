"""Runs a surface on all sides, and compares everything that comes out."""

from __future__ import annotations

import warnings
from typing import Any

import chainer
import numpy
from chainer.utils import type_check

from tests.cells import layer_norm
from tests.fuzz import loops, unusual
from tests.fuzz.case import Case
from tests.fuzz.gradients import Arrays, Gradients, Mismatch
from tests.fuzz.sides import Chainers, Loops, Ours, Side, case_dtype, engines, to_numpy
from tests.fuzz.surfaces import SURFACES

EPSILON = {'e': 2.0**-11, 'f': 2.0**-24, 'd': 2.0**-53}  # the rounding of one operation
SMALLEST = {char: float(numpy.finfo(char).tiny) for char in 'fd'}  # that are not denormal
FLOAT16_MAX = 65504
STEEPEST = layer_norm.layer_norm_epsilon**-0.5  # of normalization, for a row of equal numbers
REFUSALS = (ValueError, TypeError, IndexError, type_check.InvalidType)  # of arrays that do not fit
GPU_EPSILON = {
    'highest': 2.0**-16,
    'high': 2.0**-11,
    'medium': 2.0**-8,
}  # of a product by 'persistent'


def check(surface: str, case: Case) -> bool:
    """Runs a case.  Where both sides raise the same exception they agree,
    and where numbers are too large for float16.

    The package may refuse arrays that do not fit, even if Chainer computes something.

    Returns:
        Whether there was something to compare.

    Raises:
        Mismatch: the sides disagree.
        Exception: one of them has raised it.
    """
    ours, chainers = Ours(case), Chainers(case)
    chainers.decided = ours.decided  # filled before Chainer's side runs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', RuntimeWarning)
            actual = _observed(ours, surface)
    except REFUSALS as error:
        if ours.may_refuse:
            return False
        try:
            _observed(chainers, surface)
        except type(error):
            return False
        raise
    except RuntimeWarning:
        if 'e' in _dtypes(ours):
            expected = _expected(ours, chainers, surface)
            # a sum over classes, too, may be too large where Chainer computes in float16
            if max(_largest(chainers, expected), chainers.terms) > FLOAT16_MAX:
                return False
        raise
    for array, before in ours.given:
        if not (array == before).all():
            raise Mismatch('an array that was given has changed')
    if unusual.is_(case, 'array shape') and ours.may_refuse:
        _compare_misfits(ours, chainers, surface, actual)
    elif unusual.is_(case, 'replaced array') and ours.may_refuse:
        _compare_replaced(ours, chainers, surface, actual)
    else:
        _compare_all(ours, chainers, actual, _observed(chainers, surface))
        _compare_with_loops(case, chainers, surface)
    return True


def _compare_all(ours: Side, chainers: Side, actual: list[Arrays], expected: list[Arrays]) -> None:
    for order, (found, right) in enumerate(zip(actual, expected)):
        largest = _largest(chainers, expected[: order + 1])
        scale = ours.gradient_scale if order else 1
        _compare(found, right, _tolerance(ours, _roundings(chainers, order, largest), scale))


def _compare_with_loops(case: Case, chainers: Side, surface: str) -> None:
    if hasattr(loops.functions, surface) and not (
        case.choices['train'] and case.choices.get('dropout')
    ):
        (values,) = _observed(Loops(case), surface, 0)
        (expected,) = _observed(Chainers(case), surface, 0)
        roundings = _roundings(chainers, 0, chainers.largest)
        _compare(values, expected, {'d': roundings * EPSILON['d'] + roundings * SMALLEST['d']})


def _compare_misfits(ours: Side, chainers: Side, surface: str, actual: list[Arrays]) -> None:
    """Compare results from arrays that do not fit: the package may compute what Chainer does."""
    _compare_all(ours, chainers, actual, _expected(ours, chainers, surface))


def _expected(ours: Side, chainers: Side, surface: str) -> list[Arrays]:
    """Return Chainer's results.

    Raises:
        Mismatch: Chainer refuses arrays that do not fit, and the package does not.
    """
    try:
        return _observed(chainers, surface)
    except Exception as error:
        if not ours.may_refuse:
            raise
        message = next(iter(str(error).strip().splitlines()), '')
        name = type(error).__name__
        raise Mismatch(f'numbers, where Chainer raises {name}: {message}') from error


def _compare_replaced(ours: Side, chainers: Side, surface: str, actual: list[Arrays]) -> None:
    """Compare gradients after an array was replaced with Chainer's, with and without replacing it.

    Chainer's nodes retain other arrays than the package's, so after new values of
    the same shape gradients have to be finite, and no more.
    """
    for arrays in actual:
        for name, x in arrays.items():
            if x is not None and not numpy.isfinite(x).all():
                raise Mismatch(f'{name}: expected finite numbers, got {x}')
    if ours.keeps_shapes:
        return
    unreplaced = Chainers(ours.case)
    unreplaced.replaces = False
    try:
        _compare_misfits(ours, chainers, surface, actual)
    except Mismatch:
        if not _agree(ours, unreplaced, surface, actual):
            raise


def _agree(ours: Side, chainers: Side, surface: str, actual: list[Arrays]) -> bool:
    try:
        _compare_misfits(ours, chainers, surface, actual)
    except Mismatch:
        return False
    return True


def _largest(chainers: Side, results: list[Arrays]) -> float:
    """The product of the largest input and the largest results of each order,
    which no number on the way exceeds.

    Gradients count as those of outputs' gradients up to 1.
    """
    largest = chainers.largest
    for order, right in enumerate(results):
        scale = chainers.gradient_scale if order else 1
        largest *= max(
            [1.0, *(abs(x).max(initial=0) / scale for x in right.values() if x is not None)]
        )
    return largest


def _roundings(chainers: Side, order: int, largest: float) -> float:
    """How far a result may be from the exact one, in units of the rounding
    of one operation on a number near 1.

    A result is computed in ``depth`` steps forward, and as many again for each
    order of gradients.  A step is a sum of at most ``terms`` rounded products
    of numbers that are no larger than ``largest``.  Slopes of the gates are at
    most 1 and rows of weights are scaled to sums near 1, so an error does not
    grow on its way; but normalization multiplies rows by up to ``STEEPEST``,
    and so do its gradients, of which what cancels may be larger than the rest.
    """
    slope = STEEPEST if chainers.case.choices.get('cell') == 'layer norm' else 1
    return (order + 1) * chainers.depth * chainers.terms * largest * slope


def _tolerance(ours: Side, roundings: float, scale: float) -> dict[str, float]:
    """By dtype, how far a result may be off.

    float16 is computed in float32 and rounded only where a function ends:
    eight times a step, for c, h, their gradients, and the sums of these.  A
    result is no more exact than the narrowest dtype that takes part.
    Gradients are proportional to ``scale``.  Where they vanish, an operation
    may be off by the smallest number that is not denormal.
    """
    allowed = {char: roundings * epsilon * scale for char, epsilon in EPSILON.items()}
    if ours.engine == 'persistent':
        allowed['f'] = roundings * GPU_EPSILON[ours.case.choices['precision']] * scale
    for char, smallest in SMALLEST.items():
        allowed[char] += roundings * smallest
    narrow = _dtypes(ours)
    if 'e' in narrow:
        steps = 8 * roundings / ours.terms
        denormal = float(numpy.finfo('e').smallest_subnormal)
        return dict.fromkeys('efd', allowed['f'] + steps * (EPSILON['e'] * scale + denormal))
    if 'f' in narrow:
        allowed['d'] = allowed['f']
    return allowed


def _dtypes(ours: Side) -> set:
    choices = ours.case.choices
    given = choices.get('gradient_dtype') if choices['unusual'] == 'gradient dtype' else None
    return {choices.get('matrix_dtype'), given, case_dtype(ours.case).char}


def _compare(found: Arrays, right: Arrays, tolerance: dict[str, float]) -> None:
    if found.keys() != right.keys():
        raise Mismatch(f'expected {sorted(right)}, got {sorted(found)}')
    for name, expected in right.items():
        actual = found[name]
        if expected is not None and numpy.isnan(expected).any():
            raise Mismatch(f'{name}: numbers from a gradient of a shape that does not fit')
        if (
            actual is None or expected is None
        ):  # not reached by any loss, which is a gradient of zeros
            if any(x is not None and x.any() for x in (actual, expected)):
                raise Mismatch(f'{name}: expected {expected}, got {actual}')
            continue
        if actual.shape != expected.shape:
            raise Mismatch(f'{name}: expected shape {expected.shape}, got {actual.shape}')
        error, allowed = (
            abs(actual.astype('d') - expected).max(initial=0),
            tolerance[actual.dtype.char],
        )
        if not error <= allowed:  # NaN is not
            raise Mismatch(f'{name}: off by {error:.3g}, where rounding explains {allowed:.3g}')


def _observed(side: Side, surface: str, most: int = 2) -> list[Arrays]:
    """-> values, gradients and second gradients by name, as far as the case goes."""
    case = side.case
    order, backprop = (
        min(case.one('order', (1, 0, 2)), most),
        case.one('enable_backprop', (True, False)),
    )
    engine, train = case.one('engine', engines()), case.one('train', (True, False))
    with side.configuration(engine), chainer.using_config('train', train):
        numpy.random.seed(case.seed)
        with chainer.using_config('enable_backprop', backprop):
            outputs = SURFACES[surface](side)
    _check_dtypes(side, outputs)
    values = {name: to_numpy(y) for name, y in outputs.items()}
    if not backprop or order == 0:
        return [values]
    replaced = unusual.is_(case, 'replaced array')
    with side.configuration(case.one('engine_of_backward', (engine, *engines()))):
        gradients = Gradients(side, outputs)
        if replaced and side.replaces:
            unusual.replace(side, outputs)
        found = gradients.of(order)
    for name, y in () if replaced else outputs.items():
        if not numpy.array_equal(values[name], to_numpy(y)):
            raise Mismatch(f'{name} has changed in backward')
    return [values, *found]


def _check_dtypes(side: Side, outputs: dict[str, Any]) -> None:
    for name, y in outputs.items():
        if isinstance(side, Ours) and y.dtype != case_dtype(side.case):
            raise Mismatch(f'{name}: expected {case_dtype(side.case)}, got {y.dtype}')

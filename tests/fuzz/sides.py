"""What a surface runs on: ``Ours`` with everything that a case chooses,
``Chainers`` in float64 without any of it.
"""

from __future__ import annotations

import contextlib
from typing import Any
from unittest import mock

import chainer
import numpy
from chainer.backends import cuda

import chainer_lstm
from chainer_lstm.kernels import native
from chainer_lstm.kernels.engines import registry
from chainer_lstm.kernels.engines.native import NativeEngine
from tests.fuzz import chainers, loops, unusual
from tests.fuzz.case import Case
from tests.support.arrays import unaligned

DTYPES = {
    'float32': numpy.float32,
    'float64': numpy.float64,
    'float16': numpy.float16,
    'mixed16': chainer.mixed16,
}

LENGTHS = (1, 2, 0, 3, 5, 9)  # of sequences and batches

# the same values elsewhere in memory
LAYOUTS = {
    'dense': lambda xp, x: x,
    'fortran': lambda xp, x: xp.asfortranarray(x) if x.ndim else x,  # it adds an axis to a scalar
    'strided': lambda xp, x: xp.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
    'reversed': lambda xp, x: x[::-1].copy()[::-1] if x.ndim else x,
    'rows apart': lambda xp, x: (
        xp.concatenate((x, x), axis=-1)[..., : x.shape[-1]] if x.ndim else x
    ),
    'axes moved': lambda xp, x: xp.moveaxis(xp.moveaxis(x, 0, -1).copy(), -1, 0) if x.ndim else x,
    'unaligned': lambda xp, x: unaligned(x) if xp is numpy else x,
    'read-only': lambda xp, x: _read_only(xp, x),
    'one row': lambda xp, x: xp.broadcast_to(x[:1].copy(), x.shape) if x.ndim > 1 and len(x) else x,
}


def _read_only(xp, x):
    if xp is numpy:
        x.flags.writeable = False
    return x


def engines() -> tuple[str, ...]:
    """The names of all that can run here."""
    from tests.support.engines import no_gpu

    return (
        'numpy',
        *(f'native {name}' for name in native.instruction_sets()),
        *(() if no_gpu() else ('cupy', 'persistent')),
    )


class Side:
    """Makes variables and links of the case, and remembers what gradients are to be taken by.

    Attributes:
        functions, links: the modules under comparison, or stand-ins.
        is_package: whether it is the package's side.
        leaves: variables and parameters by name.
        given: arrays that must not change, with copies of them.
        depth: steps after each other, for the tolerance.
        terms: of the longest sum in one of them, which goes over units or over the rows of all
            steps.
        largest: of all numbers given.
        may_refuse: whether the package may raise an error, because something given does not fit.
        gradient_scale: of the gradients given for the outputs.
        replaces: whether arrays are replaced after forward, in a case that replaces some.
        keeps_shapes: whether those that were replaced had the same shape.
        decided: by ``Ours``, from the nodes that the package computes with: 'replaced', the name of
            the variable whose array is replaced, and 'shape of NAME', that of an output's gradient.
    """

    functions: Any
    links: Any
    xp: Any = numpy
    is_package = False

    def __init__(self, case: Case) -> None:
        self.case = case
        self.leaves: dict[str, chainer.Variable] = {}
        self.given: list[tuple[Any, Any]] = []
        self.depth, self.largest, self._width, self._rows = 1, 1.0, 0, 0
        self._made: dict[tuple, chainer.Variable] = {}
        self._count = 0
        self._shapes = 0
        self._shared: dict[tuple, chainer.Variable] = {}
        self.may_refuse = False
        self.replaces = True
        self.keeps_shapes = True
        self.decided: dict[str, Any] = {}
        tiny = unusual.is_(case, 'tiny gradients')
        self.gradient_scale = case.one('gradients_up_to', unusual.TINY) if tiny else 1

    def variable(
        self, name: str, shape: tuple[int, ...], weight: bool = False, dtype: Any = None
    ) -> Any:
        """One with the numbers of that name; under ``alias`` an earlier one of the same shape
        and dtype.
        """
        case = self.case
        shape = self._shape(shape)
        alias = case.one('alias', ('nothing', 'variable', 'array'))
        dtype = case_dtype(case) if dtype is None else dtype
        made = self._made.get((shape, weight, dtype))
        self._measure(shape, weight)
        if made is not None and alias == 'variable':
            return made
        array = self._kept(
            self._numbers(name, shape, weight, dtype)
            if made is None or alias == 'nothing'
            else made
        )
        variable = self._made[shape, weight, dtype] = chainer.Variable(array)
        self._count += 1
        if self._count - 1 in case.some('constants', tuple(range(6)), 2):
            return self._constant(variable)
        self.leaves[name] = variable
        return variable

    def gradient(self, name: str, y: chainer.Variable, given: bool = False) -> chainer.Variable:
        """Return a gradient for an output, which may be unusual if it is ``given`` by a script."""
        case = self.case
        shape = self._gradient_shape(name, y) if given else y.shape
        shared = given and unusual.is_(case, 'shared gradient')
        if shared and (y.shape, y.dtype) in self._shared:
            return self._shared[y.shape, y.dtype]
        if case.one('gradients', ('random', 'ones')) == 'ones':
            numbers = numpy.ones(shape)
        else:
            numbers = case.numbers('shared gradient' if shared else f'gradient {name}', shape)
        dtype = y.dtype
        if given:
            numbers = numbers * self.gradient_scale
            if unusual.is_(case, 'gradient dtype'):
                dtype = numpy.dtype(case.one('gradient_dtype', ('d', 'f', 'e')))
                numbers = numbers.astype(dtype)
            elif shape != y.shape:
                # all elements have the same rounding error, so both sides need the same number
                numbers = numpy.asarray(numbers).astype(case_dtype(case))
                if case.one('gradient_layout', tuple(LAYOUTS)) == 'one row':
                    numbers = LAYOUTS['one row'](numpy, numbers)  # of the shape that is given
        gradient = self._gradient(self._fitted(numbers, y), dtype)
        self._shared[y.shape, y.dtype] = gradient
        return gradient

    def replace_weights(self, link: chainer.Link) -> None:
        """Replace parameters of a link that was called already, in a case with such arrays."""
        for path, param in sorted(link.namedparams()):
            shape = self._shape(param.shape)
            if shape != param.shape:
                param.array = self.replacement(path, shape, param.dtype)

    def replacement(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array that replaces that of a variable."""
        numbers = self.case.numbers(f'replacement of {name}', shape)
        return self._array(self._scaled(numbers, True), dtype, 'dense')

    def _gradient(self, numbers, dtype):
        return chainer.Variable(
            self._kept(
                self._array(numbers, dtype, self.case.one('gradient_layout', tuple(LAYOUTS)))
            )
        )

    def _gradient_shape(self, name, y):
        """The shape of the gradient that the package is given for an output."""
        raise NotImplementedError

    def _fitted(self, numbers, y):
        """The numbers of a gradient, in the shape in which this side takes them."""
        return numbers

    def _shape(self, shape):
        """Return the shape of the next array, in an unusual case another one than asked for."""
        found = unusual.array_shape(self.case, self._shapes, shape)
        self._shapes += 1
        if case_dtype(self.case).char == 'e' and max(found, default=0) > int(numpy.finfo('e').max):
            return shape  # float16 sums no rows that are so long
        if found != shape:
            self.may_refuse = True
        return found

    def link(self, name: str, link: chainer.Link) -> chainer.Link:
        """The link, its parameters set to numbers of that name and shape."""
        layout = self.case.one('weight_layout', tuple(LAYOUTS))
        for path, param in sorted(link.namedparams()):
            shape = self._shape(param.shape)
            numbers = self._scaled(self.case.numbers(f'{name}{path}', shape), True)
            param.array = self._array(numbers.astype(case_dtype(self.case)), param.dtype, layout)
        numpy.random.seed(self.case.seed)  # dropout is drawn after the weights
        return self.watch(name, link)

    def watch(self, name: str, link: chainer.Link) -> chainer.Link:
        """Gradients by the parameters of the link are to be taken."""
        for path, param in link.namedparams():
            if all(param is not leaf for leaf in self.leaves.values()):
                self.leaves[f'{name}{path}'] = param
                self._measure(param.shape, True)
        return link

    @property
    def terms(self) -> int:
        return 10 + self._width + self._rows  # 10: the operations on a unit besides the products

    def _measure(self, shape, weight):
        self._width = max(self._width, *shape) if shape else self._width
        self._rows += 0 if weight else max(shape[:-1], default=0)

    def _numbers(self, name, shape, weight, dtype):
        layout = self.case.one('weight_layout' if weight else 'layout', tuple(LAYOUTS))
        if weight and layout == 'one row' and self.case.choices.get('cell') == 'layer norm':
            layout = 'strided'  # of units that are all equal, normalization leaves rounding alone
        return self._array(
            self._scaled(self.case.numbers(name, shape), weight).astype(dtype), dtype, layout
        )

    def _scaled(self, numbers, weight):
        if (
            weight
        ):  # sums of a row stay near 1, so that rounding is not multiplied from step to step
            return numbers / max(1, numbers.shape[-1] if numbers.ndim > 1 else 1) ** 0.5
        scale = self.case.one('inputs_up_to', (1, 0, 30, 1e-38, 1e-42, 1e-310))
        self.largest = max(self.largest, scale)
        return numbers * scale

    def _kept(self, array):
        array = array.array if isinstance(array, chainer.Variable) else array
        self.given.append((array, array.copy()))
        return array

    def _array(self, numbers, dtype, layout):
        raise NotImplementedError

    def _constant(self, variable):
        raise NotImplementedError


class Ours(Side):
    """chainer_lstm under the configuration of the case."""

    functions, links = chainer_lstm.functions, chainer_lstm.links
    RNNForLM = chainer_lstm.models.RNNForLM
    is_package = True

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.engine = case.one('engine', engines())
        self.device = '@cupy:0' if self.engine in ('cupy', 'persistent') else '@numpy'
        self.xp = chainer.get_device(self.device).xp

    @contextlib.contextmanager
    def configuration(self, engine: str):
        """One of ``engines()``, and what the case chooses besides."""
        name, *instruction_set = engine.split()
        precision = self.case.one('precision', ('highest', 'high', 'medium'))
        type_check = self.case.one('type_check', (True, False))
        with contextlib.ExitStack() as stack:
            stack.enter_context(
                chainer.using_config('lstm_engine', 'auto' if name == 'persistent' else name)
            )
            stack.enter_context(chainer.using_config('lstm_matmul_precision', precision))
            stack.enter_context(chainer.using_config('type_check', type_check))
            stack.enter_context(
                chainer.using_config('dtype', DTYPES[self.case.one('dtype', tuple(DTYPES))])
            )
            stack.enter_context(chainer.using_device(self.device))
            if instruction_set:
                stack.enter_context(
                    mock.patch.object(
                        registry, '_native_engine', lambda: NativeEngine(*instruction_set)
                    )
                )
                library = native.library()
                stack.callback(library.chainer_lstm_force_threads, 0)
                library.chainer_lstm_force_threads(self.case.one('threads', (2, 1, 3)))
            yield

    def link(self, name, link):
        link.to_device(self.device)
        return super().link(name, link)

    def _gradient_shape(self, name, y):
        shape = self.decided[f'shape of {name}'] = unusual.gradient_shape(self.case, y)
        return shape

    def _array(self, numbers, dtype, layout):
        return LAYOUTS[layout](self.xp, self.xp.asarray(numpy.asarray(numbers).astype(dtype)))

    def _constant(self, variable):
        return variable.array


class Chainers(Side):
    """Chainer's own code in float64; what it lacks, or is documented to differ in,
    is composed of it.
    """

    functions, links = chainers.functions, chainers.links
    RNNForLM = chainers.RNNForLM

    @contextlib.contextmanager
    def configuration(self, engine: str):
        type_check = chainer.using_config('type_check', self.case.one('type_check', (True, False)))
        with chainer.using_config('dtype', numpy.float64), type_check:
            yield

    def _gradient_shape(self, name, y):
        return self.decided.get(f'shape of {name}', y.shape)

    def _fitted(self, numbers, y):
        if not unusual.fits(numbers.shape, y):
            return numpy.full(y.shape, numpy.nan)  # the package has to refuse the gradient
        return numpy.broadcast_to(numbers, y.shape)

    def _array(self, numbers, dtype, layout):
        numbers = numpy.asarray(numbers, numpy.float64)
        return LAYOUTS[layout](numpy, numbers).copy() if layout == 'one row' else numbers

    def _constant(self, variable):
        return variable


class Loops(Chainers):
    """Loops in float64, without gradients; they know no dropout."""

    functions = loops.functions


def case_dtype(case: Case) -> numpy.dtype:
    name = case.one('dtype', tuple(DTYPES))
    return numpy.dtype('e' if name == 'mixed16' else name)


def to_numpy(x: Any) -> numpy.ndarray:
    return numpy.array(cuda.to_cpu(chainer.as_array(x)), copy=True)

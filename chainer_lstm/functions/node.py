"""The base of all autograd nodes, and helpers for their gradients."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NoReturn, Optional, Union

import chainer
import chainer.functions as F
import numpy
from chainer import function_node, variable
from chainer.backends import cuda

from chainer_lstm import kernels
from chainer_lstm.chainer_private import NamedNode, connect, new_variable, setting
from chainer_lstm.functions.config import is_observed

Input = Union[chainer.Variable, Any]  # Any: an array of NumPy or CuPy
_WIDE = {numpy.dtype(numpy.float32), numpy.dtype(numpy.float64)}  # enough for every engine


class Passed(set[Hashable]):
    """A bounded set of keys that have passed a check, which is then skipped."""

    _most = 1024

    def add(self, key: Hashable) -> None:
        """Add a key; a full set is cleared first."""
        if len(self) >= self._most:
            self.clear()
        super().add(key)


_passed = Passed()  # kinds, shapes and dtypes of inputs


class Node(NamedNode):
    """A node that skips what Chainer does around ``forward`` for hooks, debug mode and device
    changes, unless one of them is in use.
    """

    def apply(self, inputs: tuple) -> tuple:
        """Compute the outputs, variables."""
        variables = tuple([
            x if isinstance(x, chainer.Variable) else chainer.as_variable(x) for x in inputs
        ])  # fmt: skip
        given = arrays(variables)
        if is_observed() or not _are_of_one_place(given):
            return super().apply(inputs)
        self._input_layouts = (None,) * len(given)
        if setting('type_check'):
            self.check_types(given)
        return _connected(self, variables, self.forward(given))

    def check_types(self, given: Sequence[Any]) -> None:
        """Check the types of the inputs by ``check_type_forward``, once for each kind of node."""
        key = (self.kind, *[(x.shape, x.dtype) for x in given])
        if key in _passed:
            return
        self._check_data_type_forward(given)
        _passed.add(key)

    @property
    def kind(self) -> Any:
        """A hashable key of all that ``check_type_forward`` reads besides shapes and dtypes."""
        return type(self)

    def forward_chainerx(self, inputs: tuple) -> tuple:
        refuse_chainerx()


def full(gradient: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a gradient, a variable or an array, in the shape and dtype of its output;
    None for None.

    ``chainer.grad`` takes ``grad_outputs`` of any shape and dtype, and Chainer's
    own functions compute with everything that NumPy broadcasts.

    Raises:
        ValueError: the gradient does not broadcast to the shape.
    """
    if gradient is None:
        return None
    gradient = cast(gradient, dtype)
    if gradient.shape == shape:
        return gradient
    try:
        fits = numpy.broadcast_shapes(gradient.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            'grad_outputs: expected a gradient that broadcasts to the shape of its output, '
            f'{shape}, got {gradient.shape}'
        )
    if isinstance(gradient, variable.Variable):
        return F.broadcast_to(gradient, shape)
    return chainer.backend.get_array_module(gradient).broadcast_to(gradient, shape)


def check_unchanged(node: Any) -> None:
    """Compare the shapes of retained inputs with those in forward:
    a program can replace ``.array`` of a variable.

    Args:
        node: in backward; it has the ``names`` of its inputs, and their ``shapes`` in forward.

    Raises:
        ValueError: an input has another shape.
    """
    found = [x.shape for x in node.inputs]
    if found != node.shapes:
        k = next(k for k in range(len(found)) if found[k] != node.shapes[k])
        raise replaced(node.names[k], node.shapes[k], found[k])


def replaced(name: str, expected: tuple[int, ...], got: tuple[int, ...]) -> ValueError:
    """Return the error for an array that was replaced between forward and backward."""
    return ValueError(
        f'{name}: expected the array of forward, of shape {expected}, got {got}: '
        '.array of the variable has been replaced since'
    )


def _are_of_one_place(arrays: Sequence[Any]) -> bool:
    """Return whether all are arrays of NumPy, or of CuPy on the current GPU."""
    kinds = {*map(type, arrays)}
    if kinds == {numpy.ndarray}:
        return True
    if kinds != {cuda.ndarray}:
        return False
    current = cuda.cupy.cuda.get_device_id()
    return all(x.data.device_id == current for x in arrays)


def _connected(node: function_node.FunctionNode, inputs: tuple, outputs: tuple) -> tuple:
    """Return the outputs of a node as variables, in the graph if one grows."""
    requires_grad = True in [x.requires_grad for x in inputs]
    ys = tuple([as_variable(y, requires_grad) for y in outputs])
    connect(node, inputs, ys, outputs)
    return ys


def as_variable(x: Any, requires_grad: bool = False) -> Optional[variable.Variable]:
    """Return an array of this package as a variable.

    None and variables are returned as they are.
    """
    if x is None or isinstance(x, variable.Variable):
        return x
    return new_variable(x, requires_grad)


def any_requires_grad(inputs: Iterable[Any]) -> bool:
    """Return whether a gradient is required of any of some variables; arrays require none."""
    for v in inputs:  # noqa: SIM110, any() of a generator takes twice as long
        if isinstance(v, variable.Variable) and v.requires_grad:
            return True
    return False


def arrays(variables: tuple) -> tuple:
    """Return the arrays of variables; None for None."""
    return tuple([None if v is None else v.array for v in variables])


def distinct_copies(variables: Sequence[chainer.Variable]) -> list[chainer.Variable]:
    """Return identity copies, so that ``chainer.grad`` treats each argument as an input of its own.

    ``chainer.grad`` returns total derivatives: it would count a variable that is passed twice, or
    from which another argument is computed, twice.
    """
    return [F.identity(v) for v in variables]


def differentiated(
    node: function_node.FunctionNode,
    function: Callable[[list[chainer.Variable]], Sequence[chainer.Variable]],
    indexes: Sequence[int],
    grad_outputs: Sequence[Optional[chainer.Variable]],
) -> tuple:
    """Return the gradients of a node as variables; with ``chainer.config.enable_backprop`` they can
    be differentiated again.

    Args:
        node: in backward, with all of its inputs retained.
        function: computes the outputs from the inputs by Chainer's own functions.
        indexes, grad_outputs: as ``backward`` gets them.
    """
    double = chainer.config.enable_backprop
    with chainer.using_config('enable_backprop', True):
        inputs = distinct_copies(node.get_retained_inputs())
        outputs = function(inputs)
        given = [(y, g) for y, g in zip(outputs, grad_outputs) if g is not None]
        return chainer.grad(
            [y for y, _ in given],
            [inputs[i] for i in indexes],
            [g for _, g in given],
            enable_double_backprop=double,
        )


def widened(engine: kernels.Engine, inputs: Sequence) -> Sequence:
    """Return arrays or variables cast to the dtype that the engine computes in; None for None."""
    dtypes = {x.dtype for x in inputs if x is not None}
    if len(dtypes) == 1 and dtypes <= _WIDE:
        return inputs
    dtype = engine.wide_dtype(*dtypes)
    if dtypes == {dtype}:
        return inputs
    return [x if x is None else cast(x, dtype) for x in inputs]


def cast(x: Any, dtype: Any) -> Any:
    """Return an array or a variable in a dtype; unchanged if it already has that dtype."""
    if x.dtype == dtype:
        return x
    return F.cast(x, dtype) if isinstance(x, variable.Variable) else x.astype(dtype)


def refuse_chainerx() -> NoReturn:
    """Raise a TypeError that names the supported arrays."""
    raise TypeError(
        'chainer_lstm computes on NumPy and CuPy arrays; got ChainerX arrays '
        '(bring them over with to_device("@numpy") or to_device("@cupy:0"))'
    )

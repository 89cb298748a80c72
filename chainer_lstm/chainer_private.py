"""Chainer's private names that the package uses; no other module has them.

``compat``, which edits Chainer's modules, names what it replaces there itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Optional

import chainer
import numpy
from chainer import _backend, _backprop, function_node, initializers, variable
from chainer.backends import _cpu, cuda
from chainer.functions.loss import softmax_cross_entropy
from chainer.utils import type_check

# (value) -> the initializer of None, a number, an array or a callable
initializer: Callable[[Any], Any] = initializers._get_initializer
# (in_types, names): name the inputs of a node in the errors of its type checks
argname = type_check._argname
# (reduce) and (x, t, ignore_label): raise a ValueError
check_reduce_option = softmax_cross_entropy._check_reduce_option
check_classes = softmax_cross_entropy._check_input_values
# () -> the link hooks of this thread that are for all links
link_hooks = chainer._get_link_hooks
# (arrays, function) -> the arrays, also in lists, tuples and dictionaries, each converted
convert_arrays = _backend._convert_arrays
to_cpu = _cpu._array_to_cpu
# the code of the loops of ``Variable.backward`` and ``chainer.grad``; the local variable ``grads``
# of each is one table for a backward pass
BACKWARD_LOOPS = frozenset((_backprop._backprop_to_all.__code__, function_node._backprop.__code__))

_SETTINGS = chainer.config._local  # of each thread
_DEFAULTS = vars(chainer.global_config)
_VARIABLES = frozenset((variable.Variable, variable.Parameter))


class NamedNode(function_node.FunctionNode):
    """A node whose name in hooks is its ``label``."""

    @property
    def label(self) -> str:
        """The name in graphs and of hooks."""
        return type(self).__name__

    @property
    def _impl_name(self) -> str:
        return self.label


def setting(name: str) -> Any:
    """Return an entry of ``chainer.config``, in a quarter of the time of attribute access."""
    own = _SETTINGS.__dict__
    return own[name] if name in own else _DEFAULTS[name]


def settings() -> dict[str, Any]:
    """Return all entries of ``chainer.config`` in this thread."""
    return {**_DEFAULTS, **_SETTINGS.__dict__}


def new_variable(x: Any, requires_grad: bool) -> variable.Variable:
    """Return an array as a variable, in a third of the constructor's time: nothing is checked."""
    y: Any = object.__new__(variable.Variable)
    y._requires_grad = requires_grad
    y._loss_scale = None
    y._grad_var = None
    y._device = None
    y._grad_valid = True
    y._layout = None
    y._data = [x]
    y._grad = None
    node: Any = object.__new__(variable.VariableNode)
    node._variable = weakref.ref(y)
    node.name = None
    node._requires_grad = requires_grad
    node._layout = None
    node.dtype = x.dtype
    node.shape = x.shape
    y._node = node
    return y


def arrays_of(xs: Sequence[Any]) -> list[Any]:
    """Return the arrays of variables, in half of the time of ``Variable.array``.

    What is no variable, one of a subclass, or one of another memory layout is returned as it is.
    """
    return [x._data[0] if type(x) in _VARIABLES and x._layout is None else x for x in xs]


def has_hooks_or_forward(link: Any) -> bool:
    """Return whether a link has hooks, or a ``forward`` that is not that of its class."""
    own = vars(link)
    return bool(own.get('_local_link_hooks')) or 'forward' in own


def cupy_error() -> Any:
    """Return the error by which Chainer found that it cannot use CuPy."""
    return cuda._resolution_error


def parameter_names(link: chainer.Link) -> list[str]:
    """Return the names of a link's own parameters, without those of its children, sorted."""
    return sorted(link._params)


def initialize_linear(linear: chainer.links.Linear, in_size: int) -> None:
    """Initialize the weight of a ``Linear`` that waits for the size of its input."""
    linear._initialize_params(in_size)


def replace_current_device(function: Any) -> None:
    """Let Chainer ask a function for the current GPU, or for that of a number."""
    cuda._get_device_or_current = function


def loss_scale(optimizer: Any) -> Any:
    """Return the factor of the loss that an optimizer divides its gradients by, or None."""
    return optimizer._loss_scale


def embedding_shape(node: Any) -> tuple[int, int]:
    """Return the shape of the weight that an ``EmbedIDFunction`` had in forward."""
    return node._w_shape


def hooks(optimizer: Any, timing: str) -> Optional[list[Any]]:
    """Return the hooks that an optimizer calls before or after an update; None before ``setup``.

    Args:
        optimizer: a ``chainer.Optimizer``.
        timing: 'pre' or 'post'.
    """
    hookable = optimizer._hookable
    if hookable is None:
        return None
    return list(getattr(hookable, f'_{timing}_update_hooks').values())


def clears_gradients(optimizer: Any) -> bool:
    """Return whether ``update`` clears gradients before a loss, instead of filling in zeros."""
    return getattr(optimizer, '_use_cleargrads', True)


def has_hooks(rule: Any) -> bool:
    """Return whether an update rule has hooks of its own."""
    hookable = rule._hookable
    return bool(hookable._pre_update_hooks or hookable._post_update_hooks)


def initialize_state(rule: Any, param: Any) -> None:
    """Let an update rule make the states of a parameter."""
    rule._init_states(param)


def check_eps(rule: Any, dtype: numpy.dtype) -> None:
    """Let a rule of ``Adam`` raise its error for an eps that is 0 in a dtype."""
    rule._check_eps(dtype.type)


def loss_scale_of(param: Any) -> Any:
    """Return the factor of the loss whose gradients a parameter has, or None."""
    return param._loss_scale


def connect(node: Any, inputs: Sequence[Any], ys: Sequence[Any], arrays: Sequence[Any]) -> None:
    """Let a node be the creator of its outputs: the end of ``FunctionNode.apply``.

    Args:
        node: a ``FunctionNode`` after ``forward``.
        inputs: its variables.
        ys: its outputs as variables.
        arrays: its outputs as ``forward`` returned them.
    """
    node._output_count = len(ys)
    node._output_layouts = (None,) * len(ys)
    if not setting('enable_backprop'):
        return
    node.rank = max([x.rank for x in inputs])
    node.inputs = tuple([x.node for x in inputs])
    for y in ys:
        y.creator_node = node
    node.outputs = tuple([weakref.ref(y.node) for y in ys])
    for k in node._input_indexes_to_retain or ():
        inputs[k].retain_data()
    retained = node._output_indexes_to_retain or ()
    for k in retained:
        ys[k].retain_data()
    node._retained_output_data = tuple([arrays[k] for k in retained])
    node.lazy_grad_sum = setting('lazy_grad_sum')

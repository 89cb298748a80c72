"""``volatile``: the flag of variables by which Chainer v1 chose whether a graph is built."""

from __future__ import annotations

import enum
import functools
import operator
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, Optional

import chainer
from chainer import function_node, variable

from chainer_lstm.arrays import Array
from chainer_lstm.compat.replacements import Replacements
from chainer_lstm.compat.v1.arguments import from_program
from chainer_lstm.functions import node


class Flag(enum.Enum):
    """Three values: ``Flag('on')``, ``'off'``, ``'auto'``, or True, False, None."""

    ON = True
    OFF = False
    AUTO = None

    @classmethod
    def _missing_(cls, value: Any) -> Optional[Flag]:
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None

    def __bool__(self) -> bool:
        if self is AUTO:
            raise ValueError('the flag AUTO is neither true nor false')
        return self is ON

    def __eq__(self, other: Any) -> bool:
        try:
            return self is Flag(other)
        except ValueError:
            return False

    __hash__ = enum.Enum.__hash__

    def __repr__(self) -> str:
        return self.name

    __str__ = __repr__


ON, OFF, AUTO = Flag


def aggregate_flags(flags: Sequence[Flag]) -> Flag:
    """Return the flag of the outputs of a function: ON or OFF if an input has it, else AUTO.

    Raises:
        ValueError: one is ON and another OFF.
    """
    found = AUTO
    for flag in flags:
        if flag is not found and flag is not AUTO:
            if found is not AUTO:
                raise ValueError(
                    'ON and OFF flags cannot be mixed: expected volatile variables '
                    'only, or none, as inputs of one function'
                )
            found = flag
    return found


def install(replacements: Replacements) -> None:
    """Add ``chainer.flag`` and ``volatile``, and let functions build graphs accordingly.

    A variable that a program makes is OFF by default, parameters and arrays are AUTO.
    """
    module = types.ModuleType('chainer.flag', __doc__)
    names = {'Flag': Flag, 'ON': ON, 'OFF': OFF, 'AUTO': AUTO}
    vars(module).update(names, aggregate_flags=aggregate_flags)
    replacements.set(sys.modules, 'chainer.flag', module)
    for name, value in {**names, 'flag': module}.items():
        replacements.set(chainer, name, value)
    cls = variable.Variable
    replacements.set(cls, '_volatile', AUTO)
    replacements.set(cls, 'volatile', property(operator.attrgetter('_volatile'), _set_volatile))
    replacements.set(cls, '__init__', _init(cls.__init__))
    replacements.set(cls, '__len__', _len(cls.__len__))
    replacements.set(cls, '__hash__', object.__hash__)  # by identity, for sets of variables
    for function in (function_node.FunctionNode, node.Node):
        replacements.set(function, 'apply', _apply(function.apply))


def variable_of(array: Array, volatile: Flag) -> variable.Variable:
    """Return an array as a variable with that flag."""
    x = chainer.Variable(array)
    x._volatile = volatile
    return x


def _set_volatile(self: variable.Variable, value: Any) -> None:
    self._volatile = Flag(value)


def _init(init: Callable) -> Callable:
    @functools.wraps(init)
    def __init__(self: variable.Variable, *args: Any, **kwargs: Any) -> None:
        if from_program():
            kwargs.update(zip(('data', 'volatile', 'name', 'grad'), args))
            args = ()
            self._volatile = Flag(kwargs.pop('volatile', OFF))
        init(self, *args, **kwargs)

    return __init__


def _len(length: Callable) -> Callable:
    @functools.wraps(length)
    def __len__(self: variable.Variable) -> int:
        # none of a scalar: numpy.asarray would take it for a sequence
        return self.size if self.ndim and from_program() else length(self)

    return __len__


def _apply(function_apply: Callable) -> Callable:
    @functools.wraps(function_apply)
    def apply(self: function_node.FunctionNode, inputs: Sequence) -> tuple:
        flag = aggregate_flags([getattr(x, '_volatile', AUTO) for x in inputs])
        if flag is ON:
            with chainer.no_backprop_mode():
                outputs = function_apply(self, inputs)
        else:
            outputs = function_apply(self, inputs)
        if flag is not AUTO:
            for y in outputs:
                y._volatile = flag
        return outputs

    return apply

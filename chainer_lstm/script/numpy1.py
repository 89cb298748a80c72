"""``--numpy1``: names and conversions of NumPy 1 for the program's own files.

NumPy calls its ``__getattr__`` for a name that it does not have; if the program asks for one of
NumPy 1's names, it gets the value.  Conversions of arrays with one element, such as
``float(array)``, are methods of the array that cannot be replaced, so the calls are rewritten.
NumPy 1's promotion, in which an array of float32 times a float64 scalar stays float32, cannot be
restored: it is part of NumPy's loops.
"""

from __future__ import annotations

import ast
import builtins
import math
import sys
import types
from typing import Any, Optional

import numpy

from chainer_lstm.script import own_code

# the name of this module in the program's files: between underscores, so that no class mangles it
_HERE = '__chainer_lstm_numpy1__'
_CUPY_ON_CPU = 'chainer_lstm.script.cupy_on_cpu'

# Python's types of numbers, which were names of NumPy 1 too
_NUMBERS = frozenset(['complex', 'float', 'int', 'long'])

# name in NumPy 1 -> name in NumPy 2
_RENAMED = {
    'Inf': 'inf', 'Infinity': 'inf', 'NaN': 'nan', 'PINF': 'inf', 'alltrue': 'all',
    'bool8': 'bool_', 'bytes0': 'bytes_', 'cfloat': 'complex128', 'clongfloat': 'clongdouble',
    'complex_': 'complex128', 'cumproduct': 'cumprod', 'float_': 'float64', 'infty': 'inf',
    'int0': 'intp', 'longcomplex': 'clongdouble', 'longfloat': 'longdouble', 'mat': 'asmatrix',
    'object0': 'object_', 'product': 'prod', 'rank': 'ndim', 'round_': 'round',
    'row_stack': 'vstack', 'singlecomplex': 'complex64', 'sometrue': 'any', 'str0': 'str_',
    'string_': 'bytes_', 'trapz': 'trapezoid', 'typeDict': 'sctypeDict', 'uint0': 'uintp',
    'unicode_': 'str_', 'void0': 'void',
}  # fmt: skip
_EXCEPTIONS = (
    'AxisError',
    'ComplexWarning',
    'ModuleDeprecationWarning',
    'RankWarning',
    'TooHardError',
    'VisibleDeprecationWarning',
)


class _Cast(dict):
    """``numpy.cast``: ``cast[dtype]`` is a function."""

    def __missing__(self, dtype: Any) -> Any:
        return lambda a: numpy.asarray(a).astype(dtype)


# name in NumPy 1 -> its value
_NAMES: dict[str, Any] = {
    'bool': bool,
    'complex': complex,
    'float': float,
    'int': int,
    'long': int,
    'object': object,
    'str': str,
    'unicode': str,
    'NINF': -math.inf,
    'NZERO': -0.0,
    'PZERO': 0.0,
    'asfarray': lambda a, dtype=numpy.float64: numpy.asarray(
        a, numpy.float64 if numpy.issubdtype(dtype, numpy.integer) else dtype
    ),
    'asscalar': lambda a: a.item(),
    'cast': _Cast(),
    'in1d': lambda ar1, ar2, **options: numpy.isin(numpy.ravel(ar1), ar2, **options),
    'msort': lambda a: numpy.sort(a, axis=0),
    'obj2sctype': lambda rep: numpy.dtype(rep).type,
    'sctypes': {
        'int': [numpy.int8, numpy.int16, numpy.int32, numpy.int64],
        'uint': [numpy.uint8, numpy.uint16, numpy.uint32, numpy.uint64],
        'float': [numpy.float16, numpy.float32, numpy.float64, numpy.longdouble],
        'complex': [numpy.complex64, numpy.complex128, numpy.clongdouble],
        'others': [bool, object, bytes, str, numpy.void],
    },
}

NAMES = frozenset([*_RENAMED, *_EXCEPTIONS, *_NAMES])


def install() -> None:
    """Give NumPy 1's names and conversions to the program's own files."""
    names = numpy.__dict__
    get_name = names['__getattr__']

    def get_old_name(name: str) -> Any:
        if name in NAMES and _is_from_program(sys._getframe(1)):
            return _value(name)
        return get_name(name)

    names['__getattr__'] = get_old_name
    setattr(builtins, _HERE, sys.modules[__name__])
    own_code.add_transformer(_Conversions())


def _is_from_program(frame: Optional[types.FrameType]) -> bool:
    while frame is not None and frame.f_globals.get('__name__') == _CUPY_ON_CPU:
        frame = frame.f_back  # the program asks CuPy's stand-in, which asks NumPy
    return frame is not None and own_code.is_own(frame.f_code.co_filename)


def _value(name: str) -> Any:
    if name in _NAMES:
        return _NAMES[name]
    if name in _EXCEPTIONS:
        return getattr(numpy.exceptions, name)
    return getattr(numpy, _RENAMED[name])


def item(value: Any) -> Any:
    """Return the element of an array that has one; everything else as it is."""
    if isinstance(value, numpy.ndarray) and value.ndim > 0 and value.size == 1:
        return value.item()
    return value


class _Number:
    """An array of one element in a format: a number for %f and %d, the array for %s and %r."""

    def __init__(self, array: numpy.ndarray) -> None:
        self._array = array

    def __str__(self) -> str:
        return str(self._array)

    def __repr__(self) -> str:
        return repr(self._array)

    def __float__(self) -> float:
        return float(self._array.item())

    def __int__(self) -> int:
        return int(self._array.item())

    def __index__(self) -> int:
        return self._array.item().__index__()


def numbers(values: Any) -> Any:
    """Return the replacement of the right side of ``text % values``."""
    if isinstance(values, tuple):
        return tuple(map(_number, values))
    if type(values) is dict:
        return {name: _number(value) for name, value in values.items()}
    return _number(values)


def _number(value: Any) -> Any:
    return value if item(value) is value else _Number(value)


class _Elements:
    """An array, of which an element can be set to an array of one element."""

    def __init__(self, array: numpy.ndarray) -> None:
        self._array = array

    def __getitem__(self, index: Any) -> Any:
        return self._array[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        number = item(value)
        if number is not value and numpy.ndim(self._array[index]) == 0:
            value = number
        self._array[index] = value


def elements(target: Any) -> Any:
    """Return the replacement of the target of ``target[index] = value``."""
    if isinstance(target, numpy.ndarray) and target.dtype.kind != 'O':
        return _Elements(target)
    return target


class _Conversions(ast.NodeTransformer):
    """Rewrite float(x), math.f(x), '...' % x and a[i] = x by the functions of this module.

    The operation itself stays on its line, so that tracebacks of its errors show that line.
    """

    def visit_Module(self, node: ast.Module) -> ast.AST:
        functions = set(_NUMBERS)
        # the names that they have here
        self._modules: dict[str, set[str]] = {'math': set(), 'numpy': set()}
        for each in ast.walk(node):
            if isinstance(each, ast.Import):
                for alias in each.names:
                    if alias.name in self._modules:
                        self._modules[alias.name].add(alias.asname or alias.name)
            elif isinstance(each, ast.ImportFrom) and each.module == 'math' and not each.level:
                functions.update(alias.asname or alias.name for alias in each.names)
        self._functions = functions - _defined(node)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if self._converts(node.func):
            node.args = [
                arg if isinstance(arg, ast.Starred) else _call('item', arg) for arg in node.args
            ]
        return node

    def _converts(self, function: ast.expr) -> bool:
        """Return whether it is a function of numbers: float, np.float or one of math."""
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            module = function.value.id
            return module in self._modules['math'] or (
                module in self._modules['numpy'] and function.attr in _NUMBERS
            )
        return isinstance(function, ast.Name) and function.id in self._functions

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        left = node.left.value if isinstance(node.left, ast.Constant) else None
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            node.right = _call('numbers', node.right)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Store):
            node.value = _call('elements', node.value)
        return node


def _defined(tree: ast.Module) -> set[str]:
    """Return the names that a file gives to functions, classes, arguments and variables."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _call(name: str, argument: ast.expr) -> ast.expr:
    """Return a call of a function of this module; a constant needs none."""
    if isinstance(argument, ast.Constant):
        return argument
    function = ast.Attribute(ast.Name(_HERE, ast.Load()), name, ast.Load())
    call = ast.Call(function, [argument], [])
    for node in (call, function, function.value):
        ast.copy_location(node, argument)
    return call

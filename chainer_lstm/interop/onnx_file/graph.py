"""Builds and writes an ONNX graph."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import IO, Any, Optional, Union

import numpy

Target = Union[str, os.PathLike[str], IO[bytes]]

DEFAULT_OPSET = 14  # of 2021
FIRST_OPSET = 13
_IR_VERSION = 8  # of 2021
_LARGEST = 2**31 - 2**24  # bytes of weights in one protobuf message, with room for the graph
_PAGE = 4096  # external weights begin at pages, so that a runtime can map them


class Graph:
    """A graph under construction, with tensors by name.

    A node or a weight that exists already is not added again.

    Args:
        dtype: of its floats.
    """

    def __init__(self, dtype: numpy.dtype) -> None:
        self._dtype = dtype
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._constants: list[Any] = []
        self._weights: dict[str, numpy.ndarray] = {}
        self._kept: list[numpy.ndarray] = []  # alive, so that an id stands for one array
        self._known: dict[Any, list[str]] = {}

    def input(self, name: str, shape: Sequence[Any], dtype: Any = None, default: Any = None) -> str:
        """Add an input, optional if it has a default: an initializer of its name."""
        self._inputs.append(self._info(name, shape, dtype))
        if default is not None:
            self._constant(name, numpy.asarray(default).astype(self._dtype))
        return name

    def output(self, tensor: str, name: str, shape: Sequence[Any]) -> None:
        """Add an output, a tensor under another name."""
        from onnx import helper

        self._nodes.append(helper.make_node('Identity', [tensor], [name]))
        self._outputs.append(self._info(name, shape, None))

    def weight(self, array: numpy.ndarray, *, transposed: bool = False) -> str:
        """Add an array of floats, which is not copied until it is written."""
        key = 'weight', id(array), transposed
        if key not in self._known:
            name = f'weight_{len(self._weights)}'
            self._weights[name] = array.T if transposed else array
            self._kept.append(array)
            self._known[key] = [name]
        return self._known[key][0]

    def constant(self, values: Any, dtype: Any = numpy.int64) -> str:
        """Add a small constant."""
        array = numpy.array(values, dtype)
        key = 'constant', array.dtype, array.shape, array.tobytes()
        if key not in self._known:
            self._known[key] = [f'constant_{len(self._constants)}']
            self._constant(self._known[key][0], array)
        return self._known[key][0]

    def number(self, value: float) -> str:
        """Add a float."""
        return self.constant(value, self._dtype)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output, and return its name."""
        return self.nodes(operator, 1, *inputs, **attributes)[0]

    def nodes(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node, and return the names of its outputs."""
        from onnx import helper

        key = operator, inputs, repr(sorted(attributes.items()))
        if key not in self._known:
            names = [f'{operator.lower()}_{len(self._nodes)}_{k}' for k in range(outputs)]
            self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
            self._known[key] = names
        return self._known[key]

    def copy(self) -> Graph:
        """Return a copy of the graph that shares its weights."""
        found = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (list, dict)):
                setattr(found, name, value.copy())
        return found

    def is_equal(self, other: Graph) -> bool:
        """Return whether another graph has the same nodes and equal weights."""
        pairs = itertools.zip_longest(self._kept, other._kept)
        return (
            self._nodes == other._nodes
            and self._constants == other._constants
            and self._inputs == other._inputs
            and self._outputs == other._outputs
            and all(x is y or numpy.array_equal(x, y, equal_nan=True) for x, y in pairs)
        )

    def save(self, target: Target, name: str, opset: int) -> None:
        """Check the graph and write it.

        Weights above 2 GB, protobuf's limit, are written one after the other into a second file, as
        ONNX's external data.  The graph is checked with its weights as inputs, to avoid copies.

        Raises:
            TypeError: target is neither a path nor a file object.
            ValueError: target is a file object, and the weights need a second file.
        """
        import onnx

        weights = [self._info(key, array.shape, None) for key, array in self._weights.items()]
        checked = self._model(name, opset, [*self._inputs, *weights])
        onnx.checker.check_model(checked, full_check=True)
        size = sum(array.size for array in self._weights.values()) * self._dtype.itemsize
        model = self._model(name, opset, self._inputs)
        if not isinstance(target, (str, os.PathLike)):
            if not hasattr(target, 'write'):
                raise TypeError(
                    'path: expected a path or a file object that is open for binary writing, '
                    f'got {target!r}'
                )
            if size > _LARGEST:
                raise ValueError(
                    'path: expected the path of a file, for weights above 2 GB are in a second '
                    f'file beside it, got a {type(target).__name__} and {size} bytes'
                )
            self._add_weights(model)
            target.write(model.SerializeToString())
            return
        path = os.fspath(target)
        if size > _LARGEST:
            self._add_external_weights(model, f'{path}.data')
        else:
            self._add_weights(model)
        with open(path, 'wb') as file:
            file.write(model.SerializeToString())

    def _model(self, name: str, opset: int, inputs: list) -> Any:
        """Return the model without its weights, which onnx's helpers would copy several times."""
        from onnx import helper

        order = [info.name for info in self._outputs]
        outputs = sorted(self._outputs, key=lambda info: (info.name != 'y', order.index(info.name)))
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        opsets = [helper.make_opsetid('', opset)]
        return helper.make_model(
            graph,
            opset_imports=opsets,
            producer_name='chainer_lstm',
            ir_version=max(_IR_VERSION, helper.find_min_ir_version_for(opsets)),
        )

    def _tensors(self, model: Any) -> Iterator[tuple[Any, numpy.ndarray]]:
        """Add a tensor without data to a model for each weight, and yield both."""
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(self._dtype)
        for name, array in self._weights.items():
            tensor = model.graph.initializer.add(name=name, data_type=kind, dims=array.shape)
            yield tensor, numpy.ascontiguousarray(array, self._dtype.newbyteorder('<'))

    def _add_weights(self, model: Any) -> None:
        for tensor, array in self._tensors(model):
            tensor.raw_data = array.tobytes()

    def _add_external_weights(self, model: Any, path: str) -> None:
        """Write all weights into a file, one after the other, and refer to it."""
        with open(path, 'wb') as file:
            for tensor, array in self._tensors(model):
                start = -(-file.tell() // _PAGE) * _PAGE
                file.seek(start)
                length = file.write(array.data)
                tensor.data_location = type(tensor).EXTERNAL
                place = {'location': os.path.basename(path), 'offset': start, 'length': length}
                for key, value in place.items():
                    tensor.external_data.add(key=key, value=str(value))

    def _constant(self, name: str, array: numpy.ndarray) -> None:
        import onnx

        self._constants.append(onnx.numpy_helper.from_array(array, name))

    def _info(self, name: str, shape: Sequence[Any], dtype: Any) -> Any:
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(numpy.dtype(self._dtype if dtype is None else dtype))
        return helper.make_tensor_value_info(name, kind, shape)


def check_opset(opset: Optional[int]) -> int:
    """Return the version of ONNX's operators to write, the default for None.

    Raises:
        TypeError, ValueError: the version is not supported.
    """
    import onnx

    if opset is None:
        return DEFAULT_OPSET
    if not isinstance(opset, int) or isinstance(opset, bool):
        raise TypeError(f'opset: expected an integer, got {opset!r}')
    latest = onnx.defs.onnx_opset_version()
    if not FIRST_OPSET <= opset <= latest:
        raise ValueError(
            f'opset: expected {FIRST_OPSET} to {latest}, which onnx {onnx.__version__} knows, '
            f'got {opset}'
        )
    return opset

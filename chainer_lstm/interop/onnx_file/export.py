"""Export of a model to ONNX: checks the arguments, traces, translates and writes the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import chainer
import chainer.links as L
import numpy

from chainer_lstm import links
from chainer_lstm.functions.checks import variable
from chainer_lstm.interop import weights
from chainer_lstm.interop.onnx_file import lstm
from chainer_lstm.interop.onnx_file.check import check
from chainer_lstm.interop.onnx_file.graph import Graph, Target, check_opset
from chainer_lstm.interop.onnx_file.trace import Trace, family, is_of_one_cell, traces
from chainer_lstm.interop.onnx_file.translation import Translation


def export_onnx(
    model: chainer.Link,
    path: Target,
    example: Any,
    *,
    dtype: Any = numpy.float32,
    opset: Optional[int] = None,
    each_step: Optional[bool] = None,
) -> None:
    """Write a model to an ONNX file that computes the same function, without dropout.

    The model is called with the example, and with other values and sizes to see that it computes
    the same functions.  Its calls of links of the LSTM family are recorded, and Chainer's functions
    between them are translated one by one.  So links may have any names, shapes and order, and
    residual connections and activations are exported too.  An unknown function, or a function that
    mixes the rows of a batch, is an error; nothing is omitted silently.

    Inputs of the file: ``x``; ``sequence_lens`` (B,) int32, only for a list of sequences; ``h0``
    and ``c0`` (N, B, H), with the S * D rows of each link, in the order of the calls.  The states
    are optional: by default a link starts from zeros, or from the learned state of a
    ``SequenceLSTM``.  Outputs: ``y``, ``hn``, ``cn``, the states in the form of h0 and c0.  B and T
    are free.  If links have different H, each has states of its own: ``h0_encoder`` for
    ``model.encoder``.

    Args:
        model: a link of the family, or a ``Sequential`` or other ``Chain`` of such links,
            ``EmbedID``, ``Linear`` and functions; for a ``Classifier`` its predictor is exported.
            It takes one argument and returns one variable, or a list of sequences.  Matrices
            for gates that see c must be diagonal.  ONNX's LSTM has no ``cell_clip``, ``proj_size``,
            ``return_cells``, ``zoneout_expectation`` and normalization.
        path: the path of the file, or a file object opened for binary writing.  Weights above 2 GB
            are written into a second file, ``<path>.data``, which must stay in the same folder.
        example: an argument for the model; its values do not matter.  T and B of the example should
            be numbers that occur nowhere else in forward, such as 5 and 3: a reshape to a fixed
            size that happens to equal B is taken for a reshape to B.

            - x (B, I) or word ids (B,): one step.
            - x (T, B, I) or word ids (T, B), with ``LSTM`` and other links that compute one step
              per call: the file computes all steps.
            - x (B, T, I) or (T, B, I), with ``SequenceLSTM``, or their word ids: as for the link.
            - a list of sequences (L, I) or (L,), with NStep links: x (T, B, I) or (T, B), padded
              with 0, and y in the same form.  An NStep link sets y after the end of a sequence to
              0; functions after it, such as ``Linear``, compute those rows too.
        dtype: the dtype of the file's floats.  onnxruntime computes LSTMs only in float32 and
            float16.
        opset: the version of ONNX's operators, from 13; the default is 14, of 2021.
        each_step: whether the example has all steps (T, B, …) of a model that is called with one
            step (B, …).  Default: True if the example has one axis more than a step and all links
            of the family in the model compute one step per call.  A model that iterates over the
            time axis of x itself needs False: ``forward_sequence`` is exported for any T, a loop
            for the T of the example.

    Raises:
        TypeError: model or example is of the wrong kind, or the model has functions or links of
            cells that cannot be exported.
        ValueError: dtype is not a float; opset is not supported; a matrix for c is full; an
            option cannot be exported; a size is not known yet; the example does not fit; a function
            mixes rows; functions or numbers depend on the values or sizes of x or on the step; or
            an array comes neither from x nor from a parameter.  Nothing is written.
        OSError: the file cannot be written.
    """
    if not isinstance(model, chainer.Link) or not hasattr(model, 'forward'):
        raise TypeError(
            f'model: expected a chainer.Link with a method forward, got {type(model).__name__}'
        )
    if numpy.dtype(dtype).kind != 'f':
        raise ValueError(f'dtype: expected a float, got {numpy.dtype(dtype)}')
    opset = check_opset(opset)
    example = _checked_example(example)
    if isinstance(model, L.Classifier):
        model = model.predictor
    _check_initialized(model)
    graph = Graph(numpy.dtype(dtype))
    found = family(model)
    stacks = {id(link): lstm.stack(graph, link) for link in found}
    if isinstance(model, weights.FAMILY):
        _check_fit(model, example)
    if each_step is None:
        each_step = _has_steps(found, example)
    if each_step and (isinstance(example, list) or not len(example)):
        raise ValueError('example: expected an array of steps (T, B, …), at least one, got none')
    calls = traces(model, _of_values(example, model), each_step)
    first_calls = {id(link_call.link): link_call for link_call in reversed(calls[0].calls)}
    for link_call in first_calls.values():
        check(link_call)
    _translated(model, calls, graph, stacks).save(path, type(model).__name__, opset)


def _translated(
    model: chainer.Link, calls: Sequence[Trace], graph: Graph, stacks: Mapping[int, lstm.Stack]
) -> Graph:
    """Return the graph of a model, which must be the same for all calls.

    Args:
        model: the model.
        calls: the recorded calls of the model.
        graph: has the weights of its links of the family.
        stacks: the layers of these links, by the id of the link.

    Raises:
        TypeError, ValueError: a call cannot be translated, or the graphs differ.
    """
    names = {id(link): name.strip('/').replace('/', '_') for name, link in model.namedlinks()}
    graphs = [graph.copy() for _ in calls]
    for of_call, call in zip(graphs, calls):
        Translation(of_call, call, stacks, names).run()
    if not all(graphs[0].is_equal(other) for other in graphs[1:]):
        raise ValueError(
            f'{type(model).__name__}: expected a model that computes the same functions, of the '
            'same numbers, for all values and sizes of x and in all steps, got another one in a '
            'further call: its forward may read the values, the batch or the length of x, draw '
            'numbers, count, or treat the first step differently'
        )
    return graphs[0]


def _checked_example(example: Any) -> Any:
    """Return an array, or a list of them."""
    if not isinstance(example, (list, tuple)):
        return variable('example', example).array
    if not example:
        raise ValueError('example: expected at least one sequence, got an empty list')
    return [variable(f'example[{k}]', x).array for k, x in enumerate(example)]


def _of_values(example: Any, model: chainer.Link) -> Any:
    """Return an example of random floats, so that steps differ, in a dtype of the model."""
    if isinstance(example, list):
        return [_of_values(x, model) for x in example]
    if example.dtype.kind != 'f':
        return example
    dtypes = sorted({param.dtype for param in model.params()})
    dtype = example.dtype if example.dtype in dtypes or not dtypes else dtypes[-1]
    values = numpy.random.RandomState(0).uniform(-1, 1, example.shape).astype(dtype)
    return chainer.backend.get_device_from_array(example).send(values)


def _check_initialized(model: chainer.Link) -> None:
    for name, param in model.namedparams():
        if param.array is None:
            raise ValueError(
                f'{name.strip("/")}: expected weights, got none: the size of the input shows at '
                'the first call'
            )


def _check_fit(link: Any, example: Any) -> None:
    """Expect an example with the axes and the width that a link of the family takes."""
    width = lstm.read(link).sizes[1]
    if lstm.is_n_step(link):
        allowed = [2]
    else:
        allowed = [3] if isinstance(link, links.SequenceLSTM) else [2, 3]
    for x in example if isinstance(example, list) else [example]:
        if x.ndim not in allowed or x.shape[-1] != width:
            raise ValueError(
                f'example: expected {" or ".join(map(str, allowed))} axes, the last of {width}, '
                f'got shape {x.shape}'
            )


def _has_steps(found: list[Any], example: Any) -> bool:
    """Return whether an example has all steps for links that compute one step per call."""
    if not found or isinstance(example, list) or not all(is_of_one_cell(link) for link in found):
        return False
    return example.ndim == (3 if example.dtype.kind == 'f' else 2)

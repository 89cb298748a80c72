"""A call of a model, with its calls of links of the LSTM family."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chainer

from chainer_lstm import links
from chainer_lstm.functions.checks import variable
from chainer_lstm.interop import weights
from chainer_lstm.interop.onnx_file import lstm
from chainer_lstm.interop.onnx_file.functions import Rows

Example = Any  # an array, or a list of them


class LinkCall(NamedTuple):
    """A call of a link of the family.

    Attributes:
        link: the link.
        xs: its input, or the sequences of an NStep link.
        initial: h and c as they were given to it, or None.
        ys: its outputs, as xs.
        last: h and c after it.
        rows: of its input, where the link says so: ``SEQUENCE``, ``TIME_MAJOR``, ``BATCH_MAJOR``,
            or ``BATCH`` for one step.
    """

    link: Any
    xs: Sequence[Any]
    initial: Sequence[Any]
    ys: Sequence[chainer.Variable]
    last: Sequence[chainer.Variable]
    rows: Rows


class Trace(NamedTuple):
    """A call of a model.

    Attributes:
        x: the variables that it was called with, several for a list of sequences.
        y: what it returned, likewise.
        calls: those of links of the family, in order.
        before: those of an earlier call of the model.
        rows: those of x.
    """

    x: Sequence[chainer.Variable]
    y: Sequence[chainer.Variable]
    calls: Sequence[LinkCall]
    before: Sequence[LinkCall]
    rows: Rows


def family(model: chainer.Link) -> list[Any]:
    """Return the links of the family in a model, without those inside of others, each once."""
    if isinstance(model, weights.FAMILY):
        return [model]
    found = {id(link): link for child in model.children() for link in family(child)}
    return list(found.values())


def is_of_one_cell(link: chainer.Link) -> bool:
    """Return whether a link computes one step in a call."""
    return not isinstance(link, links.SequenceLSTM) and not lstm.is_n_step(link)


def trace(model: Any, example: Example, each_step: bool) -> Trace:
    """Call a model with an example, and record that; the model is as before.

    It is called twice, so that a state which is kept elsewhere than in the links of the family
    shows: the second call then computes with something of the first.

    Raises:
        TypeError: it returns neither an array nor a list of sequences.
    """
    calls: list[LinkCall] = []
    given = example if isinstance(example, list) else [example[0] if each_step else example]
    with contextlib.ExitStack() as stack:
        for name, value in (('train', False), ('enable_backprop', True)):
            stack.enter_context(chainer.using_config(name, value))
        for link in model.links():
            stack.callback(_restore, link, vars(link).copy())
        for link in family(model):
            _record(link, calls)
        _call(model, given, isinstance(example, list))
        before, calls[:] = [*calls], []
        x, result = _call(model, given, isinstance(example, list))
    y = [result] if isinstance(result, chainer.Variable) else result
    if not isinstance(y, (list, tuple)) or not all(isinstance(v, chainer.Variable) for v in y):
        raise TypeError(
            'expected a model that returns one variable, or a list of sequences, '
            f'got {type(result).__name__} from {type(model).__name__}'
        )
    return Trace(x, y, calls, before, _rows_of_input(example, each_step, calls))


def _call(model: Any, arrays: Sequence[Any], several: bool) -> tuple[Sequence[Any], Any]:
    """Return new variables of the arrays, and what the model makes of them."""
    for link in family(model):
        if hasattr(link, 'reset_state'):
            link.reset_state()
    x = [chainer.Variable(array) for array in arrays]
    return x, _called(model, x if several else x[0])


def _called(model: Any, x: Any) -> Any:
    """Return y of a model, without the states that links of the family return too."""
    if lstm.is_n_step(model):
        return model(None, None, x)[2]
    if isinstance(model, weights.chainers(links.StatelessLSTM)):
        return model(None, None, x)[1]
    y = model(x)
    return y[0] if isinstance(model, links.SequenceLSTM) and isinstance(y, tuple) else y


def _restore(link: chainer.Link, attributes: dict[str, Any]) -> None:
    vars(link).clear()
    vars(link).update(attributes)


def _rows_of_input(example: Example, each_step: bool, calls: Sequence[LinkCall]) -> Rows:
    if isinstance(example, list):
        return Rows.SEQUENCE
    if each_step:
        return Rows.STEP
    return calls[0].rows if calls and calls[0].rows is not Rows.SEQUENCE else Rows.BATCH


def _record(link: Any, calls: list[LinkCall]) -> None:
    """Replace the methods of a link by ones that also append to calls."""
    if isinstance(link, links.SequenceLSTM):
        _record_sequence(link, calls)
    elif lstm.is_n_step(link):
        _record_n_step(link, calls)
    elif isinstance(link, weights.chainers(links.StatelessLSTM)):
        _record_stateless(link, calls)
    else:
        _record_steps(link, calls)


def _record_sequence(link: Any, calls: list[LinkCall]) -> None:
    forward, returns_state = link.forward, link.return_state
    rows = Rows.BATCH_MAJOR if link.batch_first else Rows.TIME_MAJOR
    link.return_state = True

    def recorded(x: Any, initial_state: Any = None, **options: Any) -> Any:
        _check_options(link, options)
        if variable('x', x).ndim != 3:
            raise ValueError(f'x: expected a batch {rows.value} of sequences, got shape {x.shape}')
        c, h = (link.c, link.h) if initial_state is None else initial_state
        y, *new = forward(x, initial_state)
        calls.append(LinkCall(link, [x], (h, c), [y], new[::-1], rows))
        return (y, *new) if returns_state else y

    vars(link)['forward'] = recorded


def _record_n_step(link: Any, calls: list[LinkCall]) -> None:
    forward = link.forward

    def recorded(hx: Any, cx: Any, xs: Any, **options: Any) -> Any:
        _check_options(link, options)
        hy, cy, ys = forward(hx, cx, xs)
        calls.append(LinkCall(link, xs, (hx, cx), ys, (hy, cy), Rows.SEQUENCE))
        return hy, cy, ys

    vars(link)['forward'] = recorded


def _record_stateless(link: Any, calls: list[LinkCall]) -> None:
    forward = link.forward

    def recorded(c: Any, h: Any, x: Any) -> Any:
        c_new, h_new = forward(c, h, x)
        calls.append(LinkCall(link, [x], (h, c), [h_new], (h_new, c_new), Rows.BATCH))
        return c_new, h_new

    vars(link)['forward'] = recorded


def _record_steps(link: Any, calls: list[LinkCall]) -> None:
    def recorded(method: Any, rows: Rows) -> Any:
        def call(x: Any, **options: Any) -> Any:
            _check_options(link, options)
            if isinstance(x, (list, tuple)):
                raise TypeError('xs: expected an array in a model of a file, got a list of steps')
            initial = link.h, link.c
            y = method(x)
            calls.append(LinkCall(link, [x], initial, [y], (link.h, link.c), rows))
            return y

        return call

    vars(link)['forward'] = recorded(link.forward, Rows.BATCH)
    if hasattr(link, 'forward_sequence'):  # Chainer's own has none
        own = recorded(link.forward_sequence, Rows.TIME_MAJOR)
        vars(link)['forward_sequence'] = own


def _check_options(link: Any, options: Mapping[str, Any]) -> None:
    """Expect a call without options, of a link that returns no cells of all steps."""
    given = [name for name, value in options.items() if value is not None and value is not False]
    if getattr(link, 'return_cells', False):
        given.append('return_cells')
    if given:
        raise ValueError(
            f'expected a {type(link).__name__} that is called with x and a state and returns no '
            f'cells of all steps, got {", ".join(given)}; for sequences of other lengths a file '
            'has NStep links'
        )

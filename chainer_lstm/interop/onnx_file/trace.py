"""Records a call of a model and, within it, the calls of links of the LSTM family."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
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
        initial: the h and c that it was given, or None.
        ys: its outputs, in the form of xs.
        last: h and c after it.
        rows: the rows of its input according to the link: ``SEQUENCE``, ``TIME_MAJOR``,
            ``BATCH_MAJOR``, or ``BATCH`` for one step.
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
        x: its arguments, several variables for a list of sequences.
        y: its results, in the same form.
        calls: the calls of links of the family, in order.
        before: the calls of links in earlier calls of the model.
        rows: the rows of x.
    """

    x: Sequence[chainer.Variable]
    y: Sequence[chainer.Variable]
    calls: Sequence[LinkCall]
    before: Sequence[LinkCall]
    rows: Rows


def family(model: chainer.Link) -> list[Any]:
    """Return the outermost links of the family in a model, each once."""
    if isinstance(model, weights.FAMILY):
        return [model]
    found = {id(link): link for child in model.children() for link in family(child)}
    return list(found.values())


def is_of_one_cell(link: chainer.Link) -> bool:
    """Return whether a link computes one step per call."""
    return not isinstance(link, links.SequenceLSTM) and not lstm.is_n_step(link)


def traces(model: Any, example: Example, each_step: bool) -> list[Trace]:
    """Call a model several times and record the calls; the model is restored afterwards.

    The second call has other values and, unless the model fails, other sizes; it reveals states
    that are kept outside of the links of the family.  For a model of single steps a third call
    records the next step, as if it were a first step.  The calls must agree to be exported.

    Raises:
        TypeError: the model returns neither an array nor a list of sequences.
        ValueError: a link does not start a step from the state after the previous step.
    """
    several = isinstance(example, list)
    given = example if several else [example[0] if each_step else example]
    found: list[Trace] = []
    calls: list[LinkCall] = []
    with contextlib.ExitStack() as stack:
        for name, value in (('train', False), ('enable_backprop', True)):
            stack.enter_context(chainer.using_config(name, value))
        for link in model.links():
            stack.callback(_restore, link, vars(link).copy())
        for link in family(model):
            _record(link, calls)
        _reset(model)
        found.append(_call(model, given, several, calls, found))
        rows = _rows_of_input(example, each_step, found[0].calls)
        other = [_of_other_values(x) for x in _larger(given, rows)]
        _reset(model)
        try:
            second = _call(model, other, several, calls, found)
        except Exception:  # the model has sizes of its own
            other = [_of_other_values(x) for x in given]
            _reset(model)
            second = _call(model, other, several, calls, found)
        found.append(second)
        if each_step and not isinstance(model, weights.FAMILY):
            found.append(_next(_call(model, other, several, calls, found), second))
    return [call._replace(rows=rows) for call in found]


def _larger(given: Sequence[Any], rows: Rows) -> list[Any]:
    """Return an example with twice the batch and three times the steps; for a list, one more
    sequence and other lengths.
    """
    xp = chainer.backend.get_array_module(given[0])
    if rows is Rows.SEQUENCE:
        return [*(xp.concatenate([x] * (k + 2)) for k, x in enumerate(given)), given[0]]
    copies = {Rows.TIME_MAJOR: (3, 2), Rows.BATCH_MAJOR: (2, 3)}.get(rows, (2,))
    return [xp.tile(x, (*copies, *[1] * (x.ndim - len(copies)))) for x in given]


def _of_other_values(x: Any) -> Any:
    """Return an example with other values and signs, or word ids in another order."""
    return (-0.9 * x).astype(x.dtype) if x.dtype.kind == 'f' else x[::-1]


def _reset(model: Any) -> None:
    for link in family(model):
        if hasattr(link, 'reset_state'):
            link.reset_state()


def _call(
    model: Any,
    arrays: Sequence[Any],
    several: bool,
    calls: list[LinkCall],
    earlier: Sequence[Trace],
) -> Trace:
    """Call a model with new variables of the arrays, and return the recorded call."""
    calls.clear()
    x = [chainer.Variable(array) for array in arrays]
    result = _called(model, x if several else x[0])
    y = [result] if isinstance(result, chainer.Variable) else result
    if (
        not isinstance(y, (list, tuple))
        or not y
        or not all(isinstance(v, chainer.Variable) for v in y)
    ):
        raise TypeError(
            'expected a model that returns one variable, or a list of sequences, '
            f'got {type(result).__name__} from {type(model).__name__}'
        )
    before = [call for each in earlier for call in each.calls]
    return Trace(x, y, [*calls], before, Rows.NONE)


def _next(step: Trace, before: Trace) -> Trace:
    """Return the call of a next step as if it were a first step.

    Raises:
        ValueError: a link does not start from the state after the previous step.
    """
    states = {id(call.link): call.last for call in before.calls}
    calls = []
    for call in step.calls:
        after = states.pop(id(call.link), None)
        if after is not None:
            if any(state is not kept for state, kept in zip(call.initial, after)):
                raise ValueError(
                    f'{type(call.link).__name__}: expected a link that begins each step with the '
                    'state after the one before, as the file does, got one that begins with '
                    'another state, such as a StatelessLSTM, or a link that the model resets'
                )
            call = call._replace(initial=(None, None))
        calls.append(call)
    return step._replace(calls=calls)


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
    """Replace the methods of a link by methods that also record the call."""
    if isinstance(link, links.SequenceLSTM):
        _record_sequence(link, calls)
    elif lstm.is_n_step(link):
        _record_n_step(link, calls)
    elif isinstance(link, weights.chainers(links.StatelessLSTM)):
        _record_stateless(link, calls)
    else:
        _record_steps(link, calls)


def _refuse(link: Any, **options: Any) -> None:
    """Refuse options of a call that cannot be exported.

    Raises:
        ValueError: such an option is given.
    """
    given = sorted(name for name, value in options.items() if value is not None)
    if given:
        raise ValueError(
            f'{type(link).__name__}: expected a call without {", ".join(given)}, which a file '
            'cannot have; for sequences of other lengths it has NStep links'
        )


def _record_sequence(link: Any, calls: list[LinkCall]) -> None:
    forward, returns_state = link.forward, link.return_state
    rows = Rows.BATCH_MAJOR if link.batch_first else Rows.TIME_MAJOR
    link.return_state = True

    def recorded(x: Any, initial_state: Any = None, **options: Any) -> Any:
        _refuse(link, **options, return_cells=link.return_cells or None)
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
        _refuse(link, **options, return_cells=getattr(link, 'return_cells', None) or None)
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
            _refuse(link, **options)
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

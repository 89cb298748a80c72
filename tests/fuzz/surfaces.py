"""What is compared: each function calls one surface of the package, on either side, and returns
its outputs by name.
"""

from __future__ import annotations

from typing import Any

import numpy

from chainer_lstm import cells
from tests.cells import CELLS, layer_norm
from tests.fuzz.program import Program
from tests.fuzz.program import batches as case_batches
from tests.fuzz.sides import LENGTHS, Side, case_dtype

Outputs = dict[str, Any]


def lstm(side: Side) -> Outputs:
    case = side.case
    rows, more, units = case.size('batch', 0), case.one('rows_more', (0, 1, 3)), case.size('units')
    rest = case.one('more_axes', ((), (2,), (3, 2), (1, 1), (0,)))
    c = side.variable('c', (rows + more, units, *rest))
    x = side.variable('x', (rows, 4 * units, *rest))
    return dict(zip('ch', side.functions.lstm(c, x)))


def lstm_step(side: Side) -> Outputs:
    def call(state, x, weights):
        return side.functions.lstm_step(*state, x, *weights)

    return _steps(side, cells.lstm, call)


def peephole_lstm_step(side: Side) -> Outputs:
    def call(state, x, weights):
        return side.functions.peephole_lstm_step(*state, x, *weights)

    return _steps(side, cells.peephole, call)


def step(side: Side) -> Outputs:
    cell = _cell(side.case)

    def call(state, x, weights):
        return side.functions.step(cell, state, x, weights)

    return _steps(side, cell, call)


def _steps(side, cell, call):
    """Steps after each other, with the same weights or, now and then, others."""
    case = side.case
    batches = case_batches(case, growing=False)
    in_size, units = case.size('in_size'), case.size('units')
    weights = [_weights(side, f'weights {k} ', cell, in_size, units) for k in range(2)]
    state = []
    if 'c' in cell.states:
        state.append(side.variable('c', (batches[0] + case.one('rows_more', (0, 1, 3)), units)))
    # h that comes through products alone may be None
    given = 'h' in cell.stages[0].reads or case.one('h', (True, False))
    state.append(side.variable('h', (batches[0], units)) if given else None)
    outputs, which = {}, case.some('weights_of_step', (0, 1), len(batches))
    for t, batch in enumerate(batches):
        *others, h = state
        h = h if h is None or batch == len(h) else h[:batch]
        x = side.variable(f'x{t}', (batch, in_size))
        state = call([*others, h], x, weights[which[t % len(which)] if which else 0])
        outputs |= {f'{name}{t}': s for name, s in zip(cell.states, state)}
    side.depth = len(batches)
    return outputs


def lstm_sequence(side: Side) -> Outputs:
    cell = cells.peephole if side.case.one('peepholes', (False, True)) else cells.lstm

    def call(states, xs, weights, **options):
        hy, cy, ys = side.functions.lstm_sequence(*states[::-1], xs, weights, **options)
        return (cy, hy), ys

    return _sequence(side, cell, call)


def sequence(side: Side) -> Outputs:
    cell = _cell(side.case)

    def call(states, xs, weights, **options):
        return side.functions.sequence(cell, states, xs, weights, **options)

    return _sequence(side, cell, call)


def _sequence(side, cell, call):
    case = side.case
    directions, layers = _directions(case), case.one('layers', (1, 2, 3))
    in_size, units = case.size('in_size'), case.size('units')
    dense = case.one('dense', (False, True))
    if dense:
        sizes = (case.size('batch', 0), in_size, units)
        times = (1, 2, 0, 3, 5, 17, *_long(case, sizes, layers))
        batches = (case.size('batch', 0),) * case.one('time', times)
        rows = case.size('batch', 0)
    else:
        batches = case_batches(case, growing=False)
        rows = batches[0]
    rows += case.one('rows_more', (0, 1, 3))
    single = layers * directions == 1 and case.one('plain_states', (False, True))
    outer = () if single else (layers * directions,)
    states = [side.variable(f'{name}x', (*outer, rows, units)) for name in cell.states]
    weights = []
    for k in range(layers * directions):
        width = in_size if k < directions else directions * units
        weights.append(_weights(side, f'weights {k} ', cell, width, units))
    if dense:
        xs = side.variable('xs', (len(batches), case.size('batch', 0), in_size))
    else:
        xs = [side.variable(f'x{t}', (batch, in_size)) for t, batch in enumerate(batches)]
    side.depth = layers * max(len(batches), 1)
    new, ys = call(
        states,
        xs,
        weights,
        bidirectional=directions == 2,
        dropout=case.one('dropout', (0.0, 0.5, 0.2)),
    )
    outputs = {f'{name}y': s for name, s in zip(cell.states, new)}
    return outputs | ({'ys': ys} if dense else _named('y', ys))


def n_step_lstm(side: Side) -> Outputs:
    return _n_step_function(side, side.functions.n_step_lstm, 1)


def n_step_bilstm(side: Side) -> Outputs:
    return _n_step_function(side, side.functions.n_step_bilstm, 2)


def _n_step_function(side, function, directions):
    case = side.case
    layers, in_size, units, batches = (
        case.one('layers', (1, 2, 3)),
        case.size('in_size'),
        case.size('units'),
        case_batches(case, growing=False),
    )
    shape = (layers * directions, batches[0] + case.one('rows_more', (0, 1, 3)), units)
    hx, cx = side.variable('hx', shape), side.variable('cx', shape)
    ws, bs = [], []
    for k in range(layers * directions):
        width = in_size if k < directions else directions * units
        ws.append(
            [
                side.variable(f'w{k} {j}', (units, width if j < 4 else units), weight=True)
                for j in range(8)
            ]
        )
        bs.append([side.variable(f'b{k} {j}', (units,), weight=True) for j in range(8)])
    xs = [side.variable(f'x{t}', (batch, in_size)) for t, batch in enumerate(batches)]
    side.depth = layers * len(batches)
    hy, cy, ys = function(layers, case.one('dropout', (0.0, 0.5, 0.2)), hx, cx, ws, bs, xs)
    return {'hy': hy, 'cy': cy, **_named('y', ys)}


def linear(side: Side) -> Outputs:
    case = side.case
    axes = case.one('batch_axes', (1, 2))
    x_shape = (case.size('batch', 0), *((3,) if axes == 2 else ()), case.size('in_size'))
    x, W = (
        side.variable('x', x_shape),
        side.variable('W', (case.size('units'), x_shape[-1]), weight=True),
    )
    b = side.variable('b', (len(W),), weight=True) if case.one('bias', (True, False)) else None
    return {'y': side.functions.linear(x, W, b, n_batch_axes=axes)}


def softmax_cross_entropy(side: Side) -> Outputs:
    case = side.case
    rows, classes = case.size('batch'), case.size('classes')
    weights = case.one('class_weight', (False, True))
    if not weights and case_dtype(case).char != 'e' and case.one('no_rows', (False, True)):
        rows = 0
    ignore = case.one('ignore_label', (-1, 0, 255))
    t = (case.numbers('t', (rows,)) * classes).astype(case.one('label_dtype', ('i', 'l', 'h')))
    t = numpy.where(t < 0, ignore if case.one('ignored', (False, True)) else -t, t).astype(t.dtype)
    x = side.variable('x', (rows, classes))
    # of the right shape always: without type checks Chainer's own function takes longer ones
    numbers = (
        numpy.abs(side.replacement('class weight', x.shape[1:2], x.dtype)) if weights else None
    )
    return {
        'loss': side.functions.softmax_cross_entropy(
            x,
            t,
            case.one('normalize', (True, False)),
            ignore_label=ignore,
            class_weight=numbers,
            reduce=case.one('reduce', ('mean', 'no')),
            enable_double_backprop=True,
        )
    }


def tree_lstm(side: Side) -> Outputs:
    case = side.case
    rows, units, count = case.size('batch', 0), case.size('units'), case.one('children', (2, 1, 3))
    cs = [side.variable(f'c{k}', (rows, units)) for k in range(count)]
    x = side.variable('x', (rows, (3 + count) * units))
    return dict(zip('ch', side.functions.tree_lstm(*cs, x)))


def slstm(side: Side) -> Outputs:
    case = side.case
    rows, units, rest = case.size('batch', 0), case.size('units'), case.one('axes', ((), (2,)))
    cs = [side.variable(f'c{k}', (rows, units, *rest)) for k in range(2)]
    xs = [side.variable(f'x{k}', (rows, 4 * units, *rest)) for k in range(2)]
    return dict(zip('ch', side.functions.slstm(*cs, *xs)))


def ChildSumTreeLSTM(side: Side) -> Outputs:
    return _trees(side, 'ChildSumTreeLSTM', 9)


def NaryTreeLSTM(side: Side) -> Outputs:
    return _trees(side, 'NaryTreeLSTM', side.case.one('n_ary', (2, 1, 3)))


def _trees(side, name, most):
    """Trees in any order of their nodes."""
    case = side.case
    in_size, units, nodes = case.size('in_size'), case.size('units'), case.one('nodes', (4, 1, 9))
    sizes = (in_size, units, *((most,) if name == 'NaryTreeLSTM' else ()))
    link = side.link('link', getattr(side.links, name)(*sizes))
    order = numpy.argsort(case.numbers('order', (nodes,)))
    above = numpy.abs(case.numbers('parents', (nodes,)))
    children: list[list[int]] = [[] for _ in range(nodes)]
    for k in range(nodes - 1):
        parent = order[k + 1 + int(above[k] * (nodes - k - 1))]
        if len(children[parent]) < most:
            children[parent].append(int(order[k]))
    side.depth = nodes
    x = side.variable('x', (nodes, in_size))
    return dict(zip('ch', link.forward_trees(children, x)))


def LSTM(side: Side) -> Outputs:
    return Program(side, 'LSTM').run()


def StatefulPeepholeLSTM(side: Side) -> Outputs:
    return Program(side, 'StatefulPeepholeLSTM').run()


def StatelessLSTM(side: Side) -> Outputs:
    case = side.case
    in_size, units, batches = (
        case.size('in_size'),
        case.size('units'),
        case_batches(case, growing=False),
    )
    link = side.link('link', side.links.StatelessLSTM(in_size, units))
    c, h = (
        side.variable(name, (rows, units)) if case.one(name, (True, False)) else None
        for name, rows in (('c', batches[0] + case.one('rows_more', (0, 1, 3))), ('h', batches[0]))
    )
    outputs = {}
    for t, batch in enumerate(batches):
        h = None if h is None else h[:batch] if batch < len(h) else h
        rows = (
            1
            if c is not None and h is not None and case.one('one_row_of_x', (False, True))
            else batch
        )
        c, h = link(c, h, side.variable(f'x{t}', (rows, in_size)))
        outputs |= {f'c{t}': c, f'h{t}': h}
        side.depth += 1
    return outputs


def NStepLSTM(side: Side) -> Outputs:
    return _n_step_link(side, 'NStepLSTM', 1)


def NStepBiLSTM(side: Side) -> Outputs:
    return _n_step_link(side, 'NStepBiLSTM', 2)


def _n_step_link(side, name, directions):
    case = side.case
    layers, in_size, units = case.one('layers', (1, 2, 3)), case.size('in_size'), case.size('units')
    lengths = case.some('lengths', LENGTHS, 5, 1)
    link = side.link(
        'link',
        getattr(side.links, name)(layers, in_size, units, case.one('dropout', (0.0, 0.5, 0.2))),
    )
    _override(link, case.one('rnn', ('inherited', 'of a subclass', 'an attribute')))
    outputs: Outputs = {}
    for call in range(case.one('calls', (1, 2))):
        states = [
            side.variable(f'{state}{call}', (layers * directions, len(lengths), units))
            if case.one(state, (True, False))
            else None
            for state in ('hx', 'cx')
        ]
        if call and case.one('from_last', (False, True)):
            states = [outputs['hy0'], outputs['cy0']]
        xs = [side.variable(f'x{call} {k}', (length, in_size)) for k, length in enumerate(lengths)]
        if call:
            side.replace_weights(link)
        if not side.is_package:  # Chainer takes more rows than sequences, and loses their gradient
            states = [x if x is None or x.shape[1] <= len(xs) else x[:, : len(xs)] for x in states]
        hy, cy, ys = link(*states, xs)
        outputs |= {f'hy{call}': hy, f'cy{call}': cy, **_named(f'y{call} ', ys)}
        side.depth += layers * max(lengths)
    return outputs


def _override(link, kind):
    """Give the link an ``rnn`` that changes what the inherited one returns."""
    inherited = link.rnn

    def rnn(n_layers, dropout, hx, cx, ws, bs, xs):
        if not len(xs):
            return hx, cx, ()
        hy, cy, ys = inherited(n_layers, dropout, hx, cx, ws, bs, xs)
        return cy * 0.5, hy * 0.5, [0.5 * (y + 1) for y in ys]

    if kind == 'an attribute':
        link.rnn = rnn
    elif kind == 'of a subclass':
        link.__class__ = type('Subclass', (type(link),), {'rnn': lambda self, *args: rnn(*args)})


def SequenceLSTM(side: Side) -> Outputs:
    case = side.case
    directions, layers = _directions(case), case.one('layers', (1, 2, 3))
    in_size, units, batch = case.size('in_size'), case.size('units'), case.size('batch', 0)
    options = {
        name: case.one(name, (False, True))
        for name in (
            'return_state',
            'return_sequences',
            'learn_initial_state',
            'stateful',
            'zero_masked',
        )
    }
    batch_first = case.one('batch_first', (True, False))
    cell = _cell(case, ('lstm', 'gru', 'coupled', 'peephole', 'variant'))
    options['return_cells'] = 'c' in cell.states and case.one('return_cells', (False, True))
    if directions == 2:
        options['merge_mode'] = case.one('merge_mode', ('concat', 'sum', 'mul', 'ave'))
    else:
        options['go_backwards'] = case.one('go_backwards', (False, True))
    link = side.link(
        'link',
        side.links.SequenceLSTM(
            in_size,
            units,
            n_layers=layers,
            bidirectional=directions == 2,
            batch_first=batch_first,
            cell=cell,
            **options,
        ),
    )
    outputs: Outputs = {}
    for call in range(case.one('calls', (1, 2))):
        times = (1, 2, 0, 3, 5, *_long(case, (in_size, units, batch), layers))
        time = case.one(f'time{call}', times)
        steps: dict[str, Any] = {}
        masking = case.one('masking', ('none', 'lengths', 'mask'))
        if masking == 'lengths':
            steps['lengths'] = (
                numpy.abs(case.numbers(f'lengths{call}', (batch,))) * (time + 1)
            ).astype('i')
        elif masking == 'mask':
            steps['mask'] = case.numbers(f'mask{call}', (batch, time)) < 0.5
        else:  # what dropout draws for masked steps is the package's own
            link.dropout = case.one('dropout', (0.0, 0.5, 0.2))
        if case.one('resets', (False, True)):
            steps['resets'] = case.numbers(f'resets{call}', (batch, time)) < -0.4
            link.dropout = 0.0  # pieces are packed in an order of the package's own
        if case.one('initial_state', (False, True)) and not call:
            steps['initial_state'] = tuple(
                side.variable(name, (layers * directions, batch, units)) for name in cell.states
            )
        x = side.variable(
            f'x{call}', (batch, time, in_size) if batch_first else (time, batch, in_size)
        )
        if call:
            side.replace_weights(link)
        y = link(x, **steps)
        outputs |= _named(f'y{call} ', y) if isinstance(y, tuple) else {f'y{call}': y}
        side.depth += layers * time
    return outputs


def RNNForLM(side: Side) -> Outputs:
    """Words in chunks and one by one, in any order of the two."""
    case = side.case
    batches = case_batches(case, growing=False)
    times = [case.one(f'time{t}', (None, 1, 2, 3)) for t in range(len(batches))]  # None: no chunk
    stepwise = all(
        time is None for time in times
    )  # where it drops the same as in Chainer's example
    model = side.link(
        'model',
        side.RNNForLM(
            case.size('vocabulary'),
            case.size('units'),
            n_layers=case.one('layers', (1, 2, 3)),
            dropout=case.one('dropout', (0.0, 0.5, 0.2)) if stepwise else 0.0,
        ),
    )
    outputs = {}
    for t, (batch, time) in enumerate(zip(batches, times)):
        ids = numpy.abs(case.numbers(f'words {t}', (batch,) if time is None else (time, batch)))
        outputs[f'y{t}'] = model((ids * len(model.embed.W.array)).astype('i'))
        side.depth += model.n_layers * (time or 1)
    return outputs


def _cell(case, names=('coupled', 'gru', 'lstm', 'peephole', 'variant', 'layer norm')):
    """A cell, first those that the package does not know; a variant without noise."""
    name = case.one('cell', names)
    if name == 'layer norm':
        return layer_norm
    if name != 'variant':
        return CELLS[name]
    return cells.LSTMVariant(
        coupled=case.one('coupled', (False, True)),
        cell_clip=case.one('cell_clip', (None, 0.5)),
        peephole=case.one('peepholes', (None, 'diagonal')),
        recurrent_activation=case.one('activation', ('sigmoid', 'hard_sigmoid')),
    )


def _weights(side, name, cell, in_size, units):
    """The weights of a cell; matrices may have a dtype of their own."""
    own = side.case.one('matrix_dtype', (None, 'f', 'd', 'e'))
    found = []
    for k, shape in enumerate(cell.shapes(in_size, units).values()):
        dtype = numpy.dtype(own) if own and len(shape) == 2 else None
        found.append(side.variable(f'{name}{k}', shape, weight=True, dtype=dtype))
    return found


def _long(case, sizes, layers):
    """Return a number of steps in which gradients vanish, if Chainer needs less than a second."""
    fast = max(sizes) < 9 and layers == 1 and case.choices['order'] < 2
    return (300,) if fast else ()


def _directions(case):
    return 2 if case.one('bidirectional', (False, True)) else 1


def _named(prefix, variables):
    return {f'{prefix}{k}': y for k, y in enumerate(variables)}


SURFACES = {
    function.__name__: function
    for function in (
        lstm,
        lstm_step,
        peephole_lstm_step,
        step,
        lstm_sequence,
        sequence,
        n_step_lstm,
        n_step_bilstm,
        linear,
        softmax_cross_entropy,
        tree_lstm,
        slstm,
        ChildSumTreeLSTM,
        NaryTreeLSTM,
        LSTM,
        StatelessLSTM,
        StatefulPeepholeLSTM,
        NStepLSTM,
        NStepBiLSTM,
        SequenceLSTM,
        RNNForLM,
    )
}

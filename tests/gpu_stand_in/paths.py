"""What a program can do on a GPU, each in a few lines; numbers mean nothing on the stand-in.

As a program: runs all, or those that are named, with warnings as errors, and prints by name what
went wrong as JSON, null where nothing did.
"""

import contextlib
import copy
import io
import itertools
import json
import pathlib
import sys
import tempfile
import traceback
import warnings

import chainer_lstm  # isort: skip  (lets Chainer be imported in a clone that is not installed)
import chainer
import chainer.functions as F
import numpy

from chainer_lstm import cells, functions, interop, kernels, links, optimizers
from tests.support.arrays import gradients, uniform, uniforms, variables

PATHS = {}
INPUT, UNITS, BATCH, TIME = 3, 4, 5, 6
LENGTHS = (6, 6, 4, 1)
STEPS = (4, 3, 3, 2, 2)  # rows of each time step
CELLS = {
    'lstm': cells.lstm,
    'peephole': cells.peephole,
    'coupled': cells.LSTMVariant(coupled=True),
    'layer norm': cells.LSTMVariant(layer_norm=True),
}


def path(name):
    """Add a function to ``PATHS``, under a name."""

    def added(function):
        PATHS[name] = function
        return function

    return added


def each(values, name='{}'):
    """Add a function of one value for each of several, by name or themselves."""

    def added(function):
        for key in values:
            value = values[key] if isinstance(values, dict) else key
            PATHS[name.format(key)] = lambda value=value: function(value)
        return function

    return added


def on_gpu(link):
    link.to_device('@cupy:0')
    return link


def given(*shapes, dtype='f'):
    """Variables on the GPU."""
    import cupy

    return variables(uniforms(shapes, dtype, cupy))


def all_ways(run, link, inputs):
    """Run without a graph, then with one, with its gradients and their gradients."""
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        run()
    reset(link)
    outputs = [y for y in run() if y is not None]
    parameters = [p for p in link.params() if p.array is not None]
    gradients(outputs, [*inputs, *parameters], order=2)


def raised_by(call):
    try:
        call()
    except Exception as error:
        return error
    return None


def reset(link):
    if hasattr(link, 'reset_state'):
        link.reset_state()


STATEFUL = {
    'LSTM': lambda: links.LSTM(INPUT, UNITS),
    'LSTM, in_size from the input': lambda: links.LSTM(None, UNITS),
    'StatefulPeepholeLSTM': lambda: links.StatefulPeepholeLSTM(INPUT, UNITS),
    'StatefulZoneoutLSTM': lambda: links.StatefulZoneoutLSTM(INPUT, UNITS),
}


@each(STATEFUL, '{}: steps')
def steps_of_stateful_links(make):
    link, xs = on_gpu(make()), given(*((n, INPUT) for n in STEPS))
    all_ways(lambda: [*map(link, xs), link.c, link.h], link, xs)


@each(STATEFUL, '{}: a sequence')
def sequences_of_stateful_links(make):
    link, xs = on_gpu(make()), given((TIME, BATCH, INPUT))
    all_ways(lambda: [link.forward_sequence(*xs), link.c, link.h], link, xs)
    link.reset_state()
    resets = numpy.eye(TIME, BATCH)
    all_ways(lambda: link.forward_sequence(*xs, resets=resets, return_cells=True), link, xs)


@path('LSTM: empty batches')
def empty_batches():
    link, xs = on_gpu(links.LSTM(INPUT, UNITS)), given((TIME, 0, INPUT))
    all_ways(lambda: [link.forward_sequence(*xs), link.c], link, xs)
    steps = given((2, INPUT), (0, INPUT))
    link.reset_state()
    all_ways(lambda: [*map(link, steps), link.c], link, steps)


@each('efd', 'StatelessLSTM: {}')
def stateless(dtype):
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        link = on_gpu(links.StatelessLSTM(INPUT, UNITS))
    xs = given((BATCH, INPUT), (BATCH, INPUT), dtype=dtype)

    def run():
        c, h = link(None, None, xs[0])
        return link(c, h, xs[1])

    all_ways(run, link, xs)


@path('LSTM: mixed16')
def mixed16():
    with chainer.using_config('dtype', chainer.mixed16):
        link = on_gpu(links.LSTM(INPUT, UNITS))
        xs = given((TIME, BATCH, INPUT), dtype='e')
        all_ways(lambda: [link.forward_sequence(*xs)], link, xs)


@each(
    {
        f'{name}, dropout {dropout}': (name, dropout)
        for name in ('NStepLSTM', 'NStepBiLSTM')
        for dropout in (0.0, 0.5)
    }
)
def n_step(case):
    name, dropout = case
    link = on_gpu(getattr(links, name)(2, INPUT, UNITS, dropout))
    xs = given(*((length, INPUT) for length in LENGTHS))

    def run():
        hy, cy, ys = link(None, None, xs)
        return [hy, cy, *ys]

    all_ways(run, link, xs)


SEQUENCE = {
    'one layer': {},
    'two layers, both directions, dropout': {
        'n_layers': 2,
        'bidirectional': True,
        'dropout': 0.5,
        'merge_mode': 'sum',
    },
    'last output': {'return_sequences': False, 'return_state': True},
    'kept state': {'stateful': True, 'learn_initial_state': True},
    'projection': {'proj_size': 2},
    'weight dropout': {'weight_dropout': 0.5},
    'backwards': {'go_backwards': True, 'zero_masked': True, 'batch_first': False},
    'recurrent dropout, zoneout': {'recurrent_dropout': 0.5, 'zoneout': (0.1, 0.1)},
}


@each(SEQUENCE, 'SequenceLSTM: {}')
def sequence_links(options):
    options = {'return_sequences': True, **options}
    link = on_gpu(links.SequenceLSTM(INPUT, UNITS, **options))
    xs = given((TIME, TIME, INPUT))
    mask = numpy.tri(TIME)

    def run():
        found = [link(*xs), link(*xs, mask=mask)]
        return [y for each in found for y in (each if isinstance(each, tuple) else (each,))]

    all_ways(run, link, xs)


@path('ConvLSTM2D')
def convolutional():
    link, xs = on_gpu(links.ConvLSTM2D(2, UNITS, 3)), given((2, BATCH, 2, 5, 5))
    all_ways(lambda: [link.forward_sequence(*xs)], link, xs)


@each({'ChildSumTreeLSTM': links.ChildSumTreeLSTM, 'NaryTreeLSTM': links.NaryTreeLSTM})
def trees(make):
    link, xs = on_gpu(make(INPUT, UNITS)), given((3, INPUT))
    all_ways(lambda: link.forward_trees([[], [], [0, 1]], *xs), link, xs)


@each(CELLS, 'sequence and step: {}')
def any_cell(cell):
    weights = given(*cell.shapes(INPUT, UNITS).values())
    states = given(*[(BATCH, UNITS)] * len(cell.states))
    (x,) = given((TIME, BATCH, INPUT))
    new, ys = functions.sequence(cell, states, x, [weights])
    gradients([*new, ys], [x, *weights], order=2)
    new = functions.step(cell, states, x[0], weights)
    gradients([*new], [x, *weights], order=2)


@each(
    {
        'two ragged layers, both directions': (2, True, 0.0),
        'two layers, dropout': (2, False, 0.5),
    },
    'lstm_sequence: {}',
)
def sequence_function(case):
    layers, bidirectional, dropout = case
    directions = 1 + bidirectional
    xs = given(*((n, INPUT) for n in STEPS))
    hx, cx = given(*[(layers * directions, STEPS[0], UNITS)] * 2)
    weights = [
        given((4 * UNITS, inputs), (4 * UNITS,), (4 * UNITS, UNITS))
        for inputs in (INPUT, directions * UNITS)
        for _ in range(directions)
    ]
    hy, cy, ys = functions.lstm_sequence(
        hx, cx, xs, weights, bidirectional=bidirectional, dropout=dropout
    )
    gradients([hy, cy, *ys], [hx, cx, *xs, *itertools.chain(*weights)], order=2)


@path('lstm, linear, softmax_cross_entropy')
def small_functions():
    import cupy

    c, pre = given((BATCH, UNITS), (BATCH, 4 * UNITS))
    c, h = functions.lstm(c, pre)
    W, b = given((7, UNITS), (7,))
    scores = functions.linear(h, W, b)
    classes = cupy.array([0, 6, -1, 2, 3], 'i')
    for reduce in 'mean', 'no':
        loss = functions.softmax_cross_entropy(scores, classes, reduce=reduce)
        gradients([loss], [W, b, pre])
    F.accuracy(scores, classes, ignore_label=-1)


@each('efd', 'linear, dropout, softmax_cross_entropy, embed_id: {}')
def functions_of_a_language_model(dtype):
    import cupy

    W, b = given((7, UNITS), (7,), dtype=dtype)
    for label, index in itertools.product((None, -1, 3), 'iq'):
        words = cupy.array([[0, 6, 1], [2, 3, 3]], index)
        h = functions.dropout(functions.embed_id(words, W, label))
        scores = functions.linear(functions.dropout(F.reshape(h, (6, UNITS))), W, b)
        for reduce in 'mean', 'no':
            classes = words.reshape(6)
            loss = functions.softmax_cross_entropy(scores, classes, reduce=reduce)
            gradients([loss], [W, b], order=1)
            gradients([loss], [W, b], order=2)


@each(['npz', 'hdf5'], 'serializers: {}')
def serialized(kind):
    link = on_gpu(links.SequenceLSTM(INPUT, UNITS, stateful=True))
    link.persistent_state = True
    link(*given((BATCH, TIME, INPUT)))
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, f'link.{kind}')
        getattr(chainer.serializers, f'save_{kind}')(file, link)
        getattr(chainer.serializers, f'load_{kind}')(file, link)


@path('there and back, copies')
def there_and_back():
    link = links.LSTM(INPUT, UNITS)
    for device in '@cupy:0', '@numpy', '@cupy:0':
        link.to_device(device)
        link(link.device.send(uniform((BATCH, INPUT), 'f')))
    for other in copy.deepcopy(link), link.copy('copy'):
        other(*given((BATCH, INPUT)))


@path('interop')
def exchanged():
    link = on_gpu(links.SequenceLSTM(INPUT, UNITS, return_sequences=True))
    interop.to_keras(link)
    interop.from_gates(interop.to_gates(link), into=link)
    of_torch = {
        'weight_ih_l0': (4 * UNITS, INPUT),
        'weight_hh_l0': (4 * UNITS, UNITS),
        'bias_ih_l0': (4 * UNITS,),
        'bias_hh_l0': (4 * UNITS,),
    }
    weights = {name: numpy.zeros(shape, 'f') for name, shape in of_torch.items()}
    interop.load(weights, into=link)
    assert link.l0.upward.W.device.name == '@cupy:0'


OF_KERNELS = ('SGD', 'MomentumSGD', 'Adam', 'AdamW', 'AMSGrad', 'AdaBound', 'AMSBound')


@each([*OF_KERNELS, 'RMSprop', 'AdaGrad', 'AdaDelta'], 'optimizers: {}')
def optimized(name):
    link = on_gpu(links.LSTM(INPUT, UNITS))
    optimizer = getattr(chainer.optimizers, name)().setup(link)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(1))

    def loss():
        return F.sum(link.forward_sequence(*given((TIME, BATCH, INPUT))))

    optimizer.update(loss)
    with chainer_lstm.installed():
        optimizer.update(loss)
        optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(1e-4))
        optimizer.update(loss)


@path('optimizers: float16, and a parameter without an array')
def not_by_kernels():
    link = on_gpu(chainer.links.Linear(INPUT, UNITS))
    link.b.array = link.b.array.astype('e')
    link.other = chainer.links.Linear(None, 1)
    link.cleargrads()
    optimizer = chainer.optimizers.Adam().setup(link)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(1))
    optimizers.update(optimizer)


@path('functions: numbers of other types, an embedding of no columns')
def other_numbers():
    import cupy

    x, W = given((BATCH, INPUT), (INPUT, 0))
    ids = cupy.zeros(BATCH, 'i')
    gradients([functions.dropout(x, numpy.float16(0.5))], [x])
    for label in None, -1.0, 0.5, numpy.int8(-1):
        loss = functions.softmax_cross_entropy(x, ids, numpy.True_, ignore_label=label)
        gradients([loss, functions.embed_id(ids, x, label)], [x])
    gradients([functions.embed_id(ids, W)], [W])


@each(['highest', 'high', 'medium'], 'precision {}')
def precision(name):
    with (
        chainer.using_config('lstm_engine', 'persistent'),
        chainer.using_config('lstm_matmul_precision', name),
    ):
        PATHS['lstm_sequence: two ragged layers, both directions']()


@path('precision medium, float16')
def half():
    with (
        chainer.using_config('lstm_engine', 'persistent'),
        chainer.using_config('lstm_matmul_precision', 'medium'),
        chainer.using_config('dtype', numpy.dtype('e')),
    ):
        link = on_gpu(links.NStepBiLSTM(2, INPUT, UNITS, 0.5))
        xs = given(*((length, INPUT) for length in LENGTHS), dtype='e')
        hy, cy, ys = link(None, None, xs)
        gradients([hy, cy, *ys], [*xs, *link.params()])


@path('a launch that does not fit')
def too_large():
    """The engine goes on with the CuPy engine, for the rest of the process."""
    from tests.gpu_stand_in import stand_in

    units = 100  # of a kernel that nothing before has launched
    link, xs = on_gpu(links.LSTM(INPUT, units)), given((TIME, BATCH, INPUT))
    stand_in.set_occupancy(0)
    try:
        with stand_in.recorded() as calls:
            all_ways(lambda: [link.forward_sequence(*xs)], link, xs)
        assert calls.sum('lstm_forward_0') and not calls.sum('lstm_sequence_.*'), calls.names
        with chainer.using_config('lstm_engine', 'persistent'):
            error = raised_by(lambda: link.forward_sequence(*xs))
        assert isinstance(error, ValueError) and 'do not fit into the device' in str(error), error
    finally:
        stand_in.set_occupancy(1)


@path('a kernel that timed out')
def timed_out():
    import cupy

    kernels.check_gpu()
    error = kernels.engine_of(cupy.zeros(1), 'persistent')._error()
    for report in kernels.check_gpu, PATHS['precision high']:
        error[0] = 1
        assert isinstance(raised_by(report), RuntimeError)
        kernels.check_gpu()  # reported once


@path('show_config, print_runtime_info')
def shown():
    with contextlib.redirect_stdout(io.StringIO()):
        chainer_lstm.show_config()
        chainer.print_runtime_info()


def main(names):
    found = {}
    for name in names or PATHS:
        try:
            PATHS[name]()
            found[name] = None
        except Exception:
            found[name] = traceback.format_exc()
    json.dump(found, sys.stdout)


if __name__ == '__main__':
    warnings.simplefilter('error')
    main(sys.argv[1:])

"""What users get wrong: the right exception, what was expected and what came, and nothing changed by the attempt."""
import chainer
import numpy
import pytest
from chainer import initializers
from chainer.utils.type_check import InvalidType

from chainer_lstm import functions
from chainer_lstm import links
from tests.conftest import INPUT
from tests.conftest import UNITS
from tests.conftest import assert_same
from tests.conftest import contents
from tests.conftest import uniform
from tests.conftest import weighted_sum


def zeros(*shape, dtype='f'):
    return numpy.zeros(shape, dtype)


def fails(array):
    array[...] = 1
    raise ValueError('this initializer fails')


# How the links under test are made

def nothing():
    """For constructors and functions."""


def started(name):
    """With a state of two rows."""
    def make():
        link = getattr(links, name)(INPUT, UNITS)
        link.set_state(uniform((2, UNITS), 'f'), uniform((2, UNITS), 'f', seed=1))
        return link
    return make


def fresh(name):
    return lambda: getattr(links, name)(INPUT, UNITS)


def deferred(name, **initial):
    return lambda: getattr(links, name)(None, UNITS, **initial)


def n_step(name):
    return lambda: getattr(links, name)(2, INPUT, UNITS, 0.)


# Rows: name, how to make the link, what to do with it, exception, message

def of_sizes():
    """Sizes that are none, of every constructor."""
    wrong = {'0': (0, ValueError), '-1': (-1, ValueError), '2.0': (2.0, TypeError), 'True': (True, TypeError),
             'a string': ('3', TypeError), 'a list': ([3], TypeError), 'NumPy bool': (numpy.True_, TypeError),
             'NumPy float': (numpy.float32(3), TypeError)}
    constructors = {
        'LSTM in_size': lambda size: links.LSTM(size, UNITS),
        'LSTM out_size': lambda size: links.LSTM(INPUT, size),
        'LSTM alone out_size': lambda size: links.LSTM(size),
        'StatelessLSTM in_size': lambda size: links.StatelessLSTM(size, UNITS),
        'StatelessLSTM out_size': lambda size: links.StatelessLSTM(INPUT, size),
        'StatefulPeepholeLSTM in_size': lambda size: links.StatefulPeepholeLSTM(size, UNITS),
        'StatefulPeepholeLSTM out_size': lambda size: links.StatefulPeepholeLSTM(INPUT, size),
        'NStepLSTM n_layers': lambda size: links.NStepLSTM(size, INPUT, UNITS, 0.),
        'NStepLSTM in_size': lambda size: links.NStepLSTM(1, size, UNITS, 0.),
        'NStepLSTM out_size': lambda size: links.NStepLSTM(1, INPUT, size, 0.),
        'NStepBiLSTM n_layers': lambda size: links.NStepBiLSTM(size, INPUT, UNITS, 0.),
    }
    for what, constructor in constructors.items():
        for name, (size, error) in wrong.items():
            yield (f'{what} {name}', nothing, lambda _, new=constructor, size=size: new(size), error,
                   rf'^expected {what.split()[-1]} to be a positive integer, got ')


def of_initializers():
    """Initializers that are none, of every constructor."""
    wrong = {'a string': 'LeCunNormal', 'bytes': b'0', 'a list': [0.1], 'a dict': {}}
    arguments = {
        'LSTM': ('lateral_init', 'upward_init', 'bias_init', 'forget_bias_init'),
        'StatelessLSTM': ('lateral_init', 'forget_bias_init'),
        'StatefulPeepholeLSTM': ('lateral_init', 'upward_init', 'peep_init', 'bias_init', 'forget_bias_init'),
        'NStepLSTM': ('initialW', 'initial_bias', 'forget_bias_init'),
        'NStepBiLSTM': ('initialW',),
    }
    for link, names in arguments.items():
        sizes = (1, INPUT, UNITS, 0.) if link.startswith('NStep') else (INPUT, UNITS)
        for argument in names:
            for name, value in wrong.items():
                yield (f'{link} {argument} {name}', nothing,
                       lambda _, link=link, sizes=sizes, given={argument: value}: getattr(links, link)(*sizes, **given),
                       TypeError, rf'^expected {argument} to be None, a number, an array or a callable, got ')


CONSTRUCTORS = [
    *of_sizes(), *of_initializers(),
    ('LSTM no size at all', nothing, lambda _: links.LSTM(None), TypeError, 'expected out_size'),
    ('LSTM both sizes None', nothing, lambda _: links.LSTM(None, None), TypeError, 'expected out_size'),
    ('LSTM bias of another length', nothing, lambda _: links.LSTM(INPUT, UNITS, bias_init=zeros(UNITS + 1)),
     ValueError, 'broadcast'),
    ('LSTM lateral of another shape', nothing, lambda _: links.LSTM(INPUT, UNITS, lateral_init=zeros(2, 3)),
     ValueError, 'broadcast'),
    ('LSTM unknown keyword', nothing, lambda _: links.LSTM(INPUT, UNITS, dropout=0.5), TypeError, 'dropout'),
    ('StatefulPeepholeLSTM no out_size', nothing, lambda _: links.StatefulPeepholeLSTM(INPUT), TypeError, 'out_size'),
    ('StatefulPeepholeLSTM out_size None', nothing, lambda _: links.StatefulPeepholeLSTM(INPUT, None),
     TypeError, 'expected out_size'),
    ('NStepLSTM in_size None', nothing, lambda _: links.NStepLSTM(1, None, UNITS, 0.), TypeError, 'expected in_size'),
    ('NStepLSTM dropout negative', nothing, lambda _: links.NStepLSTM(1, INPUT, UNITS, -0.1),
     ValueError, 'expected dropout to be at least 0 and less than 1, got -0.1'),
    ('NStepLSTM dropout 1', nothing, lambda _: links.NStepLSTM(1, INPUT, UNITS, 1), ValueError, 'dropout .* got 1'),
    ('NStepLSTM dropout NaN', nothing, lambda _: links.NStepLSTM(1, INPUT, UNITS, numpy.nan),
     ValueError, 'dropout .* got nan'),
    ('NStepLSTM dropout a string', nothing, lambda _: links.NStepLSTM(1, INPUT, UNITS, '0'), TypeError, None),
    ('NStepLSTM dropout None', nothing, lambda _: links.NStepLSTM(1, INPUT, UNITS, None), TypeError, None),
    ('NStepLSTM no dropout', nothing, lambda _: links.NStepLSTM(1, INPUT, UNITS), TypeError, 'dropout'),
    ('NStepLSTM use_cudnn', nothing, lambda _: links.NStepLSTM(1, INPUT, UNITS, 0., use_cudnn=True),
     ValueError, 'use_cudnn argument is not supported anymore'),
    ('NStepLSTM unknown keyword', nothing, lambda _: links.NStepLSTM(1, INPUT, UNITS, 0., bias=1), TypeError, 'bias'),
]


def of_inputs():
    """What is no batch of inputs, to every link that takes one, with a state, without, and before its first input."""
    wrong = {
        'a list': ([[0., 0., 0.]], TypeError, r'list'),
        'None': (None, ValueError, r'expected an array as x'),
        'a number': (1., TypeError, r'float'),
        'without data': (chainer.Variable(), ValueError, r'expected an array as x, got a variable without data'),
        'no axis': (zeros(), InvalidType, r'x\.ndim >= 2.*\nActual: 0 \(shape \(\)\)'),
        'one axis': (zeros(INPUT), InvalidType, r'x\.ndim >= 2.*\nActual: 1 \(shape \(3,\)\)'),
        'integers': (zeros(2, INPUT, dtype='i'), InvalidType, r'x\.dtype\.kind == f\nActual: i \(int32\)'),
        'booleans': (zeros(2, INPUT, dtype='?'), InvalidType, r'x\.dtype\.kind == f\nActual: b \(bool\)'),
        'complex': (zeros(2, INPUT, dtype='F'), InvalidType, r'x\.dtype\.kind == f\nActual: c \(complex64\)'),
        'objects': (zeros(2, INPUT, dtype='O'), InvalidType, r'x\.dtype\.kind == f\nActual: O \(object\)'),
        'float64': (zeros(2, INPUT, dtype='d'), InvalidType, r'dtype == .*\nActual: .*float'),
        'float16': (zeros(2, INPUT, dtype='e'), InvalidType, r'dtype == .*\nActual: .*float'),
        'no columns': (zeros(2, 0), (InvalidType, ValueError), None),
    }
    wrong_width = {
        'other width': (zeros(2, INPUT + 1), InvalidType, r'x\.shape\[1\] == W\.shape\[1\]\nActual: 4 != 3'),
        'one column': (zeros(2, 1), InvalidType, r'x\.shape\[1\] == W\.shape\[1\]\nActual: 1 != 3'),
        'other width, three axes': (zeros(2, 2, 2), InvalidType, r'x\.shape\[1\] == W\.shape\[1\]\nActual: 4 != 3'),
        'other width, no rows': (zeros(0, INPUT + 1), InvalidType, r'x\.shape\[1\] == W\.shape\[1\]\nActual: 4 != 3'),
    }
    for name in ('LSTM', 'StatefulPeepholeLSTM', 'StatelessLSTM'):
        makers = {'': fresh(name), ' deferred': deferred(name)}
        if name != 'StatelessLSTM':
            makers[' with state'] = started(name)
        for state, make in makers.items():
            for what, (x, error, message) in {**wrong, **({} if state == ' deferred' else wrong_width)}.items():
                yield (f'{name}{state}, x {what}', make,
                       lambda link, x=x: link(None, None, x) if isinstance(link, links.StatelessLSTM) else link(x),
                       error, message)


def of_states():
    """What is no state, to both links with one and from Stateless's arguments."""
    c = zeros(2, UNITS)
    wrong = {
        'c a list': ([[0.] * UNITS], c, TypeError, r'list'),
        'h a number': (c, 0., TypeError, r'float'),
        'c without data': (chainer.Variable(), c, ValueError, r'expected c of shape \(batch, 4\)'),
        'c integers': (zeros(2, UNITS, dtype='i'), c, TypeError, r'expected c of a float dtype, got int32'),
        'h integers': (c, zeros(2, UNITS, dtype='i'), TypeError, r'expected h of a float dtype, got int32'),
        'c other width': (zeros(2, 3), c, ValueError, r'expected c of shape \(batch, 4\), got \(2, 3\)'),
        'h one axis': (c, zeros(UNITS), ValueError, r'expected h of shape \(batch, 4\), got \(4,\)'),
        'rows differ': (c, zeros(3, UNITS), ValueError, r'expected c and h of one shape, got \(2, 4\) and \(3, 4\)'),
    }
    for name in ('LSTM', 'StatefulPeepholeLSTM'):
        for what, (c_new, h_new, error, message) in wrong.items():
            for state, make in (('', fresh(name)), (' with state', started(name))):
                yield (f'{name}{state} set_state {what}', make,
                       lambda link, c=c_new, h=h_new: link.set_state(c, h), error, message)


X = zeros(2, INPUT)
STEPS = [
    *of_inputs(), *of_states(),
    *((f'{name} larger batch', started(name), lambda link: link(zeros(3, INPUT)),
       TypeError, 'The batch size of x must be equal to or less than .* Expected at most 2, got 3')
      for name in ('LSTM', 'StatefulPeepholeLSTM')),
    *((f'{name} deferred, initializer fails', deferred(name, **{argument: fails}),
       lambda link: link(None, None, X) if isinstance(link, links.StatelessLSTM) else link(X),
       ValueError, 'this initializer fails')
      for name, argument in (('LSTM', 'upward_init'), ('LSTM', 'lateral_init'), ('LSTM', 'bias_init'),
                             ('StatelessLSTM', 'upward_init'), ('StatefulPeepholeLSTM', 'upward_init'))),
    ('LSTM deferred, Orthogonal does not fit', deferred('LSTM', upward_init=initializers.Orthogonal(mode='projection')),
     lambda link: link(X), ValueError, 'Cannot make orthogonal projection'),
    *((f'StatelessLSTM deferred, {name}', deferred('StatelessLSTM'), lambda link, c=c, h=h: link(c, h, X),
       InvalidType, None)
      for name, c, h in (('c other width', zeros(2, 3), None), ('h other batch', None, zeros(1, UNITS)),
                         ('c float64', zeros(2, UNITS, dtype='d'), None))),
    ('LSTM two inputs', started('LSTM'), lambda link: link(X, X), TypeError, None),
    ('StatelessLSTM c fewer rows', fresh('StatelessLSTM'), lambda link: link(zeros(1, UNITS), None, X),
     InvalidType, r'x\.shape\[0\] <= c\.shape\[0\]\nActual: 2 > 1'),
    ('StatelessLSTM c other width', fresh('StatelessLSTM'), lambda link: link(zeros(2, 3), None, X), InvalidType, '16'),
    ('StatelessLSTM c float64', fresh('StatelessLSTM'), lambda link: link(zeros(2, UNITS, dtype='d'), None, X),
     InvalidType, r'c\.dtype == x\.dtype\nActual: float64 != float32'),
    ('StatelessLSTM c a list', fresh('StatelessLSTM'), lambda link: link([[0.] * UNITS] * 2, None, X),
     TypeError, 'list'),
    ('StatelessLSTM h other batch', fresh('StatelessLSTM'), lambda link: link(None, zeros(1, UNITS), X),
     InvalidType, r'h\.shape\[0\] == x\.shape\[0\]\nActual: 1 != 2'),
    ('StatelessLSTM h other width', fresh('StatelessLSTM'), lambda link: link(None, zeros(2, 5), X),
     InvalidType, r'h\.shape\[1\] == c\.shape\[1\]\nActual: 5 != 4'),
    ('StatelessLSTM h one axis', fresh('StatelessLSTM'), lambda link: link(None, zeros(UNITS), X),
     InvalidType, r'h\.ndim == 2'),
    ('StatelessLSTM x alone', fresh('StatelessLSTM'), lambda link: link(X), TypeError, 'missing'),
    ('LSTM repeat with unknown mode', started('LSTM'), lambda link: link.repeat(2, 'again'), ValueError, 'again'),
    ('LSTM copy with unknown mode', started('LSTM'), lambda link: link.copy('again'), ValueError, 'again'),
]


def of_n_step():
    """Sequences and states of NStepLSTM and NStepBiLSTM."""
    xs = [zeros(2, INPUT), zeros(3, INPUT)]
    for name, rows in (('NStepLSTM', 2), ('NStepBiLSTM', 4)):
        right = zeros(rows, 2, UNITS)
        wrong = {
            'xs empty': (None, None, [], ValueError, 'expected at least one sequence in xs, got an empty list'),
            'xs an empty tuple': (None, None, (), ValueError, 'expected at least one sequence'),
            'xs an array': (None, None, zeros(2, 3, INPUT), TypeError, 'expected xs to be a list or tuple .* ndarray'),
            'xs a variable': (None, None, chainer.Variable(xs[0]), TypeError, 'expected xs to be .* got Variable'),
            'xs a generator': (None, None, iter(xs), TypeError, 'expected xs to be a list or tuple'),
            'xs None': (None, None, None, TypeError, 'expected xs to be .* got NoneType'),
            'xs[0] a list': (None, None, [[[0., 0., 0.]]], TypeError, 'list'),
            'xs[1] one axis': (None, None, [xs[0], zeros(INPUT)], ValueError,
                               r'expected xs\[1\] of shape \(length, 3\), got \(3,\)'),
            'xs[0] three axes': (None, None, [zeros(1, 2, INPUT)], ValueError, r'xs\[0\] .* got \(1, 2, 3\)'),
            'xs[1] other width': (None, None, [xs[0], zeros(2, 4)], ValueError, r'xs\[1\] .* got \(2, 4\)'),
            'xs[1] of length 0 other width': (None, None, [xs[0], zeros(0, 4)], ValueError, r'xs\[1\] .* got \(0, 4\)'),
            'xs integers': (None, None, [zeros(2, INPUT, dtype='i')], InvalidType, r'dtype'),
            'xs float64': (None, None, [zeros(2, INPUT, dtype='d')], InvalidType, r'dtype.*\nActual: .*float64'),
            'xs of two dtypes': (None, None, [xs[0], zeros(2, INPUT, dtype='d')], InvalidType, r'dtype'),
            'hx other layers': (zeros(rows + 1, 2, UNITS), None, xs, ValueError,
                                rf'expected hx of shape \({rows}, 2, 4\), got \({rows + 1}, 2, 4\)'),
            'hx other batch': (zeros(rows, 3, UNITS), None, xs, ValueError, r'expected hx of shape .* got'),
            'cx one row': (None, zeros(rows, 1, UNITS), xs, ValueError, r'expected cx of shape .* got'),
            'cx other units': (right, zeros(rows, 2, UNITS + 1), xs, ValueError, r'expected cx of shape .* got'),
            'hx two axes': (zeros(2, UNITS), None, xs, ValueError, r'expected hx of shape .* got \(2, 4\)'),
            'hx float64': (zeros(rows, 2, UNITS, dtype='d'), None, xs, InvalidType, 'dtype'),
            'cx integers': (right, zeros(rows, 2, UNITS, dtype='i'), xs, InvalidType, 'dtype'),
            'hx a list': ([[[0.] * UNITS] * 2] * rows, None, xs, TypeError, 'list'),
        }
        for what, (hx, cx, sequences, error, message) in wrong.items():
            yield (f'{name} {what}', n_step(name),
                   lambda link, hx=hx, cx=cx, sequences=sequences: link(hx, cx, sequences), error, message)
        yield (f'{name} train', n_step(name), lambda link, xs=xs: link(None, None, xs, train=True),
               ValueError, 'train argument is not supported anymore')
        yield (f'{name} unknown keyword', n_step(name), lambda link, xs=xs: link(None, None, xs, dropout=0.5),
               TypeError, 'dropout')
        yield f'{name} xs alone', n_step(name), lambda link, xs=xs: link(xs), TypeError, 'missing'


def call_n_step(name='n_step_lstm', rows=1, n_layers=1, dropout=0., batches=(2, 1), **changed):
    """``n_step_lstm`` with one argument changed."""
    layers = [[zeros(UNITS, INPUT)] * 4 + [zeros(UNITS, UNITS)] * 4 for _ in range(rows)]
    given = {'hx': zeros(rows, 2, UNITS), 'cx': zeros(rows, 2, UNITS), 'ws': layers, 'bs': [[zeros(UNITS)] * 8] * rows,
             'xs': [zeros(batch, INPUT) for batch in batches], **changed}
    return lambda _: getattr(functions, name)(n_layers, dropout, **given)


SQUARE = zeros(UNITS, UNITS)
FUNCTIONS = [
    ('n_step_lstm xs empty', call_n_step(xs=[]), ValueError, 'at least one time step in xs, got an empty list'),
    ('n_step_lstm growing batch', call_n_step(batches=(1, 2)), ValueError, r'do not grow in time .* got \[1, 2\]'),
    ('n_step_lstm growing again', call_n_step(batches=(2, 1, 2)), ValueError, r'do not grow .* got \[2, 1, 2\]'),
    ('n_step_lstm more layers than ws', call_n_step(n_layers=2), ValueError, 'expected ws to be 2 lists of 8 arrays'),
    ('n_step_lstm no layers', call_n_step(n_layers=0), ValueError, 'expected n_layers of at least 1, got 0'),
    ('n_step_lstm no layers, no weights', call_n_step(n_layers=0, ws=[], bs=[], hx=zeros(0, 2, 4), cx=zeros(0, 2, 4)),
     ValueError, None),
    ('n_step_lstm seven matrices', call_n_step(ws=[[SQUARE] * 7]), ValueError, r'8 arrays, got lists of \[7\]'),
    ('n_step_lstm nine biases', call_n_step(bs=[[zeros(UNITS)] * 9]), ValueError, r'expected bs .* got lists of \[9\]'),
    ('n_step_lstm matrix transposed',
     call_n_step(ws=[[zeros(UNITS, INPUT)] * 3 + [zeros(INPUT, UNITS)] + [SQUARE] * 4]),
     ValueError, r'expected ws\[0\]\[3\] of shape \(4, 3\), got \(3, 4\)'),
    ('n_step_lstm first matrix a vector', call_n_step(ws=[[zeros(UNITS)] + [zeros(UNITS, INPUT)] * 3 + [SQUARE] * 4]),
     ValueError, r'expected ws\[0\]\[0\] of shape'),
    ('n_step_lstm lateral matrix one column',
     call_n_step(ws=[[zeros(UNITS, INPUT)] * 4 + [SQUARE] * 3 + [zeros(UNITS, 1)]]),
     ValueError, r'expected ws\[0\]\[7\] of shape \(4, 4\), got \(4, 1\)'),
    ('n_step_lstm bias of one', call_n_step(bs=[[zeros(UNITS)] * 7 + [zeros(1)]]),
     ValueError, r'expected bs\[0\]\[7\] of shape \(4,\), got \(1,\)'),
    ('n_step_lstm second layer of the first one\'s width', call_n_step(rows=2, n_layers=2),
     ValueError, r'expected ws\[1\]\[0\] of shape \(4, 4\), got \(4, 3\)'),
    ('n_step_bilstm second layer of H', call_n_step(
        'n_step_bilstm', rows=4, n_layers=2,
        ws=[[zeros(UNITS, INPUT)] * 4 + [SQUARE] * 4] * 2 + [[SQUARE] * 8] * 2),
     ValueError, r'expected ws\[2\]\[0\] of shape \(4, 8\), got \(4, 4\)'),
    ('n_step_bilstm one direction', call_n_step('n_step_bilstm'), ValueError, 'expected ws to be 2 lists'),
    ('n_step_lstm hx fewer rows', call_n_step(batches=(3,)), ValueError, r'expected hx of shape \(1, at least 3, 4\)'),
    ('n_step_lstm hx other layers', call_n_step(hx=zeros(2, 2, UNITS)), ValueError, r'hx of .* got \(2, 2, 4\)'),
    ('n_step_lstm cx two axes', call_n_step(cx=zeros(2, UNITS)), ValueError, r'expected cx of shape .* got \(2, 4\)'),
    ('n_step_lstm hx and cx differ', call_n_step(hx=zeros(1, 3, UNITS)), ValueError, 'expected hx and cx of one shape'),
    ('n_step_lstm x other width', call_n_step(xs=[zeros(2, 4)]), ValueError,
     r'Inconsistent input size .* expected ws\[0\]\[0\] of shape \(4, 4\), got \(4, 3\)'),
    ('n_step_lstm x one axis', call_n_step(xs=[zeros(INPUT)], hx=zeros(1, 3, 4), cx=zeros(1, 3, 4)),
     ValueError, r'expected xs\[0\] of shape \(batch, 3\), got \(3,\)'),
    ('n_step_lstm x integers', call_n_step(xs=[zeros(2, INPUT, dtype='i')]), InvalidType, r'x\.dtype\.kind == f'),
    ('n_step_lstm x float64', call_n_step(xs=[zeros(2, INPUT, dtype='d')]), InvalidType, r'dtype'),
    ('n_step_lstm hx float64', call_n_step(hx=zeros(1, 2, UNITS, dtype='d')), InvalidType, r'dtype'),
    ('n_step_lstm dropout 1', call_n_step(rows=2, n_layers=2, dropout=1., ws=[
        [zeros(UNITS, INPUT)] * 4 + [SQUARE] * 4, [SQUARE] * 8]), ValueError, 'dropout'),
    ('n_step_lstm train', call_n_step(train=True), ValueError, 'train argument is not supported anymore'),
    ('n_step_lstm use_cudnn', call_n_step(use_cudnn=True), ValueError, 'use_cudnn argument is not supported anymore'),
    ('n_step_lstm unknown keyword', call_n_step(hidden=1), TypeError, 'hidden'),
    ('lstm c a list', lambda _: functions.lstm([[0.]], zeros(1, 4)), TypeError, 'list'),
    ('lstm x a list', lambda _: functions.lstm(zeros(1, 1), [[0.] * 4]), TypeError, 'list'),
    ('lstm_step x a list', lambda _: functions.lstm_step(
        zeros(1, 1), None, [[0.]], zeros(4, 1), zeros(4), zeros(4, 1)), TypeError, 'list'),
]
ROWS = [*CONSTRUCTORS, *STEPS, *of_n_step(), *((name, nothing, *row) for name, *row in FUNCTIONS)]


@pytest.mark.parametrize('make, act, error, message', [pytest.param(*row, id=name) for name, *row in ROWS])
def test_bad_input_raises_and_changes_nothing(make, act, error, message):
    link = make()
    before = {} if link is None else contents(link)
    with pytest.raises(error, match=message):
        act(link)
    assert_same({} if link is None else contents(link), before)


@pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM'])
@pytest.mark.parametrize('in_size', [INPUT, None], ids=['initialized', 'deferred'])
def test_state_of_another_dtype_raises_and_stays(name, in_size):
    link = getattr(links, name)(in_size, UNITS)
    link.set_state(zeros(2, UNITS, dtype='d'), zeros(2, UNITS, dtype='d'))
    before = contents(link)
    with pytest.raises(InvalidType, match=r'dtype == x\.dtype\nActual: float64 != float32'):
        link(X)
    assert_same(contents(link), before)


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM'])
def test_deferred_link_works_after_bad_inputs(name):
    """It draws its weights then, and learns, as a link that saw no bad input."""
    results = []
    for bad_inputs in ((), (zeros(2, 0), zeros(2, 7, dtype='d'), zeros(2, 9, dtype='i'))):
        numpy.random.seed(1)
        link = getattr(links, name)(None, UNITS)
        link.cleargrads()

        def call(x, link=link):
            return link(None, None, x)[1] if name == 'StatelessLSTM' else link(x)

        for x in bad_inputs:
            with pytest.raises(InvalidType):
                call(x)
        numpy.random.seed(2)
        loss = weighted_sum([call(uniform((2, INPUT), 'f'))])
        loss.backward()
        results.append({**contents(link), **{f'{path} grad': param.grad for path, param in link.namedparams()}})
    assert_same(*results)
    assert results[0]['/upward/W'].shape == (4 * UNITS, INPUT)
    assert results[0]['/upward/W grad'] is not None


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM'])
@pytest.mark.parametrize('link_on_gpu', [False, True], ids=['x on the GPU', 'link on the GPU'])
@pytest.mark.parametrize('in_size', [INPUT, None], ids=['initialized', 'deferred'])
@pytest.mark.gpu
def test_x_on_another_device(cupy, name, link_on_gpu, in_size):
    link = getattr(links, name)(in_size, UNITS)
    x = zeros(2, INPUT)
    if link_on_gpu:
        link.to_device('@cupy:0')
    else:
        x = cupy.asarray(x)
    before = contents(link)
    with pytest.raises(TypeError):
        link(None, None, x) if name == 'StatelessLSTM' else link(x)
    assert_same(contents(link), before)

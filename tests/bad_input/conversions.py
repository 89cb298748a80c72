"""Converters to and from torch, Keras, separate gates, ONNX and npz files; installation."""

import importlib.util
import io

import chainer
import numpy
from chainer.serializers.npz import serialize
from chainer.utils import type_check

import chainer_lstm
from chainer_lstm import interop, links
from chainer_lstm.models import RNNForLM
from tests.bad_input.rows import Row, deferred, fresh, nothing, started, zeros
from tests.support.links import INPUT, UNITS

LINEAR = chainer.links.Linear(2, 3)
LSTM = links.LSTM(INPUT, UNITS)
GATES, KERAS = interop.to_gates(LSTM), interop.to_keras(LSTM)
STATE = zeros(1, 2, UNITS)
X = zeros(5, 2, INPUT)
NO_LINK = 'expected a link of the LSTM family, got '
NO_INTO = 'expected a link of the LSTM family or its class, got '
HAS_TORCH, HAS_ONNX = (importlib.util.find_spec(name) is not None for name in ('torch', 'onnx'))


def of_sources():
    """What is no link to convert, or one that cannot be."""
    converters = {
        'to_gates': interop.to_gates,
        'to_keras': interop.to_keras,
        'convert': lambda link: interop.convert(link, links.LSTM),
    }
    if HAS_TORCH:
        converters['to_torch'] = interop.to_torch
    for name, call in converters.items():
        for what, value in (
            ('None', None),
            ('a number', 5),
            ('Linear', LINEAR),
            ('a class', links.LSTM),
        ):
            yield (
                f'{name} {what}',
                nothing,
                lambda _, call=call, value=value: call(value),
                TypeError,
                NO_LINK,
            )
        yield (
            f'{name} without input size',
            deferred('LSTM'),
            call,
            ValueError,
            'upward/W: expected weights, got none',
        )
        if name != 'to_gates':
            yield (
                f'{name} of full peepholes',
                fresh('StatefulPeepholeLSTM'),
                call,
                ValueError,
                'peepholes: expected none for .*, got P_i, P_f, P_o',
            )
        for options, message in (
            ({'cell_clip': 2}, 'cell_clip: expected None .*, got a SequenceLSTM with 2'),
            (
                {'zoneout': (0.1, 0.0), 'zoneout_expectation': True},
                'zoneout_expectation: expected False .*, got a SequenceLSTM with True',
            ),
        ):
            yield (
                f'{name} with {list(options)[-1]}',
                fresh('SequenceLSTM', INPUT, UNITS, **options),
                call,
                ValueError,
                message,
            )
    yield (
        'to_gates of a hard sigmoid',
        fresh('SequenceLSTM', INPUT, UNITS, recurrent_activation='hard_sigmoid'),
        interop.to_gates,
        ValueError,
        "recurrent_activation: expected 'sigmoid', got 'hard_sigmoid'",
    )
    yield (
        'to_gates two layers',
        fresh('NStepLSTM', 2, INPUT, UNITS, 0.0),
        interop.to_gates,
        ValueError,
        'layers: expected 1 in 1 direction, got 2 in 1',
    )


def of_targets():
    """What is no link to set, or one that does not fit; it is as before."""
    converters = {
        'convert': lambda into: interop.convert(LSTM, into),
        'from_gates': lambda into: interop.from_gates(GATES, into),
        'from_keras': lambda into: interop.from_keras(KERAS, into),
    }
    for name, call in converters.items():
        for what, value in (
            ('a number', 5),
            ('a string', 'LSTM'),
            ('Linear', chainer.links.Linear),
            ('int', int),
        ):
            yield (
                f'{name} into {what}',
                nothing,
                lambda _, call=call, value=value: call(value),
                TypeError,
                NO_INTO,
            )
        yield (
            f'{name} into coupled gates',
            fresh('SequenceLSTM', INPUT, UNITS, coupled=True),
            call,
            ValueError,
            'coupled: expected weights of i that are the negative ones of f, or False',
        )
        yield (
            f'{name} into other inputs',
            started_of(INPUT + 1, UNITS),
            call,
            ValueError,
            r'upward/W: expected shape \(16, 4\), got \(16, 3\)',
        )
        yield (
            f'{name} into other units',
            started_of(INPUT, UNITS + 1),
            call,
            ValueError,
            r'lateral/W: expected shape \(20, 5\), got \(16, 4\)',
        )
        yield (
            f'{name} into two layers',
            fresh('NStepLSTM', 2, INPUT, UNITS, 0.0),
            call,
            ValueError,
            'layers: expected 2 for NStepLSTM, got 1',
        )
        yield (
            f'{name} into two directions',
            fresh('NStepBiLSTM', 1, INPUT, UNITS, 0.0),
            call,
            ValueError,
            'expected (2|6) for (NStepBiLSTM|every layer), got',
        )


def started_of(in_size, out_size):
    return fresh('LSTM', in_size, out_size)


def of_gates():
    wrong = {
        'None': (None, TypeError, 'expected a dictionary of gates, got NoneType'),
        'a list': ([], TypeError, 'got list'),
        'empty': ({}, KeyError, 'W_hc: expected the keys .* got only \\[\\]'),
        'other key': (
            {**GATES, 'x': zeros(1)},
            KeyError,
            'x: expected the keys .* got this one too',
        ),
        'missing key': (
            {key: value for key, value in GATES.items() if key != 'b_c'},
            KeyError,
            'b_c: expected the',
        ),
        'other width': (
            {**GATES, 'W_xi': zeros(3, 5)},
            ValueError,
            r'W_xi: expected shape \(any, 4\), got \(3, 5\)',
        ),
        'None in it': ({**GATES, 'b_f': None}, TypeError, 'b_f: expected floats, got object'),
        'integers': (
            {**GATES, 'W_xi': zeros(3, 4, dtype='i')},
            TypeError,
            'W_xi: expected floats, got int32',
        ),
        'a string in it': ({**GATES, 'W_hi': 'a'}, TypeError, 'W_hi: expected floats, got <U1'),
    }
    for name, (gates, error, message) in wrong.items():
        yield (
            f'from_gates {name}',
            started('LSTM'),
            lambda link, gates=gates: interop.from_gates(gates, link),
            error,
            message,
        )


def of_keras():
    W, U, b = KERAS
    wrong = {
        'None': (None, TypeError, 'NoneType'),
        'a number': (5, TypeError, 'int'),
        'empty': ([], ValueError, 'kernel, recurrent_kernel and bias of every layer, got 0 arrays'),
        'one array': ([W], ValueError, 'got 1 arrays'),
        'bias of another length': (
            [W, U, zeros(5)],
            ValueError,
            r'arrays\[2\] \(bias\): .* \(16,\), got \(5,\)',
        ),
        'kernel transposed': (
            [W.T, U, b],
            ValueError,
            r'arrays\[0\] \(kernel\): .* \(16, 16\), got \(16, 3\)',
        ),
        'integers': (
            [W.astype('i'), U, b],
            TypeError,
            r'arrays\[0\] \(kernel\): expected floats, got int32',
        ),
        'None in it': ([None] * 3, TypeError, 'expected floats, got object'),
        'two layers': (
            [W, U, b] * 2,
            ValueError,
            r'arrays\[3\] \(kernel\): expected shape \(4, 16\), got \(3, 16\)',
        ),
    }
    for name, (arrays, error, message) in wrong.items():
        yield (
            f'from_keras {name}',
            started('LSTM'),
            lambda link, arrays=arrays: interop.from_keras(arrays, link),
            error,
            message,
        )


def of_torch_states():
    wrong = {
        'a number': (5, TypeError, 'int'),
        'one': ((STATE,), ValueError, r'expected a pair \(h, c\), got 1 items'),
        'three': ([STATE] * 3, ValueError, 'got 3 items'),
        'None twice': ((None, None), TypeError, 'h: expected floats'),
        'integers': ((STATE.astype('i'), STATE), TypeError, 'h: expected floats, got int32'),
        'two layers': (
            (zeros(2, 2, UNITS),) * 2,
            ValueError,
            r'h: expected shape \(1, any, 4\), got \(2, 2, 4\)',
        ),
        'other units': (
            (STATE, zeros(1, 2, 5)),
            ValueError,
            r'c: expected shape \(1, any, 4\), got \(1, 2, 5\)',
        ),
        'other rows': ((STATE, zeros(1, 3, UNITS)), ValueError, 'expected c and h of one shape'),
        'two axes': (
            (zeros(2, UNITS),) * 2,
            ValueError,
            r'h: expected shape \(any, any, any\), got \(2, 4\)',
        ),
    }
    for name, (state, error, message) in wrong.items():
        yield (
            f'state_from_torch {name}',
            started('LSTM'),
            lambda link, state=state: interop.state_from_torch(state, link),
            error,
            message,
        )
    for what, value in (
        ('None', None),
        ('Linear', LINEAR),
        ('StatelessLSTM', links.StatelessLSTM(2, 3)),
    ):
        yield (
            f'state_from_torch into {what}',
            nothing,
            lambda _, value=value: interop.state_from_torch((STATE, STATE), value),
            TypeError,
            'expected a link that keeps a state, got ',
        )
        if HAS_TORCH:
            yield (
                f'state_to_torch of {what}',
                nothing,
                lambda _, value=value: interop.state_to_torch(value),
                TypeError,
                'expected a link that keeps a state, got ',
            )


def of_torch():
    import torch

    wrong = {
        'None': (None, TypeError, 'expected a torch.nn.LSTM, got NoneType'),
        'GRU': (torch.nn.GRU(3, 4), TypeError, 'expected a torch.nn.LSTM, got GRU'),
        'projections': (
            torch.nn.LSTM(3, 4, proj_size=2),
            ValueError,
            'proj_size: expected None for LSTM, got 2',
        ),
        'two layers': (torch.nn.LSTM(3, 4, 2), ValueError, 'layers: expected 1 for LSTM, got 2'),
        'two directions': (
            torch.nn.LSTM(3, 4, bidirectional=True),
            ValueError,
            'directions: expected 1 .* got 2',
        ),
        'bfloat16': (
            torch.nn.LSTM(3, 4).bfloat16(),
            TypeError,
            'float16, float32 or float64, got torch.bfloat16',
        ),
        'other units': (
            torch.nn.LSTM(3, 5),
            ValueError,
            r'lateral/W: expected shape \(16, 4\), got \(20, 5\)',
        ),
    }
    for name, (module, error, message) in wrong.items():
        yield (
            f'from_torch {name}',
            started('LSTM'),
            lambda link, module=module: interop.from_torch(module, link),
            error,
            message,
        )


def of_onnx():
    """Nothing is written."""
    language_model = RNNForLM(5, 3)
    wrong = {
        'None': (
            None,
            X,
            {},
            TypeError,
            'model: expected a chainer.Link with a method forward, got NoneType',
        ),
        'chain without forward': (chainer.Chain(), X, {}, TypeError, 'got Chain'),
        'opset too old': (LSTM, X, {'opset': 12}, ValueError, 'opset: expected 13 to .*, got 12'),
        'without input size': (
            links.LSTM(None, 3),
            X,
            {},
            ValueError,
            'upward/W: expected weights, got none',
        ),
        'full peepholes': (
            links.StatefulPeepholeLSTM(INPUT, 3),
            X,
            {},
            ValueError,
            'a diagonal matrix',
        ),
        'cell_clip': (
            links.NStepLSTM(1, INPUT, 3, 0.0, cell_clip=2),
            [X[0]],
            {},
            ValueError,
            'cell_clip: expected None .*, got a NStepLSTM with 2',
        ),
        'proj_size': (
            links.SequenceLSTM(INPUT, 3, proj_size=2),
            X,
            {},
            ValueError,
            'proj_size: expected None for an ONNX file, got 2',
        ),
        'example None': (
            LSTM,
            None,
            {},
            TypeError,
            'expected example to be an array or a variable, got NoneType',
        ),
        'example a string': (LSTM, 'x', {}, TypeError, 'got str'),
        'example an empty list': (
            links.NStepLSTM(1, INPUT, 3, 0.0),
            [],
            {},
            ValueError,
            'example: .* an empty list',
        ),
        'example without data': (
            LSTM,
            chainer.Variable(),
            {},
            TypeError,
            'got a variable without data',
        ),
        'example of other width': (
            LSTM,
            zeros(5, 2, 4),
            {},
            ValueError,
            r'the last of 3, got shape \(5, 2, 4\)',
        ),
        'example of one axis': (LSTM, zeros(3), {}, ValueError, r'the last of 3, got shape \(3,\)'),
        'example of no words': (language_model, X, {}, type_check.InvalidType, 'f != i'),
        'dtype of integers': (
            LSTM,
            X,
            {'dtype': 'i'},
            ValueError,
            'dtype: expected a float, got int32',
        ),
        'dtype unknown': (LSTM, X, {'dtype': 'words'}, TypeError, 'words'),
    }
    for name, (model, example, options, error, message) in wrong.items():
        yield (
            f'export_onnx {name}',
            nothing,
            lambda _, model=model, example=example, options=options: interop.export_onnx(
                model, 'x.onnx', example, **options
            ),
            error,
            message,
        )
    for what, path, error in (
        ('no folder', 'none/x.onnx', FileNotFoundError),
        ('a folder', '.', IsADirectoryError),
        ('None', None, TypeError),
    ):
        yield (
            f'export_onnx to {what}',
            started('LSTM'),
            lambda link, path=path: interop.export_onnx(link, path, X),
            error,
            None,
        )


def of_npz_files():
    """Files of other links; the link is as before."""
    more = serialize(links.NStepLSTM(2, INPUT, UNITS, 0.0))
    right = serialize(LSTM)
    less = {key: value for key, value in right.items() if key != 'upward/b'}
    wrong = {
        'other kind': (
            more,
            '',
            KeyError,
            r'file: expected only the arrays of a LSTM, got also '
            r'0/b0, .* and 27 more: .*interop\.convert',
        ),
        'one array more': (
            {**right, 'x': zeros(1)},
            '',
            KeyError,
            r'got also x: .*convert, or give strict=False',
        ),
        'one array less': (less, '', KeyError, 'upward/b is not in'),
        'state': (
            {**right, 'c': zeros(2, UNITS)},
            '',
            KeyError,
            'got also c: set persistent_state of the link',
        ),
        'other shape': (
            {**right, 'upward/b': zeros(1)},
            '',
            ValueError,
            r'upward/b: expected shape \(16,\), got',
        ),
        'path missing': (right, 'predictor/', KeyError, "lateral/W is: load with path=''"),
        'path None': (right, None, TypeError, 'path: expected a string, got NoneType'),
    }
    for name, (arrays, path, error, message) in wrong.items():
        yield (
            f'load {name}',
            started('LSTM'),
            lambda link, arrays=arrays, path=path: interop.load(npz_of(arrays), link, path),
            error,
            message,
        )
    for what, file, error, message in (
        ('no npz file', io.BytesIO(b'x'), ValueError, 'expected an npz file'),
        ('no file', 'none.npz', FileNotFoundError, 'none'),
    ):
        yield (
            f'load of {what}',
            started('LSTM'),
            lambda link, file=file: interop.load(file, link),
            error,
            message,
        )
    for what, value, error, message in (
        ('None', None, KeyError, 'got lateral/W, upward/W, upward/b .*give the link'),
        ('a class', links.LSTM, KeyError, 'got lateral/W, upward/W, upward/b .*give the link'),
        ('a dictionary', {}, TypeError, 'link: expected a chainer.Link, got '),
    ):
        yield (
            f'load into {what}',
            nothing,
            lambda _, value=value: interop.load(npz_of(right), value),
            error,
            message,
        )
    names = {'weight_ih': zeros(16, INPUT), 'weight_hh': zeros(16, 4), 'bias': zeros(16)}
    for what, source, options, error, message in (
        ('a number', 5, {}, TypeError, 'source: expected a path, .* got int'),
        ('nothing', {}, {}, KeyError, 'got none'),
        ('one array less', dict(list(names.items())[:1]), {}, KeyError, 'got weight_ih'),
        ('one array more', {**names, 'x': zeros(1)}, {}, KeyError, 'got also x: give strict=False'),
        ('other shape', {**names, 'bias': zeros(1)}, {}, ValueError, r'bias: expected shape \(16,'),
        ('other units', {**names, 'weight_hh': zeros(16, 5)}, {}, ValueError, r'\(20, 3\), got'),
        ('path None', names, {'path': None}, TypeError, 'path: expected a string or a list'),
        ('path of numbers', names, {'path': [1]}, TypeError, 'path: expected a string or a list'),
        (
            'forget bias',
            names,
            {'forget_bias': 'x'},
            TypeError,
            'expected forget_bias to be a number',
        ),
        ('go_backwards', {**names, 'go_backwards': True}, {}, ValueError, 'expected False for LST'),
        ('merge_mode', {**names, 'merge_mode': 'max'}, {}, ValueError, "'mul', 'ave', got 'max'"),
    ):
        yield (
            f'load arrays: {what}',
            started('LSTM'),
            lambda link, source=source, options=options: interop.load(source, link, **options),
            error,
            message,
        )


def npz_of(arrays):
    file = io.BytesIO()
    numpy.savez(file, **arrays)
    file.seek(0)
    return file


ROWS = [
    Row(*row)
    for row in (
        *of_npz_files(),
        *of_sources(),
        *of_targets(),
        *of_gates(),
        *of_keras(),
        *of_torch_states(),
        *(of_torch() if HAS_TORCH else ()),
        *(of_onnx() if HAS_ONNX else ()),
        (
            'install with an argument',
            nothing,
            lambda _: chainer_lstm.install('LSTM'),
            TypeError,
            'argument',
        ),
        (
            'install of a name',
            nothing,
            lambda _: chainer_lstm.no_such_name,
            AttributeError,
            'no_such_name',
        ),
    )
]

"""What ``interop.load`` refuses of files and arrays, and ``export_onnx`` of models."""

import importlib.util
import io

import chainer
import numpy
import pytest
from chainer.serializers.npz import serialize
from chainer.utils import type_check

from chainer_lstm import interop, links
from chainer_lstm.models import RNNForLM
from tests.support.arrays import zeros
from tests.support.files import with_state
from tests.support.links import INPUT, UNITS

LSTM = links.LSTM(INPUT, UNITS)
X = zeros(5, 2, INPUT)
LANGUAGE_MODEL = RNNForLM(5, 3)
ONNX = pytest.mark.skipif(importlib.util.find_spec('onnx') is None, reason='onnx is not installed')
WRONG_EXPORTS = {
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
    'example of no words': (LANGUAGE_MODEL, X, {}, type_check.InvalidType, 'f != i'),
    'dtype of integers': (
        LSTM,
        X,
        {'dtype': 'i'},
        ValueError,
        'dtype: expected a float, got int32',
    ),
    'dtype unknown': (LSTM, X, {'dtype': 'words'}, TypeError, 'words'),
}
RIGHT = serialize(LSTM)
MORE = serialize(links.NStepLSTM(2, INPUT, UNITS, 0.0))
LESS = {key: value for key, value in RIGHT.items() if key != 'upward/b'}
WRONG_FILES = {
    'other kind': (
        MORE,
        '',
        KeyError,
        r'file: expected only the arrays of a LSTM, got also '
        r'0/b0, .* and 27 more: .*interop\.convert',
    ),
    'one array more': (
        {**RIGHT, 'x': zeros(1)},
        '',
        KeyError,
        r'got also x: .*convert, or give strict=False',
    ),
    'one array less': (LESS, '', KeyError, 'upward/b is not in'),
    'state': (
        {**RIGHT, 'c': zeros(2, UNITS)},
        '',
        KeyError,
        'got also c: set persistent_state of the link',
    ),
    'other shape': (
        {**RIGHT, 'upward/b': zeros(1)},
        '',
        ValueError,
        r'upward/b: expected shape \(16,\), got',
    ),
    'path missing': (RIGHT, 'predictor/', KeyError, "lateral/W is: load with path=''"),
    'path None': (RIGHT, None, TypeError, 'path: expected a string, got NoneType'),
}
NAMES = {'weight_ih': zeros(16, INPUT), 'weight_hh': zeros(16, 4), 'bias': zeros(16)}
WRONG_ARRAYS = {
    'a number': (5, {}, TypeError, 'source: expected a path, .* got int'),
    'nothing': ({}, {}, KeyError, 'got none'),
    'one array less': (dict(list(NAMES.items())[:1]), {}, KeyError, 'got weight_ih'),
    'one array more': ({**NAMES, 'x': zeros(1)}, {}, KeyError, 'got also x: give strict=False'),
    'other shape': ({**NAMES, 'bias': zeros(1)}, {}, ValueError, r'bias: expected shape \(16,'),
    'other units': ({**NAMES, 'weight_hh': zeros(16, 5)}, {}, ValueError, r'\(20, 3\), got'),
    'path None': (NAMES, {'path': None}, TypeError, 'path: expected a string or a list'),
    'path of numbers': (NAMES, {'path': [1]}, TypeError, 'path: expected a string or a list'),
    'forget bias': (NAMES, {'forget_bias': 'x'}, TypeError, 'expected forget_bias to be a number'),
    'go_backwards': ({**NAMES, 'go_backwards': True}, {}, ValueError, 'expected False for LST'),
    'merge_mode': ({**NAMES, 'merge_mode': 'max'}, {}, ValueError, "'mul', 'ave', got 'max'"),
}


@pytest.fixture
def link():
    return with_state(links.LSTM(INPUT, UNITS))


def npz_of(arrays):
    file = io.BytesIO()
    numpy.savez(file, **arrays)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ('arrays', 'path', 'error', 'message'), WRONG_FILES.values(), ids=WRONG_FILES
)
def test_arrays_of_a_file(refuses, link, arrays, path, error, message):
    file = npz_of(arrays)
    refuses(lambda: interop.load(file, link, path), error, message, link)


def test_file_that_is_no_npz_file(refuses, link):
    refuses(lambda: interop.load(io.BytesIO(b'x'), link), ValueError, 'expected an npz file', link)


def test_no_file(refuses, link):
    refuses(lambda: interop.load('none.npz', link), FileNotFoundError, 'none', link)


@pytest.mark.parametrize(
    ('value', 'error', 'message'),
    [
        (None, KeyError, 'got lateral/W, upward/W, upward/b .*give the link'),
        (links.LSTM, KeyError, 'got lateral/W, upward/W, upward/b .*give the link'),
        ({}, TypeError, 'link: expected a chainer.Link, got '),
    ],
    ids=['None', 'a class', 'a dictionary'],
)
def test_into_no_link(refuses, value, error, message):
    file = npz_of(RIGHT)
    refuses(lambda: interop.load(file, value), error, message)


@pytest.mark.parametrize(
    ('source', 'options', 'error', 'message'), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS
)
def test_arrays(refuses, link, source, options, error, message):
    refuses(lambda: interop.load(source, link, **options), error, message, link)


@ONNX
@pytest.mark.parametrize(
    ('model', 'example', 'options', 'error', 'message'), WRONG_EXPORTS.values(), ids=WRONG_EXPORTS
)
def test_export(refuses, model, example, options, error, message):
    refuses(lambda: interop.export_onnx(model, 'x.onnx', example, **options), error, message)


@ONNX
@pytest.mark.parametrize(
    ('path', 'error'),
    [('none/x.onnx', FileNotFoundError), ('.', IsADirectoryError), (None, TypeError)],
    ids=['no folder', 'a folder', 'None'],
)
def test_path_of_an_export(refuses, link, path, error):
    refuses(lambda: interop.export_onnx(link, path, X), error, None, link)

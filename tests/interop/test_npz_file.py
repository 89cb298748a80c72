"""npz files of links that fit and of others, and errors that say which path would fit."""

import io

import chainer
import chainer.links as L
import numpy
import pytest
from chainer import serializers

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop import cases
from tests.support.arrays import assert_same
from tests.support.links import contents


def file_of(link):
    file = io.BytesIO()
    serializers.save_npz(file, link)
    file.seek(0)
    return file


def nested(*names, make=lambda: cases.make('LSTM')):
    """Chains in chains, the innermost around the link."""
    link = make()
    for name in reversed(names):
        link = chainer.Chain(**{name: link})
    return link


@pytest.mark.parametrize('name, layers', cases.LINKS)
@pytest.mark.parametrize('strict', [True, False])
def test_file_of_the_same_link(name, layers, strict, tmp_path):
    first, second = cases.make(name, layers), cases.make(name, layers)
    for param in second.params():
        param.array[...] = 0
    serializers.save_npz(tmp_path / 'link.npz', first)
    interop.load(tmp_path / 'link.npz', second, strict=strict)
    assert_same(contents(second), contents(first))


def test_deferred_links_and_states():
    first, second = cases.make('LSTM'), ours.LSTM(None, cases.UNITS)
    first.persistent_state = second.persistent_state = True
    first.set_state(*numpy.ones((2, 2, cases.UNITS), 'f'))
    interop.load(file_of(first), second)
    assert_same(contents(second), contents(first))
    first.persistent_state = False
    interop.load(file_of(first), second)  # a file of weights alone leaves the state
    assert second.c.array.all()


@pytest.mark.parametrize('path', ['decoder', 'decoder/', '/decoder/'])
def test_path_in_the_file(path):
    model = chainer.Chain(encoder=cases.make('LSTM'), decoder=cases.randomize(ours.LSTM(3, 4)))
    link = ours.LSTM(3, 4)
    interop.load(file_of(model), link, path)
    assert_same(contents(link), contents(model.decoder))


# Files of more than the link

LARGER = {
    'more layers': (
        lambda: cases.make('NStepLSTM', 2),
        lambda: cases.make('NStepLSTM', 1),
        '1/b0, 1/b1, 1/b2',
    ),
    'other directions': (
        lambda: cases.make('NStepBiLSTM'),
        lambda: cases.make('NStepLSTM'),
        '1/b0, 1/b1, 1/b2',
    ),
    'more layers of SequenceLSTM': (
        lambda: cases.make('SequenceLSTM', 2),
        lambda: cases.make('SequenceLSTM', 1),
        'l1/lateral/W, l1/upward/W, l1/upward/b:',
    ),
    'other directions of SequenceLSTM': (
        lambda: cases.make('bidirectional SequenceLSTM'),
        lambda: cases.make('SequenceLSTM'),
        'l0_reverse/lateral/W, l0_reverse/upward/W, l0_reverse/upward/b:',
    ),
    'peepholes': (
        lambda: cases.make('StatefulPeepholeLSTM'),
        lambda: cases.make('LSTM'),
        'peep_f/W, peep_i/W, peep_o/W:',
    ),
    'one more in a model': (
        lambda: chainer.Chain(a=cases.make('LSTM'), b=L.Linear(1, 1)),
        lambda: chainer.Chain(a=cases.make('LSTM')),
        'b/W, b/b:',
    ),
}


@pytest.mark.parametrize('name', LARGER)
def test_larger_file(name):
    """``load_npz`` takes it, as Chainer does; ``load`` only where it is not strict."""
    larger, smaller, unused = LARGER[name]
    first = larger()
    for load in (serializers.load_npz, lambda file, link: interop.load(file, link, strict=False)):
        second = smaller()
        for param in second.params():
            param.array[...] = 0
        load(file_of(first), second)
        source = contents(first)
        assert_same(
            contents(second),
            {
                key: value if value is None else source[key]
                for key, value in contents(second).items()
            },
        )
    before = contents(second)
    with pytest.raises(KeyError, match=f'got also {unused}.*interop.convert, or give strict=False'):
        interop.load(file_of(cases.randomize(larger())), second)
    assert_same(contents(second), before)


def test_other_kind_of_link_is_converted():
    """As the error advises."""
    source, target = cases.make('NStepLSTM'), cases.make('LSTM')
    message = 'file: expected only the arrays of a LSTM, got also 0/b0, .* and 11 more'
    with pytest.raises(KeyError, match=message):
        interop.load(file_of(source), target)
    read = ours.NStepLSTM(1, cases.INPUT, cases.UNITS, 0.0)
    interop.load(file_of(source), read)
    expected = interop.convert(source, ours.LSTM)
    assert_same(contents(interop.convert(read, target)), contents(expected))


# Paths


@pytest.mark.parametrize('source, target, path, message', [
    (('predictor',), (), '',
     "lateral/W is not in the npz file; predictor/lateral/W is: load with path='predictor/'"),
    (('predictor', 'rnn'), (), '', "predictor/rnn/lateral/W is: load with path='predictor/rnn/'"),
    (('predictor', 'rnn'), ('rnn',), '', "predictor/rnn/lateral/W is: load with path='predictor/'"),
    (('predictor', 'rnn'), (), 'rnn/',
     "predictor/rnn/lateral/W is: load with path='predictor/rnn/'"),
    (('predictor',), (), 'predictor', "predictor/lateral/W is: load with path='predictor/'"),
    (('predictor',), (), 'model/',
     "model/lateral/W is not in .*; predictor/lateral/W is: load with path='predictor/'"),
    ((), (), 'predictor/',
     "predictor/lateral/W is not in the npz file; lateral/W is: load with path=''"),
    ((), ('predictor',), '', "lateral/W is: load the file into the child predictor, with path=''"),
    ((), ('predictor', 'rnn'), '',
     "lateral/W is: load the file into the child predictor/rnn, with path=''"),
    (('a', 'rnn'), ('b', 'rnn'), '',
     "a/rnn/lateral/W is: load the file into the child b, with path='a/'"),
], ids=str)  # fmt: skip
@pytest.mark.parametrize('name', ['LSTM', 'SequenceLSTM', 'NStepLSTM', 'Linear'])
def test_wrong_path_names_the_right_one(source, target, path, message, name):
    def make():
        return L.Linear(2, 2) if name == 'Linear' else cases.make(name)

    array = {
        'LSTM': 'lateral/W',
        'SequenceLSTM': 'l0/lateral/W',
        'NStepLSTM': '0/b0',
        'Linear': '(W|b)',
    }[name]
    link = nested(*target, make=make)
    before = contents(link)
    message = message.replace('lateral/W', array)
    for load in (serializers.load_npz, interop.load):
        if load is interop.load and path == 'predictor':
            continue  # the slash may be left out
        with pytest.raises(KeyError, match=message):
            load(file_of(nested(*source, make=make)), link, path)
        assert_same(contents(link), before)


def test_the_right_path_loads():
    model, link = nested('predictor', 'rnn'), ours.LSTM(cases.INPUT, cases.UNITS)
    for load in (serializers.load_npz, interop.load):
        load(file_of(model), link, path='predictor/rnn/')
        assert_same(contents(link), contents(model.predictor.rnn))
        link.lateral.W.array[...] = 0


def test_several_paths():
    model = chainer.Chain(**{name: cases.make('LSTM') for name in 'dcba'})
    message = "a/lateral/W is: load with path='a/' or path='b/' or path='c/'"
    with pytest.raises(KeyError, match=message):
        serializers.load_npz(file_of(model), cases.make('LSTM'))
    message += '; or load the file into a link of its kind.*interop.convert'
    with pytest.raises(KeyError, match=message):
        interop.load(file_of(model), cases.make('LSTM'))


@pytest.mark.parametrize(
    'make, file',
    [
        (lambda: cases.make('NStepLSTM', 3), lambda: cases.make('NStepLSTM', 2)),
        (lambda: cases.make('SequenceLSTM', 2), lambda: cases.make('SequenceLSTM', 1)),
        (lambda: cases.make('LSTM'), lambda: cases.make('NStepLSTM')),
        (lambda: cases.make('LSTM'), lambda: chainer.Chain()),
    ],
    ids=['fewer layers', 'fewer layers of SequenceLSTM', 'other kind', 'empty'],
)
def test_no_path_would_fit(make, file):
    with pytest.raises(KeyError, match="is not in the npz file'$"):
        serializers.load_npz(file_of(file()), make())

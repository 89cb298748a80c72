"""npz files that are no plain arrays:
nothing in them is run, and nothing is set before all of a file was looked at.
"""

import contextlib
import io
import pathlib
import pickle
import zipfile

import chainer
import numpy
import pytest
from chainer import serializers

from chainer_lstm import links
from chainer_lstm.models import RNNForLM
from tests.support.arrays import assert_same
from tests.support.links import contents

# numpy.asarray(None) as Python 2 pickled it for NumPy's files
PYTHON_2 = (
    b'\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b'
    b'\x87Rq\x03(K\x01)cnumpy\ndtype\nq\x04U\x02O8K\x00K\x01\x87Rq\x05(K\x03U\x01|NNN'
    b'J\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]'
    b'q\x06Natb.'
)


class Attack:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


class Things:
    """Whatever is in a file under these names."""

    def __init__(self, *names):
        self.found = dict.fromkeys(names)

    def serialize(self, serializer):
        for name in self.found:
            self.found[name] = serializer(name, None)


def npy(descr, shape, data):
    out = io.BytesIO()
    numpy.lib.format.write_array_header_1_0(
        out, {'descr': descr, 'fortran_order': False, 'shape': shape}
    )
    return out.getvalue() + data


def npz(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, data in members:
            archive.writestr(name, data)


def object_array(value):
    out = io.BytesIO()
    numpy.save(out, value, allow_pickle=True)
    return out.getvalue()


def good():
    """The members of a model's file."""
    out = io.BytesIO()
    serializers.save_npz(out, RNNForLM(5, 3))
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def lying(path):
    """A file whose directory and header say that a kilobyte unpacks to four gigabytes."""
    size = 2**32 - 2
    npz(path, [('embed/W.npy', npy('<f4', (size // 4,), bytes(1000)))])
    data = path.read_bytes()
    at = data.index(b'PK\x01\x02') + 24  # uncompressed size, in the central directory
    path.write_bytes(data[:at] + size.to_bytes(4, 'little') + data[at + 4 :])


ZEROS = bytes(4 * 15)
HOSTILE = {
    'an object': (
        lambda attack: {'embed/W.npy': object_array(numpy.asarray(attack))},
        'pickled objects',
    ),
    'objects': (
        lambda attack: {'embed/W.npy': object_array(numpy.array([None, attack]))},
        'pickled objects',
    ),
    'an object that is not loaded': (
        lambda attack: {'more.npy': object_array(numpy.asarray(attack))},
        'pickled objects',
    ),
    'None and an object after it': (
        lambda attack: {
            'more.npy': npy('|O', (), pickle.dumps(numpy.asarray(None)) + pickle.dumps(attack))
        },
        'pickled objects',
    ),
    'fields of objects': (
        lambda attack: {'more.npy': npy([('a', '|O')], (), pickle.dumps(attack))},
        'pickled objects',
    ),
    'a bare pickle': (lambda attack: {'more.npy': pickle.dumps(attack)}, 'magic'),
    'a path outside': (
        lambda attack: {'../embed/W.npy': b''},
        r"names of arrays .* got '\.\./embed/W\.npy'",
    ),
    'a path of Windows outside': (lambda attack: {'embed\\..\\..\\W.npy': b''}, 'names of arrays'),
    'more elements than bytes': (
        lambda attack: {'embed/W.npy': npy('<f4', (5, 10**12), ZEROS)},
        r'embed/W: expected 20000000000000 bytes for an array .* got 60',
    ),
    'fewer elements than bytes': (
        lambda attack: {'embed/W.npy': npy('<f4', (5, 2), ZEROS)},
        r'expected 40 bytes .* got 60',
    ),
    'negative sizes': (
        lambda attack: {'embed/W.npy': npy('<f4', (-5, -3), ZEROS)[:-1]},
        r'expected 60 bytes',
    ),
    'code for a header': (
        lambda attack: {'embed/W.npy': b'\x93NUMPY\x01\x00\x14\x00__import__("os").x()\n'},
        'header',
    ),
    'half a header': (
        lambda attack: {'embed/W.npy': b'\x93NUMPY\x01\x00\x14\x00{"descr": "<f4", ((\n  '},
        'header',
    ),
    'an unknown format': (
        lambda attack: {'embed/W.npy': b'\x93NUMPY\x09\x00' + ZEROS},
        r'got \(9, 0\)',
    ),
}


def attempts(path, model):
    """All that reads npz files of models."""
    return [
        lambda: serializers.load_npz(str(path), model),
        lambda: serializers.load_npz(path, model, strict=False),
        lambda: serializers.load_npz(io.BytesIO(path.read_bytes()), model),
        lambda: RNNForLM.from_npz(path),
    ]


def assert_refused(path, message, attack):
    model = RNNForLM(5, 3)
    before = contents(model)
    for attempt in attempts(path, model):
        with pytest.raises(ValueError, match=message):
            attempt()
        assert_same(contents(model), before)
    assert not attack.path.exists()


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_file_is_refused_before_anything_is_set(tmp_path, name):
    members, message = HOSTILE[name]
    attack = Attack(tmp_path / 'attacked')
    npz(tmp_path / 'model.npz', {**good(), **members(attack)}.items())
    assert_refused(tmp_path / 'model.npz', message, attack)


def test_attack_would_succeed_where_pickles_are_loaded(tmp_path):
    attack = Attack(tmp_path / 'attacked')
    npz(tmp_path / 'model.npz', [('x.npy', object_array(numpy.asarray(attack)))])
    with numpy.load(tmp_path / 'model.npz', allow_pickle=True) as arrays:
        arrays['x']
    assert attack.path.exists()


def test_one_name_twice(tmp_path):
    members = [*good().items()]
    for name in ('embed/W.npy', 'embed/W'):
        with (
            pytest.warns(UserWarning, match='Duplicate')
            if name.endswith('npy')
            else contextlib.nullcontext()
        ):
            npz(tmp_path / 'model.npz', [*members, (name, npy('<f4', (5, 3), ZEROS))])
        assert_refused(
            tmp_path / 'model.npz',
            "one array of each name .* another 'embed/W'",
            Attack(tmp_path / 'x'),
        )


def test_directory_that_lies_about_sizes(tmp_path):
    lying(tmp_path / 'model.npz')
    assert_refused(
        tmp_path / 'model.npz',
        r'one of \d{3} bytes that says it holds 4294967294',
        Attack(tmp_path / 'x'),
    )


@pytest.mark.parametrize(
    'data',
    [b'', b'not a zip', b'PK\3\4', pickle.dumps(Attack(pathlib.Path('attacked')))],
    ids=['empty', 'text', 'cut', 'a pickle'],
)
def test_what_is_no_npz_file(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'model.npz').write_bytes(data)
    assert_refused(tmp_path / 'model.npz', 'expected an npz file', Attack(tmp_path / 'attacked'))


def test_snapshot_with_an_object_is_refused(tmp_path):
    """What ``--resume`` reads: optimizers and extensions come before the object,
    and keep what they have.
    """
    model = RNNForLM(5, 3)
    optimizer = chainer.optimizers.Adam().setup(model)
    members = serializers.npz.serialize(optimizer)
    attack = Attack(tmp_path / 'attacked')
    numpy.savez(
        tmp_path / 'snapshot.npz', **{**members, 't': numpy.asarray(7), 'z': numpy.asarray(attack)}
    )
    with pytest.raises(
        ValueError, match='z: expected numbers, got pickled objects, which are not loaded'
    ):
        serializers.load_npz(tmp_path / 'snapshot.npz', optimizer)
    assert optimizer.t == 0
    assert not attack.path.exists()


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('module', ['numpy.core', 'numpy._core'])
def test_none_of_any_numpy_is_none(tmp_path, protocol, module):
    pickled = pickle.dumps(numpy.asarray(None), protocol).replace(b'numpy._core', b'numpy.core')
    npz(
        tmp_path / 'x.npz',
        [('x.npy', npy('|O', (), pickled.replace(b'numpy.core', module.encode())))],
    )
    things = Things('x')
    things.found['x'] = 'as before'
    serializers.load_npz(tmp_path / 'x.npz', things)
    assert things.found == {'x': None}


def test_files_of_chainer_are_read_as_by_chainer(tmp_path):
    values = {
        'x': numpy.arange(6, dtype='f').reshape(2, 3).T,
        'none': None,
        'text': 'a log',
        'n': 3,
        'flag': True,
        'empty': numpy.zeros((0, 4)),
        'complex': numpy.ones(2, 'F'),
    }
    for compression in (True, False):
        serializer = serializers.DictionarySerializer()
        for name, value in values.items():
            serializer(name, value)
        serializer.target['of Python 2'] = serializer.target['none']
        serializers.save_npz(str(tmp_path / 'x.npz'), serializer.target, compression)
        things = Things(*serializer.target)
        serializers.load_npz(str(tmp_path / 'x.npz'), things)
        with numpy.load(tmp_path / 'x.npz', allow_pickle=True) as arrays:
            for name in values:
                expected = None if values[name] is None else arrays[name]
                numpy.testing.assert_array_equal(
                    things.found[name], expected, strict=expected is not None
                )


def test_none_of_python_2(tmp_path):
    npz(tmp_path / 'x.npz', [('x.npy', npy('|O', (), PYTHON_2))])
    things = Things('x')
    things.found['x'] = 'as before'
    serializers.load_npz(tmp_path / 'x.npz', things)
    assert things.found == {'x': None}


def test_archive_with_folders_from_another_zip_program(tmp_path):
    npz(tmp_path / 'model.npz', [('embed/', b''), *good().items()], zipfile.ZIP_STORED)
    serializers.load_npz(tmp_path / 'model.npz', RNNForLM(5, 3))


@pytest.mark.parametrize('in_size', [2, None], ids=['initialized', 'deferred'])
@pytest.mark.parametrize('dtype', ['F', 'U9'])
def test_weights_that_are_no_real_numbers(tmp_path, in_size, dtype):
    arrays = serializers.npz.serialize(links.LSTM(2, 3))
    numpy.savez(tmp_path / 'x.npz', **{**arrays, 'upward/W': arrays['upward/W'].astype(dtype)})
    link = links.LSTM(in_size, 3)
    before = contents(link)
    with pytest.raises(
        ValueError, match=f'upward/W: expected real numbers, got {numpy.dtype(dtype)}'
    ):
        serializers.load_npz(tmp_path / 'x.npz', link)
    assert_same(contents(link), before)

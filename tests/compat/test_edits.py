"""The edited modules of Chainer compute what they computed with NumPy 1, without warnings."""

import importlib
import types

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import serializers
from chainer.backends import cuda

from chainer_lstm.compat import padding
from tests.support.interpreter import run


@pytest.mark.parametrize('variable', [False, True], ids=['array', 'variable'])
@pytest.mark.parametrize('batch', [(), (1,), (2, 3)], ids=str)
def test_categorical_log_prob(batch, variable):
    p = numpy.random.RandomState(0).dirichlet([1, 1, 1], batch).astype('f')
    x = numpy.asarray(numpy.random.RandomState(1).randint(3, size=batch))
    expected = numpy.log(numpy.take_along_axis(p, x[..., None], axis=-1)[..., 0])
    distribution = chainer.distributions.Categorical(p)
    log_prob = distribution.log_prob(chainer.Variable(x) if variable else x)
    numpy.testing.assert_allclose(log_prob.array, expected, rtol=1e-6)
    assert log_prob.shape == batch


def module(name):
    # chainer.functions.array holds functions of the same names, which hide the modules
    return importlib.import_module(f'chainer.functions.array.{name}')


def get_item(xp, gy):
    indices = xp.asarray([0, 0, 1])
    return module('get_item').GetItemGrad((indices,), (2,)).forward((gy,))[0]


def scatter_add(xp, gy):
    indices = xp.asarray([0, 0, 1])
    return module('scatter_add').ScatterAdd((indices,)).forward((xp.zeros(2, gy.dtype), gy))[0]


def as_strided(xp, gy):
    total = xp.zeros(2, gy.dtype)
    module('as_strided')._index_add(total, xp.asarray([0, 0, 1]), gy)
    return total


def spatial_transformer_sampler(xp, gy):
    # three samples of an image of 1 x 2: twice its left pixel, once its right one
    x = xp.zeros((1, 1, 1, 2), gy.dtype)
    grid = xp.asarray([[[[-1, -1, 1]], [[0, 0, 0]]]], gy.dtype)
    node = module('spatial_transformer_sampler').SpatialTransformerSampler()
    return node._backward((x, grid), (gy.reshape(1, 1, 1, 3),))[0].ravel()


def to_dense(xp, gy):
    columns = xp.asarray([0, 0, 1], 'i')
    return chainer.utils.CooMatrix(gy, xp.zeros_like(columns), columns, (1, 2)).to_dense()[0]


SCATTERING = [get_item, scatter_add, as_strided, spatial_transformer_sampler, to_dense]


@pytest.mark.gpu
@pytest.mark.parametrize('add', SCATTERING)
def test_indices_that_repeat_add_up_on_the_gpu(cupy, add):
    total = add(cupy, cupy.asarray([1, 2, 4], 'f'))
    assert total.get().tolist() == [3, 4]


@pytest.mark.parametrize('add', SCATTERING[:4])
def test_indices_that_repeat_add_up_without_scatter_add(monkeypatch, add):
    """NumPy, under CuPy's name, has ``add.at`` and no ``scatter_add``."""
    cupy = types.ModuleType('cupy')
    cupy.__getattr__ = lambda name: getattr(numpy, name)
    monkeypatch.setattr(cuda, 'cupy', cupy)
    monkeypatch.setattr(cuda, 'cupyx', types.ModuleType('cupyx'), raising=False)
    monkeypatch.setattr(cuda, 'ndarray', numpy.ndarray)
    monkeypatch.setattr(chainer.backend, 'get_array_module', lambda *arrays: cupy)
    assert add(cupy, numpy.array([1, 2, 4], 'f')).tolist() == [3, 4]


# dtype, padding, and the value that NumPy 1.23.5 stored, in Chainer's two functions alike
PADDINGS = [
    ('u1', 0, 0), ('u1', 255, 255), ('u1', -1, 255), ('u1', 256, 0), ('u1', 300, 44),
    ('u1', -1.5, 255), ('u1', 1e3, 232), ('u1', numpy.int64(-1), 255),
    ('u1', numpy.float32(-1), 255), ('i1', -128, -128), ('i1', 200, -56), ('u2', -1, 2**16 - 1),
    ('u4', -1, 2**32 - 1), ('u8', -1, 2**64 - 1), ('u8', 2**64 - 1, 2**64 - 1), ('i4', 2**40, 0),
    ('i4', -1, -1), ('?', -1, True), ('f', -1, -1), ('f', -1.5, -1.5), ('f', numpy.inf, numpy.inf),
]  # fmt: skip


def concatenated(arrays, value):
    return chainer.dataset.concat_examples(arrays, padding=value)


def padded(arrays, value):
    return F.pad_sequence(arrays, padding=value).array


@pytest.mark.parametrize('pad', [concatenated, padded])
@pytest.mark.parametrize('dtype, value, stored', PADDINGS)
def test_padding_outside_the_range_of_a_dtype(pad, dtype, value, stored):
    result = pad([numpy.array(row, dtype) for row in ([1, 2], [3], [])], value)
    expected = numpy.array([[1, 2], [3, stored], [stored, stored]], dtype)
    numpy.testing.assert_array_equal(result, expected, strict=True)


@pytest.mark.gpu
@pytest.mark.parametrize('pad', [concatenated, padded])
@pytest.mark.parametrize('dtype, value, stored', [case for case in PADDINGS if case[0][0] in 'iu'])
def test_padding_outside_the_range_of_a_dtype_on_the_gpu(cupy, pad, dtype, value, stored):
    result = pad([cupy.array(row, dtype) for row in ([1, 2], [3])], value)
    numpy.testing.assert_array_equal(
        result.get(), numpy.array([[1, 2], [3, stored]], dtype), strict=True
    )


@pytest.mark.parametrize('pad', [concatenated, padded])
def test_padding_that_no_dtype_holds(pad):
    with pytest.raises(OverflowError, match='int too large'):
        pad([numpy.zeros(2, 'u1'), numpy.zeros(1, 'u1')], 2**64)


@pytest.mark.parametrize('pad', [concatenated, padded])
def test_nan_pads_floats(pad):
    assert numpy.isnan(pad([numpy.zeros(2, 'f'), numpy.zeros(1, 'f')], numpy.nan)[1, 1])


@pytest.mark.parametrize('value', [None, 'a', numpy.nan, numpy.array([1, 2])], ids=str)
def test_padding_that_is_no_finite_number_is_left_to_numpy(value):
    assert padding.wrap(value, numpy.dtype('u1')) is value


def test_examples_of_several_shapes_and_dtypes():
    examples = [
        (numpy.ones((1, 2), 'f'), numpy.array([7], 'u1'), 5),
        (numpy.ones((2, 1), 'f'), numpy.array([], 'u1'), 6),
    ]
    x, y, t = chainer.dataset.concat_examples(examples, padding=-1)
    assert x.tolist() == [[[1, 1], [-1, -1]], [[1, -1], [1, -1]]]
    assert y.tolist() == [[7], [255]]
    assert t.tolist() == [5, 6]


@pytest.mark.slow
@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
def test_multiprocess_iterator(method):
    assert (
        run(f"""
        import multiprocessing, chainer_lstm, chainer
        multiprocessing.set_start_method({method!r})
        iterator = chainer.iterators.MultiprocessIterator(
            [1, 2, 3], 2, n_processes=1, shuffle=False)
        print(iterator.next(), iterator.next())
        iterator.finalize()
        """)
        == '[1, 2] [3, 1]'
    )


@pytest.mark.parametrize(
    'data, grad, words',
    [
        (
            numpy.array([1, 3], 'f'),
            None,
            ['- device: CPU', '- statistics: mean=2.0', '- grad: None'],
        ),
        (numpy.array(1.0), numpy.array(0.0), ['- device: CPU', '- shape: ()', '- grad: 0']),
        (None, None, ['- device: None', '- backend: None', '- shape: None']),
    ],
    ids=['array', 'scalar', 'no data'],
)
def test_debug_print(data, grad, words):
    variable = chainer.Variable(data, grad=grad)
    lines = variable.debug_print().splitlines()
    assert not [word for word in words if not any(line.startswith(word) for line in lines)]


@pytest.mark.parametrize('dtype', ['e', 'f', 'd'])
def test_gradients_of_one_dtype_are_unpacked_into_another(dtype):
    pytest.importorskip('mpi4py', reason="mpi4py is not installed: pip install 'chainer-lstm[mpi]'")
    assert run(f"""
        import chainer_lstm, chainer, numpy
        from chainermn.communicators import _memory_utility

        class Buffer:
            def to_device(self, array, size, offset, stream):
                array[...] = 2
                print(array.dtype.char, size, offset)

        parameters = [chainer.Parameter(numpy.zeros(size, 'f')) for size in (3, 1)]
        for parameter in parameters:
            parameter.grad = numpy.zeros_like(parameter.array)
        _memory_utility.unpack_params(parameters, 'grad', Buffer(), numpy.dtype({dtype!r}), False)
        print([parameter.grad.tolist() for parameter in parameters], parameters[0].grad.dtype)
        """).splitlines() == [
        f'{dtype} {3 * numpy.dtype(dtype).itemsize} 0',
        f'{dtype} {numpy.dtype(dtype).itemsize} {3 * numpy.dtype(dtype).itemsize}',
        '[[2.0, 2.0, 2.0], [2.0]] float32',
    ]


@pytest.mark.parametrize('x', [0.5, -0.5, [1.5, -1.5, -0.0], [[numpy.inf]]], ids=str)
@pytest.mark.parametrize('dtype', ['e', 'f', 'd'])
def test_fix_rounds_towards_zero(x, dtype):
    y = F.fix(numpy.array(x, dtype)).array
    numpy.testing.assert_array_equal(y, numpy.array(numpy.trunc(x), dtype), strict=True)
    numpy.testing.assert_array_equal(numpy.signbit(y), numpy.signbit(x))


@pytest.mark.parametrize('dtype', ['e', 'f', 'd'])
@pytest.mark.parametrize('batch', [(), (2,)], ids=['matrix', 'batch'])
def test_sparse_matmul(dtype, batch):
    pytest.importorskip('scipy', reason='SciPy is not installed, which F.sparse_matmul needs')
    a = numpy.broadcast_to(numpy.array([[0, 2], [0, 0], [3, 0]], dtype), (*batch, 3, 2))
    b = numpy.broadcast_to(numpy.array([[1], [4]], dtype), (*batch, 2, 1))
    y = F.sparse_matmul(chainer.utils.to_coo(a), b).array
    numpy.testing.assert_array_equal(y, a @ b, strict=True)


@pytest.mark.parametrize('available', [True, False])
def test_cuda_profile_hook_asks_nvtx(monkeypatch, available):
    nvtx = types.SimpleNamespace(available=available)
    cupy = types.SimpleNamespace(cuda=types.SimpleNamespace(nvtx=nvtx))
    monkeypatch.setattr(cuda, 'cupy', cupy, raising=False)
    monkeypatch.setattr(cuda, 'check_cuda_available', lambda: None)
    if available:
        chainer.function_hooks.CUDAProfileHook()
    else:
        with pytest.raises(RuntimeError, match='nvtx is required'):
            chainer.function_hooks.CUDAProfileHook()


class Values:
    def __init__(self, **values):
        self.values = values

    def serialize(self, serializer):
        for name, value in self.values.items():
            self.values[name] = serializer(name, value)


def test_hdf5_gives_strings_and_numbers_back(tmp_path):
    h5py = pytest.importorskip('h5py')
    with h5py.File(tmp_path / 'x.h5', 'w') as file:
        file['variable'] = 'abc'
        file['fixed'] = numpy.array(b'abc')
        file['number'] = 3
    loaded = Values(variable='', fixed='', number=0)
    serializers.load_hdf5(tmp_path / 'x.h5', loaded)
    assert loaded.values == {'variable': 'abc', 'fixed': 'abc', 'number': 3}
    assert type(loaded.values['number']) is int


def test_hdf5_raises_what_h5py_raised(tmp_path, capsys):
    pytest.importorskip('h5py')
    with pytest.raises(TypeError, match=r'Object dtype'):
        serializers.save_hdf5(tmp_path / 'x.h5', {'key': object()})
    assert 'unable to save in HDF5 format' in capsys.readouterr().err


class Net(chainer.Chain):
    """A network of layers that Chainer exports to Caffe and to ONNX."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.convolution = chainer.links.Convolution2D(1, 2, 2)
            self.normalization = chainer.links.BatchNormalization(2)
            self.linear = chainer.links.Linear(8, 3)

    def forward(self, x):
        h = F.relu(self.normalization(self.convolution(x)))
        return F.softmax(self.linear(F.max_pooling_2d(h, 2, 1)))


@pytest.fixture
def net():
    numpy.random.seed(0)
    return Net()


@pytest.fixture
def x():
    return numpy.random.RandomState(0).rand(1, 1, 4, 4).astype('f')


def predicted(net, x):
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        return net(x).array


def test_exporters_are_imported_quietly():
    assert run('import chainer_lstm, chainer.exporters; print(chainer.exporters.__name__)') == (
        'chainer.exporters'
    )


def test_caffe_model_is_exported_and_imported(tmp_path, net, x):
    from chainer.exporters import caffe
    from chainer.links.caffe import CaffeFunction

    caffe.export(net, [chainer.Variable(x)], str(tmp_path))
    assert 'type: "Convolution"' in (tmp_path / 'chainer_model.prototxt').read_text()
    imported = CaffeFunction(str(tmp_path / 'chainer_model.caffemodel'))
    last = imported.layers[-1][0]
    with chainer.using_config('train', False):
        (y,) = imported({'data': x}, outputs=[last])
    numpy.testing.assert_allclose(y.array, predicted(net, x), rtol=1e-6)


def test_damaged_caffe_model_is_refused(tmp_path):
    from chainer.links.caffe import CaffeFunction
    from google.protobuf.message import DecodeError

    (tmp_path / 'x.caffemodel').write_bytes(b'\xff' * 9)
    with pytest.raises(DecodeError):
        CaffeFunction(str(tmp_path / 'x.caffemodel'))


def test_onnx_chainer_exports_a_model_that_onnxruntime_runs(tmp_path, net, x):
    onnx = pytest.importorskip('onnx')
    runtime = pytest.importorskip('onnxruntime')
    import onnx_chainer

    path = str(tmp_path / 'model.onnx')
    onnx_chainer.export(net, x, filename=path, no_testcase=True)
    assert onnx.load(path).ir_version == 6
    session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    numpy.testing.assert_allclose(y, predicted(net, x), rtol=1e-5)


@pytest.mark.parametrize('dtype', ['float16', 'float64', 'int32', 'int64', 'uint8', 'bool'])
def test_onnx_chainer_knows_dtypes(dtype):
    onnx = pytest.importorskip('onnx')
    import onnx_chainer

    class Cast(chainer.Chain):
        def forward(self, x):
            return F.cast(F.identity(x) * 1, dtype)

    x = numpy.ones((2, 3), 'f')
    model = onnx_chainer.export(Cast(), x)
    (output,) = model.graph.output
    assert output.type.tensor_type.elem_type == onnx.TensorProto.DataType.Value(
        {'float64': 'DOUBLE'}.get(dtype, dtype.upper())
    )


def test_onnx_chainer_without_onnx_says_how_to_install_it():
    assert "pip install 'onnx'" in run("""
        import sys
        sys.modules['onnx'] = None
        import chainer_lstm, chainer, onnx_chainer
        onnx_chainer.export(chainer.Chain(), None)
        """)

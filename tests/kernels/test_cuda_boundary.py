"""The CUDA kernels through ``kernels.boundary``, and its tables against the CUDA source."""

import re

import numpy
import pytest

from chainer_lstm import cells
from chainer_lstm.kernels import boundary, cuda
from chainer_lstm.kernels.engines import persistent
from chainer_lstm.kernels.engines.types import Shape
from chainer_lstm.kernels.packing import Rows
from tests.kernels import cuda_on_cpu, fibres
from tests.kernels.boundary_cases import (
    SIZES,
    arrays_of,
    check_wrong_arrays,
    refuses,
    sizes_of,
    strided,
    with_one,
)
from tests.kernels.stages import KERNELS

ROWS = Rows((3, 3), 3)
UNITS = 5


@pytest.fixture
def launches(monkeypatch):
    """The kernels that are launched, which compute nothing."""
    names = []

    def kernel(name):
        return lambda *arguments, **options: names.append(name)

    monkeypatch.setattr(cuda, 'stage_kernel', lambda name, dtype_char: kernel(name))
    return names


def check_wrong_memory(kernel, arrays, call):
    """The call of a kernel refuses to write into an array that is not dense."""
    for index, argument in enumerate(kernel.arguments):
        if argument.written:
            given = with_one(arrays, index, strided(arrays[index]))
            message = f'expected {argument.name}, which is written into'
            refuses(call, given, message, [True] * len(given))


@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('name', KERNELS)
def test_stages(launches, name, dtype):
    kernel, engine = boundary.KERNELS[name], cuda_on_cpu.CudaOnCpuEngine()
    batch, units, *numbers = sizes_of(kernel)
    like = numpy.zeros((batch, units), dtype)
    arrays = [engine.xp.array(x) for x in arrays_of(kernel, dtype)]

    def call(arrays):
        engine.launch(name, like, *arrays, numbers=numbers)

    call(arrays)
    assert launches == [name]
    check_wrong_arrays(kernel, like.shape, arrays, call)
    check_wrong_memory(kernel, arrays, call)
    for wrong in (arrays[:-1], [*arrays, arrays[-1]]):
        with pytest.raises(ValueError, match=f'expected {len(arrays)} arrays, got'):
            call(wrong)
    assert launches == [name]


@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('name', boundary.CUDA)
def test_functions(monkeypatch, name, dtype):
    launches = []

    def kernel(name, *of):
        return lambda grid, block, args, shared_mem: launches.append(name)

    monkeypatch.setattr(cuda, 'function_kernel', kernel)
    kernel, engine, dtype = boundary.CUDA[name], cuda_on_cpu.CudaOnCpuEngine(), numpy.dtype(dtype)
    extents = kernel.sizes[: kernel.extents]
    sizes = tuple(
        {**SIZES, 'rows': 5, 'given': 3, 'one': 2, 'three': 3}[extent] for extent in extents
    )
    numbers = [3] * (len(kernel.sizes) - len(extents))
    arrays = [engine.xp.array(x) for x in arrays_of(kernel, dtype, sizes)]

    def call(arrays):
        engine.launch_function(name, dtype, sizes, arrays, (1,), 32, numbers)

    call(arrays)
    check_wrong_arrays(kernel, sizes, arrays, call)
    check_wrong_memory(kernel, arrays, call)
    assert launches == [name]


@pytest.mark.parametrize('index_bytes', [4, 8])
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('name', boundary.CUDA)
def test_structs_of_functions(name, dtype, index_bytes):
    """They are as large as the source's; ``test_function_kernels`` sees what is where."""
    if fibres.missing() or cuda_on_cpu.missing():
        pytest.skip(fibres.missing() or cuda_on_cpu.missing())
    text, options = cuda.function(name, dtype, index_bytes)
    kernel = fibres.Kernel(text, name, (*options, '-mf16c'), 0, 0)
    size = boundary.CUDA[name].layout.size
    assert boundary.CUDA[name].layout_of_floats.size == size
    for wrong in (size - 8, size + 8):
        with pytest.raises(TypeError, match=f'expected {size} bytes'):
            kernel((1,), (32,), (numpy.zeros(wrong, numpy.uint8).view(f'V{wrong}'),))


@pytest.mark.parametrize('name', KERNELS)
def test_struct_has_as_many_members_as_the_source(name):
    if cuda_on_cpu.missing() is not None:
        pytest.skip(cuda_on_cpu.missing())
    kernel = cuda_on_cpu.Kernel(name, 'f', str, False)

    def call(words):
        kernel((1,), (1,), (numpy.zeros(words, numpy.int64).view(f'V{8 * words}'),))

    words = boundary.KERNELS[name].layout.size // 8  # of no units: nothing is computed
    call(words)
    for wrong in (words - 1, words + 1):
        with pytest.raises(TypeError, match='do not fit'):
            call(wrong)


@pytest.mark.parametrize('direction', ['forward', 'backward'])
def test_persistent_kernels(monkeypatch, direction):
    launches = []
    engine = fibres.engine(monkeypatch)
    monkeypatch.setattr(
        cuda,
        'sequence_kernel',
        lambda file, name, *others, **more: lambda *args, **options: launches.append(name),
    )
    shape = Shape(len(ROWS.steps), ROWS.batch, UNITS, 1)
    grid = engine._grid(cells.lstm, numpy.dtype('f'), shape, direction)
    kernel = boundary.PERSISTENT[f'lstm_sequence_{grid.kernel.direction}']
    sizes = ROWS.batch, UNITS, ROWS.total
    arrays = arrays_of(kernel, 'f', sizes)
    names = [argument.name for argument in kernel.arguments]
    layout = {'first': ROWS.first, 'initial': ROWS.initial, 'reverse': 0, 'gh_stride': UNITS}

    def call(arrays):
        engine._run(grid, ROWS, [{**dict(zip(names, arrays)), **layout}])

    call(arrays)
    assert launches == [f'{kernel.name}_prepare', kernel.name]
    check_wrong_arrays(kernel, sizes, arrays, call)
    check_wrong_memory(kernel, arrays, call)
    assert len(launches) == 2


def test_struct_of_the_persistent_kernels():
    """Names, order and types of the members that Python fills are those of struct Job."""
    body = re.search(r'struct Job \{(.*?)\n\};', cuda.source('persistent.cuh'), re.DOTALL).group(1)
    declarations = re.sub(r'//.*', '', body).split(';')
    found = []
    for declaration in filter(str.strip, declarations):
        kind, names = re.fullmatch(
            r'\s*((?:const )?(?:long long|\w+)\*?) (.*)', declaration
        ).groups()
        code = 'Q' if kind.endswith('*') else {'int': 'i', 'long long': 'q'}[kind]
        found += [(name.strip(), code) for name in names.split(',')]
    assert found == persistent._JOB
    for direction, kernel in boundary.PERSISTENT.items():
        for argument in kernel.arguments:
            assert (argument.name, 'Q') in found, direction

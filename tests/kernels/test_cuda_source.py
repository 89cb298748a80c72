"""The CUDA source and the whole of ``CupyEngine``, run on the CPU."""

import pathlib
import subprocess
import sys

import numpy
import pytest

from chainer_lstm import kernels
from chainer_lstm.kernels import cuda, cupy_engine
from tests.kernels import cases, cuda_on_cpu

ROOT = pathlib.Path(__file__).parents[2]

# name -> (what stands in the source, what is put there)
MUTANTS = {
    'i and f swapped': ('c = g.a * g.i + g.f * c_prev', 'c = g.a * g.f + g.i * c_prev'),
    'f without its peephole': ('sigmoid(g.f + pf)', 'sigmoid(g.f)'),
    'h without tanh': ('h = g.o * tanh(c)', 'h = g.o * c'),
    'sigmoid of 2x': ('tanh(x * R(0.5))', 'tanh(x)'),
    'grad_sigmoid without 1 - y': ('return y * (R(1) - y)', 'return y'),
    'grad_tanh without square': ('return R(1) - y * y', 'return R(1) - y'),
    'gc_prev by i': ('gc_prev = gc * g.f', 'gc_prev = gc * g.i'),
    'gf without c_prev': ('gc * c_prev * grad_sigmoid', 'gc * grad_sigmoid'),
    'gc forgotten': ('gc += gh', 'gc = gh'),
    'gradient not given is 1': (': REAL(0)', ': REAL(1)'),
    'gc and gh swapped': (
        f'gc /*(B, H) or null*/,\n{36 * " "}const STORED* gh',
        'gh, const STORED* gc',
    ),
    'hu ignored': ('if (hu)', 'if (false)'),
    'b ignored': ('if (b)', 'if (false)'),
    'b of another unit': ('k % units', 'k'),
    'gates stored in another order': ('STORED(g.i), STORED(g.f)', 'STORED(g.f), STORED(g.i)'),
    'f in place of o': ('gates[4 * k + 3]', 'gates[4 * k + 2]'),
    # computes units twice, which shows only where a kernel works in place
    'stride of one block': ('step = gridDim.x * (index_t)blockDim.x', 'step = (index_t)blockDim.x'),
    'stride of two grids': ('step = gridDim.x *', 'step = 2 * gridDim.x *'),
    'no stride': ('k += step', 'k = n'),
    'last unit forgotten': ('k < n;', 'k < n - 1;'),
    'one unit too many': ('k < n;', 'k <= n;'),
    'thread index forgotten': ('+ threadIdx.x', ''),
    'index of 4 bytes': ('typedef long long index_t', 'typedef int index_t'),
    'an argument too many': ('index_t n)', 'index_t n, index_t)'),
}

# mutants that AddressSanitizer or UBSan stops, and what they say
STOPPED = {
    'one unit too many': (*MUTANTS['one unit too many'], 'heap-buffer-overflow'),
    'null pointer': ('if (hu)', 'if (true)', 'null pointer'),
}


@pytest.fixture
def engine(monkeypatch):
    """A ``CupyEngine`` on the CPU; fails the test if something was written outside of an array."""
    need_compiler()
    engine = cuda_on_cpu.engine(monkeypatch)
    yield engine
    engine.xp.check_guards()


@pytest.fixture
def few_threads(monkeypatch):
    """No more threads than some of the units."""
    monkeypatch.setattr(cupy_engine, '_THREADS', 4)
    monkeypatch.setattr(cupy_engine, '_MAX_BLOCKS', 3)


def need_compiler():
    if cuda_on_cpu.missing() is not None:
        pytest.skip(cuda_on_cpu.missing())


def mutate(text, old, new):
    assert old in text, 'the source has changed: mutate what stands there now'
    return text.replace(old, new)


def check_all_calls(engine):
    for call in cases.CALLS:
        cases.check_call(engine, engine.xp, call, 'd')
        engine.xp.check_guards()


@pytest.mark.parametrize('layout', cases.LAYOUTS)
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call(engine, call, dtype, layout):
    cases.check_call(engine, engine.xp, call, dtype, layout)


@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (7, 1), (3, 86)], ids=str)
@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_shapes(engine, call, shape):
    cases.check_call(engine, engine.xp, call, 'f', shape=shape)


@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_more_units_than_threads(engine, few_threads, call):
    cases.check_call(engine, engine.xp, call, 'f')


@pytest.mark.parametrize('method', ['lstm_fwd', 'peephole_out_fwd'])
def test_call_more_units_than_the_largest_grid(engine, method):
    call = next(call for call in cases.CALLS if call.method == method)
    assert cupy_engine._THREADS * cupy_engine._MAX_BLOCKS < 601 * 499
    cases.check_call(engine, engine.xp, call, 'f', shape=(601, 499))


@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_threads_in_another_order(monkeypatch, few_threads, call):
    need_compiler()
    engine = cuda_on_cpu.engine(monkeypatch, backwards=True)
    cases.check_call(engine, engine.xp, call, 'f')


@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_empty_batch(monkeypatch, call):
    monkeypatch.setattr(cuda, 'kernel', None)  # nothing to launch
    engine = cuda_on_cpu.CudaOnCpuEngine()
    cases.check_call(engine, engine.xp, call, 'f', shape=(0, 3))


@pytest.mark.parametrize('layout', ['strided', 'misaligned'])
def test_peephole_out_fwd_gates_of_another(engine, layout):
    call = next(call for call in cases.CALLS if call.method == 'peephole_out_fwd')
    inputs = cases.call_inputs(call, 'd', 5, 13)
    outputs = engine.peephole_out_fwd(*(cases.place(engine.xp, x, layout) for x in inputs))
    cases.assert_close(outputs, kernels.Engine().peephole_out_fwd(*inputs), cases.TOLERANCE['d'])


@pytest.mark.parametrize('none', cases.NO_GRADIENT, ids=str)
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step(engine, case, dtype, none):
    cases.check_step(engine, engine.xp, case, dtype, none)


@pytest.mark.parametrize('layout', cases.LAYOUTS)
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_layout(engine, few_threads, case, layout):
    cases.check_step(engine, engine.xp, case, 'f', layout=layout)


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_empty_batch(engine, case):
    cases.check_step(engine, engine.xp, case, 'f', B=0, I=2, H=3)


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_gradients(engine, case):
    cases.check_step_gradients(engine, engine.xp, case)


def test_wide_dtype():
    engine = cuda_on_cpu.CudaOnCpuEngine()
    for dtypes, wide in (('e', 'e'), ('f', 'f'), ('d', 'd'), ('ef', 'f'), ('fd', 'd')):
        assert engine.wide_dtype(*dtypes) == wide
        assert {
            x.dtype.char for x in engine.wide(*(numpy.zeros(1, dtype) for dtype in dtypes))
        } == {wide}


def test_source_is_whole():
    text = cuda.source('cells.cu')
    assert '#include "' not in text
    for header in ('cells.cuh', 'half.cuh'):
        assert cuda.source(header) in text


@pytest.mark.parametrize('mutant', MUTANTS)
def test_mutant(monkeypatch, few_threads, mutant):
    need_compiler()
    engine = cuda_on_cpu.engine(monkeypatch, edit=lambda text: mutate(text, *MUTANTS[mutant]))
    with pytest.raises((AssertionError, TypeError)) as caught:
        check_all_calls(engine)
    assert 'the source has changed' not in str(caught.value)


def test_kernel_refuses_misaligned_arrays(engine):
    engine._address = lambda x: 0
    with pytest.raises(ValueError, match='not dense and aligned'):
        cases.check_call(engine, engine.xp, cases.CALLS[0], 'f', 'misaligned')


def run_sanitized(folder, *arguments):
    """Runs Python with arguments, kernels sanitized and in a folder -> exit status and output."""
    need_compiler()
    environment = cuda_on_cpu.sanitizer_environment()
    if environment is None:
        pytest.skip('AddressSanitizer does not work here')
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment, 'TMPDIR': str(folder)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def test_sanitized(tmp_path):
    status, output = run_sanitized(
        tmp_path,
        '-m',
        'pytest',
        '-q',
        '--noconftest',
        '-p',
        'no:cacheprovider',
        '-k',
        'misaligned or shapes or more_units_than_threads',
        pathlib.Path(__file__),
    )
    assert status == 0, output
    assert ' passed' in output


@pytest.mark.parametrize('mutant', STOPPED)
def test_sanitizer_stops_mutant(tmp_path, mutant):
    old, new, message = STOPPED[mutant]
    script = f"""if True:
        import pytest
        from tests.kernels import cuda_on_cpu
        from tests.kernels import test_cuda_source as tests
        edit = lambda text: tests.mutate(text, {old!r}, {new!r})
        tests.check_all_calls(cuda_on_cpu.engine(pytest.MonkeyPatch(), edit))
    """
    status, output = run_sanitized(tmp_path, '-c', script)
    assert status != 0
    assert message in output

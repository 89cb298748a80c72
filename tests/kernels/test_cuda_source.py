"""The CUDA source and the whole of ``CupyEngine``, run on the CPU."""

import pathlib
import subprocess
import sys

import numpy
import pytest

from chainer_lstm import cells
from chainer_lstm.cells import is_compiled
from chainer_lstm.kernels import cuda
from chainer_lstm.kernels.engines import cupy
from tests.cells import CELLS
from tests.kernels import cases, cuda_on_cpu

pytestmark = pytest.mark.pairwise

ROOT = pathlib.Path(__file__).parents[2]

COMPILED = [call for call in cases.CALLS if is_compiled(CELLS[call.cell])]

# name -> (what stands in the source, what is put there)
MUTANTS = {
    'i and f swapped': ('= g[a] * g[i] + g[f] * before[c]', '= g[a] * g[f] + g[i] * before[c]'),
    'f without its peephole': ('{P_f, c, f}', '{P_f, c, i}'),
    'h without tanh': ('g[o] * tanh(state[c])', 'g[o] * state[c]'),
    'sigmoid of 2x': ('tanh(x * R(0.5))', 'tanh(x)'),
    'grad_sigmoid without 1 - y': ('return y * (R(1) - y)', 'return y'),
    'grad_tanh without square': ('return R(1) - y * y', 'return R(1) - y'),
    'gc_prev by i': ('gradients[c] = gc * g[f]', 'gradients[c] = gc * g[i]'),
    'gf without c_prev': ('gc * before[c] * grad_sigmoid', 'gc * grad_sigmoid'),
    'gc forgotten': ('gradients[c] += ', 'gradients[c] = '),
    'gradient not given is 1': (': REAL(0)', ': REAL(1)'),
    'states swapped': ('= STORED(states[s])', '= STORED(states[S - 1 - s])'),
    'states loaded from one array': ('REAL(arrays[s][k])', 'REAL(arrays[0][k])'),
    'hu ignored': ('if (x.hu)', 'if (false)'),
    'b ignored': ('if (x.b)', 'if (false)'),
    'b of another unit': ('k % x.units', 'k'),
    'products of single gates ignored': ('product.gate != all_gates', 'false'),
    'gates stored in another order': ('v.of[i] = STORED(g[i])', 'v.of[G - 1 - i] = STORED(g[i])'),
    'gates of other stages overwritten': ('if (has(SET, i))', ''),
    'f in place of o': ('owns = set_of(o)', 'owns = set_of(f)'),
    'o before activation lost': (
        'store_gates<FIRST ? ALL : Stage::owns>',
        'store_gates<Stage::owns>',
    ),
    'needed state ignored': ('load(now, x.now, k)', 'load(now, x.before, k)'),
    # computes units twice, which shows only where a kernel works in place
    'stride of one block': ('k += gridDim.x * (index_t)blockDim.x', 'k += (index_t)blockDim.x'),
    'stride of two grids': ('k += gridDim.x *', 'k += 2 * gridDim.x *'),
    'no stride': ('k += gridDim.x * (index_t)blockDim.x', 'k = n'),
    'last unit forgotten': ('k < n;', 'k < n - 1;'),
    'one unit too many': ('k < n;', 'k <= n;'),
    'thread index forgotten': ('+ threadIdx.x', ''),
    'index of 4 bytes': ('typedef long long index_t', 'typedef int index_t'),
    'an argument too many': ('batch, units;', 'batch, units, more;'),
}

# mutants that AddressSanitizer or UBSan stops, and what they say
STOPPED = {
    'one unit too many': (*MUTANTS['one unit too many'], 'heap-buffer-overflow'),
    'null pointer': ('if (x.hu) ', '', 'null pointer'),
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
    monkeypatch.setattr(cupy, '_THREADS', 4)
    monkeypatch.setattr(cupy, '_MAX_BLOCKS', 3)


def need_compiler():
    if cuda_on_cpu.missing() is not None:
        pytest.skip(cuda_on_cpu.missing())


def check_mutant(monkeypatch, old, new):
    """Run all calls on an edited source."""
    texts = []

    def edit(text):
        texts.append(old in text)
        return text.replace(old, new)

    engine = cuda_on_cpu.engine(monkeypatch, edit)
    try:
        for call in COMPILED:
            cases.check_call(engine, engine.xp, call, 'd')
            engine.xp.check_guards()
    finally:
        assert any(texts), 'the source has changed: mutate what stands there now'


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


@pytest.mark.parametrize('index', [0, 1])
def test_call_more_units_than_the_largest_grid(engine, index):
    call = cases.Call('stage_forward', 'peephole', index, ())
    assert cupy._THREADS * cupy._MAX_BLOCKS < 601 * 499
    cases.check_call(engine, engine.xp, call, 'f', shape=(601, 499))


@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_threads_in_another_order(monkeypatch, few_threads, call):
    need_compiler()
    engine = cuda_on_cpu.engine(monkeypatch, backwards=True)
    cases.check_call(engine, engine.xp, call, 'f')


@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_empty_batch(monkeypatch, call):
    monkeypatch.setattr(cuda, 'stage_kernel', None)  # nothing to launch
    engine = cuda_on_cpu.CudaOnCpuEngine()
    cases.check_call(engine, engine.xp, call, 'f', shape=(0, 3))


def test_call_refuses_to_write_into_misaligned_gates(engine):
    call = cases.Call('stage_backward', 'lstm', 0, ())
    inputs = cases.call_inputs(call, 'f', 5, 13)
    gpre = cases.place(engine.xp, inputs['gpre'], 'misaligned')
    cell, gates = CELLS['lstm'], inputs['gates']
    state = cell.State(inputs['c'], inputs['h'])
    with pytest.raises(ValueError, match='expected gpre, .* to lie at a multiple of 16 bytes'):
        engine.stage_backward(cell, call.stage, gates, state, state, state, {}, gpre)


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


def test_source_is_whole():
    text, _ = cuda.stage('peephole_forward_0', 'f')
    assert '#include "' not in text
    for file in ('cell.cuh', 'lstm.cuh', 'peephole.cuh'):
        assert cuda.source(f'../../cells/{file}') in text
    assert cuda.source('half.cuh') in text


def test_source_is_ascii():
    """CuPy writes it into files in the encoding of the locale."""
    for name in ('persistent_fwd.cu', 'persistent_bwd.cu'):
        assert cuda.source(name).isascii(), name
    for cell in cells.COMPILED:
        assert cuda.stage(f'{cell}_forward_0', 'f')[0].isascii(), cell


@pytest.mark.parametrize('mutant', MUTANTS)
def test_mutant(monkeypatch, few_threads, mutant):
    need_compiler()
    with pytest.raises((AssertionError, TypeError)) as caught:
        check_mutant(monkeypatch, *MUTANTS[mutant])
    assert 'the source has changed' not in str(caught.value)


def test_kernel_refuses_misaligned_arrays(engine):
    words = numpy.array([0, 0, 0, 4, *[0] * 9]).view('V104')
    with pytest.raises(ValueError, match='xw is not aligned'):
        cuda.stage_kernel('lstm_forward_0', 'f')((1,), (1,), (words,))


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


@pytest.mark.slow
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
        from tests.kernels import test_cuda_source as tests
        tests.check_mutant(pytest.MonkeyPatch(), {old!r}, {new!r})
    """
    status, output = run_sanitized(tmp_path, '-c', script)
    assert status != 0
    assert message in output

"""The library of the C++ engine: what is in it, and life without it."""

import pathlib
import re
import shutil
import subprocess

import numpy
import pytest

from chainer_lstm import kernels
from chainer_lstm.kernels import native
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from tests.kernels import cases
from tests.support.interpreter import answer

pytestmark = pytest.mark.pairwise


def test_no_function_of_the_c_library_is_called_for_each_number():
    cases.native_engine('baseline')
    names = native.library_file().read_bytes()
    assert b'memcpy' in names  # the names are there to be read
    assert not any(
        function in names for function in (b'tanhf', b'expf', b'expm1', b'tanh\0', b'exp\0')
    )


@pytest.mark.slow
def test_every_header_compiles_alone():
    if shutil.which('g++') is None:
        pytest.skip('there is no g++')
    for header in pathlib.Path(native.__file__).parent.glob('*.hpp'):
        subprocess.run(
            ['g++', '-std=c++17', '-fsyntax-only', '-Wno-psabi', '-x', 'c++', '-'],
            input=f'#include "{header}"\n',
            text=True,
            check=True,
        )


def test_threadpoolctl_limits_the_threads():
    threadpoolctl = pytest.importorskip('threadpoolctl')
    cases.native_engine('baseline')
    library = native.library()
    before = library.chainer_lstm_get_num_threads()
    assert any(pool['user_api'] == 'chainer_lstm' for pool in threadpoolctl.threadpool_info())
    with threadpoolctl.threadpool_limits(1):
        assert library.chainer_lstm_get_num_threads() == 1
    assert library.chainer_lstm_get_num_threads() == before


def test_the_best_instruction_set_is_chosen():
    cases.native_engine('baseline')
    assert kernels.engine_of(numpy.ones(1)).instruction_set == native.instruction_sets()[0]
    assert native.instruction_sets()[-1] == 'baseline'


WITHOUT = """
from chainer_lstm.kernels import native
native.library_file = lambda: {file}
import numpy
from chainer_lstm import kernels
print(type(kernels.engine_of(numpy.ones(1))).__name__, native.instruction_sets())
try:
    kernels.engine_of(numpy.ones(1), 'native')
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ('file', 'reason'),
    [
        ('None', 'not built: '),
        (
            '__import__("pathlib").Path(__import__("chainer_lstm").__file__)',
            'not loaded: .*invalid ELF header',
        ),
    ],
    ids=['not built', 'cannot be loaded'],
)
def test_without_the_library_numpy_computes(file, reason):
    first, second = answer(WITHOUT.format(file=file)).splitlines()
    assert first == 'NumpyEngine []'
    assert re.search(f"got 'native': it was {reason}", second)


def test_dtypes_that_it_cannot_compute_are_left_to_numpy():
    assert type(kernels.engine_of(numpy.ones(1, numpy.longdouble))) is NumpyEngine
    if native.library() is not None:
        with pytest.raises(ValueError, match='it computes float16, float32 and float64'):
            kernels.engine_of(numpy.ones(1, numpy.longdouble), 'native')

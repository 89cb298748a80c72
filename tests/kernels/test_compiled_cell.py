"""A cell that the package has never heard of, compiled: a ``.cuh`` and a line in the registry."""

import pathlib
import shutil
import subprocess
import sysconfig

import pytest

import chainer_lstm
from tests.support.interpreter import answer

PACKAGE = pathlib.Path(chainer_lstm.__file__).parent
LINES = 'CELL(lstm, LstmCell)'  # of the registry

PROGRAM = """
from chainer_lstm import cells
from tests.cells.coupled import Coupled

cell = cells.CELLS['coupled'] = cells.COMPILED['coupled'] = Coupled()

import numpy
from chainer_lstm.kernels.engines.engine import Shape
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from tests.kernels import cases
from tests.kernels.native_cases import LENGTHS, MANY, recurrence

cases.CELLS['coupled'] = cell
engine = cases.native_engine('baseline')
assert engine.supports(cell, 'f', Shape(4, 2, 3, 1), 'forward')
for dtype in 'fd':
    for call in cases.CALLS:
        if call.cell == 'coupled':
            cases.check_call(engine, numpy, call, dtype, shape=(5, 13))
    for case in cases.STEPS:
        if case.cell == 'coupled':
            cases.check_step(engine, numpy, case, dtype, B=21, I=37, H=50)
            cases.check_step(engine, numpy, case, dtype, B=40, I=3, H=9)
    tolerance = {'f': 2e-5, 'd': 1e-13}[dtype]
    for batches in (*LENGTHS.values(), *MANY.values()):
        expected = recurrence(NumpyEngine(), batches, False, cell, 'd')
        found = recurrence(engine, batches, False, cell, dtype)
        cases.assert_close(found, expected, (tolerance, tolerance))
print('as NumPy')
"""


def build(folder):
    """Return a library of the package's source with one more cell, of the baseline alone."""
    for name in ('cells', 'kernels/native'):
        shutil.copytree(PACKAGE / name, folder / name, ignore=shutil.ignore_patterns('*.so'))
    shutil.copy(pathlib.Path(__file__).with_name('coupled.cuh'), folder / 'cells')
    native = folder / 'kernels' / 'native'
    registry, source = native / 'registry.hpp', native / 'native.cpp'
    text = registry.read_text()
    assert LINES in text
    text = text.replace(LINES, f'{LINES} CELL(coupled, CoupledCell)')
    registry.write_text('#include "../../cells/coupled.cuh"\n' + text)
    source.write_text(source.read_text().replace('#if defined(__x86_64__)', '#if 0'))
    files = [native / f'{name}.cpp' for name in ('baseline', 'module', 'native', 'thread_pool')]
    library = folder / '_native.so'
    python = f'-I{sysconfig.get_path("include")}'
    options = ('-std=c++17', '-O1', '-Wno-psabi', '-fPIC', '-shared', '-pthread', python)
    subprocess.run(['g++', *options, *files, '-o', library], check=True)
    return library


@pytest.mark.slow
def test_another_cell(tmp_path):
    if shutil.which('g++') is None:
        pytest.skip('there is no g++')
    library = build(tmp_path)
    assert answer(PROGRAM, CHAINER_LSTM_NATIVE=str(library)) == 'as NumPy'

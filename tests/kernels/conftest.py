"""The C++ engine and its threads; files that test another engine have a fixture of that name."""

import pytest

from chainer_lstm.kernels import native
from tests.kernels import cases
from tests.kernels.native_cases import INSTRUCTION_SETS


@pytest.fixture(params=INSTRUCTION_SETS)
def engine(request):
    return cases.native_engine(request.param)


@pytest.fixture
def threads():
    """Sets the number of threads of every job of one test, whatever the job is worth."""
    library = native.library()
    yield library.chainer_lstm_force_threads
    library.chainer_lstm_force_threads(0)

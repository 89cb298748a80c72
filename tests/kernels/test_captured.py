"""Numbers that replays of a CUDA graph read anew; NumPy is in CuPy's place."""

import threading

import numpy
import pytest

from chainer_lstm.kernels import captured


class Addressed(numpy.ndarray):
    """An array whose address is where CuPy has it."""

    @property
    def data(self):
        return type('Pointer', (), {'ptr': self.ctypes.data})


@pytest.fixture
def inputs():
    found = captured.Inputs(numpy)
    found.numbers = found.numbers.view(Addressed)
    return found


def test_numbers_are_computed_anew_for_each_replay(inputs):
    rates = {'lr': 1.0}
    first = inputs.address(lambda: rates['lr'])
    second = inputs.address(lambda: -rates['lr'])
    assert (first, second) == (inputs.numbers.data.ptr, inputs.numbers.data.ptr + 8)
    for rate in 0.5, 0.25:
        rates['lr'] = rate
        inputs.send()
        assert inputs.numbers[:3].tolist() == [rate, -rate, 0]


def test_a_graph_has_room_for_256_numbers(inputs):
    for _ in range(256):
        inputs.address(float)
    with pytest.raises(RuntimeError, match='at most 256'):
        inputs.address(float)


def test_inputs_are_those_of_a_thread_while_it_captures(inputs):
    seen = []
    captured.keep('nothing')
    with captured.capturing(inputs):
        captured.keep('table')
        thread = threading.Thread(target=lambda: seen.append(captured.current()))
        thread.start()
        thread.join()
        seen.append(captured.current())
    assert seen == [None, inputs] and captured.current() is None
    assert inputs.kept == ['table']

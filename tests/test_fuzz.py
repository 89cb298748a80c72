"""The fuzzer finds what is broken on purpose, and says how it fails again."""

import importlib
import pathlib
import random
import subprocess
import sys

import chainer
import numpy
import pytest

from chainer_lstm.functions import node
from chainer_lstm.functions.composed import Rearranging
from chainer_lstm.functions.sequence_node import SequenceNode
from chainer_lstm.functions.step import StepNode
from chainer_lstm.kernels import packing, products
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from chainer_lstm.kernels.packing import Packing
from tests.fuzz.__main__ import main
from tests.fuzz.case import Case
from tests.fuzz.compare import check
from tests.fuzz.gradients import Mismatch

ROOT = pathlib.Path(__file__).parents[1]
lstm = importlib.import_module('chainer_lstm.cells.lstm')  # the name in ``cells`` is the cell's
new_cell, last, linear = lstm.new_cell, packing.Rows.last, NumpyEngine.linear
parts_of, column_sums = products.parts_of, NumpyEngine.column_sums
backward, output_gradients = StepNode.backward, SequenceNode._output_gradients
stage_backward = NumpyEngine.stage_backward


def forget_gate_of_the_wrong_sign(monkeypatch):
    def wrong(xp, gates, c_prev):
        return new_cell(xp, gates._replace(f=-gates.f), c_prev)

    monkeypatch.setattr(lstm, 'new_cell', wrong)


def bias_gradient_off_by_a_thousandth(monkeypatch):
    monkeypatch.setattr(NumpyEngine, 'column_sums', lambda self, x: column_sums(self, x) * 1.001)


def ragged_state_of_the_longest_sequence(monkeypatch):
    def wrong(self, xp, buffer):
        states = last(self, xp, buffer)
        return states if self.equal or not self.batch else states[[0] * self.batch]

    monkeypatch.setattr(packing.Rows, 'last', wrong)


def second_gradients_that_count_twice(monkeypatch):
    monkeypatch.setattr(node, 'distinct_copies', lambda variables: variables)


def backward_that_overwrites_what_it_is_given(monkeypatch):
    def wrong(self, xp, saved, grad_outputs, *more):
        found, *others = output_gradients(self, xp, saved, grad_outputs, *more)
        for k, g in enumerate(grad_outputs[: len(found)]):
            if g is not None and g.dtype == found[k].dtype and g.flags.writeable:
                found[k] = g.reshape(found[k].shape)
        return found, *others

    monkeypatch.setattr(SequenceNode, '_output_gradients', wrong)


def bias_of_a_product_left_out(monkeypatch):
    def wrong(e, stage, state, weights, *more):
        biases = {product.bias for product in stage.products}
        zeros = {name: w * (name not in biases) for name, w in weights.items()}
        return parts_of(e, stage, state, zeros, *more)

    monkeypatch.setattr(products, 'parts_of', wrong)


def gradients_of_states_lost_but_for_products(monkeypatch):
    def wrong(*args):
        found = stage_backward(*args)
        for gradient in found:
            if gradient is not None:
                gradient[...] = 0
        return found

    monkeypatch.setattr(NumpyEngine, 'stage_backward', wrong)


def masked_outputs_of_zeros(monkeypatch):
    def wrong(self, xp, y, buffers):
        return y if self.rows is None else self.pack_gradient(xp, y)

    monkeypatch.setattr(packing.Packing, 'unpack', wrong)


def states_left_in_the_order_of_the_hook(monkeypatch):
    end = Packing.end

    def wrong(self, xp, state, directions):
        return state if isinstance(xp, Rearranging) else end(self, xp, state, directions)

    monkeypatch.setattr(Packing, 'end', wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('broken', 'surface'),
    [
        (forget_gate_of_the_wrong_sign, 'lstm_sequence'),
        (bias_gradient_off_by_a_thousandth, 'LSTM'),
        (bias_gradient_off_by_a_thousandth, 'step'),
        (bias_gradient_off_by_a_thousandth, 'sequence'),
        (ragged_state_of_the_longest_sequence, 'NStepLSTM'),
        (ragged_state_of_the_longest_sequence, 'sequence'),
        (second_gradients_that_count_twice, 'SequenceLSTM'),
        (second_gradients_that_count_twice, 'step'),
        (backward_that_overwrites_what_it_is_given, 'n_step_lstm'),
        (bias_of_a_product_left_out, 'step'),
        (bias_of_a_product_left_out, 'sequence'),
        (bias_of_a_product_left_out, 'SequenceLSTM'),
        (gradients_of_states_lost_but_for_products, 'step'),
        (gradients_of_states_lost_but_for_products, 'sequence'),
        (gradients_of_states_lost_but_for_products, 'SequenceLSTM'),
        (masked_outputs_of_zeros, 'SequenceLSTM'),
        (states_left_in_the_order_of_the_hook, 'NStepLSTM'),
    ],
)
def test_finds_what_is_broken_and_how_it_fails_again(broken, surface, monkeypatch, capsys):
    with monkeypatch.context() as patches:
        broken(patches)
        assert main(['--seed', '0', '--engine', 'numpy', '--only', surface]) == 1
        reproducer = capsys.readouterr().out.split('\n\n')[1]
        assert reproducer.count('\n') == 3
        with pytest.raises(Mismatch):
            exec(reproducer)
    exec(reproducer)


def of_other_gradients(change):
    """The backward of a step that is given other gradients than by the caller."""

    def wrong(self, indexes, grad_outputs):
        c_prev, x = self.inputs[:2]
        shapes = (c_prev.shape, (*x.shape[:1], *c_prev.shape[1:]))
        given = []
        for g, shape in zip(grad_outputs, shapes):
            array = None if g is None else change(g.array, shape, x.dtype)
            given.append(g if g is None or array is g.array else chainer.Variable(array))
        return backward(self, indexes, tuple(given))

    return wrong


def gradients_that_reach_the_first_row_alone(monkeypatch):
    def change(g, shape, dtype):
        if g.shape == shape:
            return g
        padded = numpy.zeros(shape, g.dtype)
        padded[:1] = g
        return padded

    monkeypatch.setattr(StepNode, 'backward', of_other_gradients(change))


def gradients_with_more_rows_that_are_cut(monkeypatch):
    def change(g, shape, dtype):
        return g[: shape[0]] if g.ndim == 2 and len(g) > shape[0] else g

    monkeypatch.setattr(StepNode, 'backward', of_other_gradients(change))


def small_gradients_that_are_lost(monkeypatch):
    def change(g, shape, dtype):
        return numpy.where(abs(g) < 1e-20, g.dtype.type(0), g)

    monkeypatch.setattr(StepNode, 'backward', of_other_gradients(change))


def gradients_of_another_dtype_that_are_truncated(monkeypatch):
    def change(g, shape, dtype):
        return g if g.dtype == dtype else g.round(1)

    monkeypatch.setattr(StepNode, 'backward', of_other_gradients(change))


def gradients_that_count_once_if_they_are_one(monkeypatch):
    def wrong(self, indexes, grad_outputs):
        gc, gh = grad_outputs
        return backward(self, indexes, (gc, None if gh is gc else gh))

    monkeypatch.setattr(StepNode, 'backward', wrong)


def products_of_the_columns_that_both_have(monkeypatch):
    def wrong(self, x, W, b=None):
        width = min(x.shape[1], W.shape[1])
        return linear(self, x[:, :width], W[:, :width], b)

    monkeypatch.setattr(NumpyEngine, 'linear', wrong)


def zeros_instead_of_an_error(monkeypatch):
    def wrong(self, indexes, grad_outputs):
        try:
            return backward(self, indexes, grad_outputs)
        except ValueError:
            inputs = [self.inputs[i] for i in indexes]
            return tuple(chainer.Variable(numpy.zeros(x.shape, x.dtype)) for x in inputs)

    monkeypatch.setattr(StepNode, 'backward', wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('broken', 'use', 'surface'),
    [
        (gradients_that_reach_the_first_row_alone, 'gradient shape', 'lstm_step'),
        (gradients_with_more_rows_that_are_cut, 'gradient shape', 'StatelessLSTM'),
        (gradients_of_another_dtype_that_are_truncated, 'gradient dtype', 'LSTM'),
        (gradients_that_count_once_if_they_are_one, 'shared gradient', 'lstm_step'),
        (small_gradients_that_are_lost, 'tiny gradients', 'LSTM'),
        (products_of_the_columns_that_both_have, 'array shape', 'StatelessLSTM'),
        (zeros_instead_of_an_error, 'replaced array', 'LSTM'),
    ],
)
def test_finds_what_is_broken_for_unusual_uses(broken, use, surface, monkeypatch, capsys):
    with monkeypatch.context() as patches:
        broken(patches)
        assert main(['--seed', '0', '--engine', 'numpy', '--only', surface, '--unusual', use]) == 1
        reproducer = capsys.readouterr().out.split('\n\n')[1]
        assert f'unusual={use!r}' in reproducer
        with pytest.raises(Mismatch):
            exec(reproducer)
    exec(reproducer)


@pytest.mark.slow
@pytest.mark.parametrize('use', ['output twice', 'gradients of None'])
def test_unusual_uses_that_are_sound_agree(use):
    assert main(['--seed', '1', '--seconds', '1', '--engine', 'numpy', '--unusual', use]) == 0


KILLS = """
import importlib, os, signal, sys
lstm = importlib.import_module('chainer_lstm.cells.lstm')

def kill(xp, gates, c_prev):
    if gates.f.shape[1] > 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return new_cell(xp, gates, c_prev)

new_cell, lstm.new_cell = lstm.new_cell, kill
from tests.fuzz.__main__ import main
from tests.fuzz.crash import watch
sys.exit(watch(lambda notes: main(sys.argv[1:], notes)))
"""


@pytest.mark.slow
def test_a_case_that_kills_the_process_is_reported():
    args = ['--seed', '0', '--engine', 'numpy', '--only', 'lstm_sequence']
    done = subprocess.run(
        [sys.executable, '-c', KILLS, *args], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    reproducer = done.stdout.split('\n\n')[1]
    assert reproducer == (
        "from tests.fuzz import run\n# killed by SIGSEGV\nrun('lstm_sequence', units=4)\n"
    )
    assert 'Fatal Python error: Segmentation fault' in done.stderr
    exec(reproducer)


@pytest.mark.parametrize(
    ('status', 'code'), [(0, 'return 0'), (3, 'return 3'), (2, 'sys.exit(2)'), (1, '1 / 0')]
)
def test_the_exit_status_of_a_child_process(status, code):
    script = (
        f'import sys\nfrom tests.fuzz.crash import watch\ndef run(notes):\n    {code}\n'
        'sys.exit(watch(run))'
    )
    done = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True)
    assert done.returncode == status


@pytest.mark.slow
def test_what_is_sound_agrees(capsys):
    assert main(['--seed', '1', '--seconds', '2']) == 0
    out, progress = capsys.readouterr()
    assert out.startswith('seed 1\n') and 'cases of seed 1 agree' in out
    assert 'NStepBiLSTM' in out
    assert 'a second' in progress


def test_one_seed_draws_the_same_cases():
    choices = []
    for _ in range(2):
        cases = [Case({}, random.Random(f'5 {number}')) for number in range(10)]
        for case in cases:
            check('LSTM', case)
        choices.append([case.choices for case in cases])
    assert choices[0] == choices[1]


@pytest.mark.parametrize(
    'args',
    [
        ['--seconds', '0'],
        ['--seconds', 'nan'],
        ['--seed', 'x'],
        ['--only', 'GRU'],
        ['--engine', 'fast'],
        ['--unusual', 'x'],
        ['--what'],
    ],
)
def test_bad_arguments(args, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(args)
    assert capsys.readouterr().err.count('error:') == 1

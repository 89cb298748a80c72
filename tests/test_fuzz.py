"""The fuzzer finds what is broken on purpose, and says how it fails again."""

import pathlib
import random
import subprocess
import sys

import chainer
import numpy
import pytest

from chainer_lstm.functions import node, sequence
from chainer_lstm.kernels import engine, packing, steps
from tests.fuzz.__main__ import main
from tests.fuzz.case import Case
from tests.fuzz.compare import check
from tests.fuzz.gradients import Mismatch

ROOT = pathlib.Path(__file__).parents[1]
new_cell, last, bias = engine._new_cell_, packing.Rows.last, steps.LSTM_STEP.weights['b']


def forget_gate_of_the_wrong_sign(monkeypatch):
    monkeypatch.setattr(engine, '_new_cell_', lambda a, i, f, *others: new_cell(a, i, -f, *others))


def bias_gradient_off_by_a_thousandth(monkeypatch):
    monkeypatch.setitem(steps.LSTM_STEP.weights, 'b', lambda e, rows: bias(e, rows) * 1.001)


def ragged_state_of_the_longest_sequence(monkeypatch):
    def wrong(self, xp, buffer):
        states = last(self, xp, buffer)
        return states if self.equal or not self.batch else states[[0] * self.batch]

    monkeypatch.setattr(packing.Rows, 'last', wrong)


def second_gradients_that_count_twice(monkeypatch):
    monkeypatch.setattr(sequence, 'own', lambda variables: variables)


def backward_that_overwrites_what_it_is_given(monkeypatch):
    monkeypatch.setattr(
        sequence,
        '_or_zeros',
        lambda xp, gradient, shape, dtype: (
            xp.zeros(shape, dtype) if gradient is None else gradient.astype(dtype, copy=False)
        ),
    )


@pytest.mark.parametrize(
    ('broken', 'surface'),
    [
        (forget_gate_of_the_wrong_sign, 'lstm_sequence'),
        (bias_gradient_off_by_a_thousandth, 'LSTM'),
        (ragged_state_of_the_longest_sequence, 'NStepLSTM'),
        (second_gradients_that_count_twice, 'SequenceLSTM'),
        (backward_that_overwrites_what_it_is_given, 'n_step_lstm'),
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


backward, linear = node.StepNode.backward, engine.Engine.linear


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

    monkeypatch.setattr(node.StepNode, 'backward', of_other_gradients(change))


def gradients_with_more_rows_that_are_cut(monkeypatch):
    def change(g, shape, dtype):
        return g[: shape[0]] if g.ndim == 2 and len(g) > shape[0] else g

    monkeypatch.setattr(node.StepNode, 'backward', of_other_gradients(change))


def small_gradients_that_are_lost(monkeypatch):
    def change(g, shape, dtype):
        return numpy.where(abs(g) < 1e-20, g.dtype.type(0), g)

    monkeypatch.setattr(node.StepNode, 'backward', of_other_gradients(change))


def gradients_of_another_dtype_that_are_truncated(monkeypatch):
    def change(g, shape, dtype):
        return g if g.dtype == dtype else g.round(1)

    monkeypatch.setattr(node.StepNode, 'backward', of_other_gradients(change))


def gradients_that_count_once_if_they_are_one(monkeypatch):
    def wrong(self, indexes, grad_outputs):
        gc, gh = grad_outputs
        return backward(self, indexes, (gc, None if gh is gc else gh))

    monkeypatch.setattr(node.StepNode, 'backward', wrong)


def products_of_the_columns_that_both_have(monkeypatch):
    def wrong(self, x, W):
        width = 0 if x is None else min(x.shape[1], W.shape[1])
        return None if x is None else linear(self, x[:, :width], W[:, :width])

    monkeypatch.setattr(engine.Engine, 'linear', wrong)


def zeros_instead_of_an_error(monkeypatch):
    def wrong(self, indexes, grad_outputs):
        try:
            return backward(self, indexes, grad_outputs)
        except ValueError:
            inputs = [self.inputs[i] for i in indexes]
            return tuple(chainer.Variable(numpy.zeros(x.shape, x.dtype)) for x in inputs)

    monkeypatch.setattr(node.StepNode, 'backward', wrong)


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


@pytest.mark.parametrize('use', ['output twice', 'gradients of None'])
def test_unusual_uses_that_are_sound_agree(use):
    assert main(['--seed', '1', '--seconds', '1', '--engine', 'numpy', '--unusual', use]) == 0


KILLS = """
import os, signal, sys
from chainer_lstm.kernels import engine

def kill(a, *others):
    if a.shape[1] > 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    new_cell(a, *others)

new_cell, engine._new_cell_ = engine._new_cell_, kill
from tests.fuzz.__main__ import main
from tests.fuzz.crash import watch
sys.exit(watch(lambda notes: main(sys.argv[1:], notes)))
"""


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

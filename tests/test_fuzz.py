"""The fuzzer finds what is broken on purpose, and says how it fails again."""
import random

import pytest

from chainer_lstm.functions import sequence
from chainer_lstm.kernels import engine
from chainer_lstm.kernels import packing
from chainer_lstm.kernels import steps
from tests.fuzz.__main__ import main
from tests.fuzz.case import Case
from tests.fuzz.compare import check
from tests.fuzz.gradients import Mismatch

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
    monkeypatch.setattr(sequence, '_or_zeros', lambda xp, gradient, shape, dtype:
                        xp.zeros(shape, dtype) if gradient is None else gradient.astype(dtype, copy=False))


@pytest.mark.parametrize(('broken', 'surface'), [
    (forget_gate_of_the_wrong_sign, 'lstm_sequence'),
    (bias_gradient_off_by_a_thousandth, 'LSTM'),
    (ragged_state_of_the_longest_sequence, 'NStepLSTM'),
    (second_gradients_that_count_twice, 'SequenceLSTM'),
    (backward_that_overwrites_what_it_is_given, 'n_step_lstm'),
])
def test_finds_what_is_broken_and_how_it_fails_again(broken, surface, monkeypatch, capsys):
    with monkeypatch.context() as patches:
        broken(patches)
        assert main(['--seed', '0', '--engine', 'numpy', '--only', surface]) == 1
        reproducer = capsys.readouterr().out.split('\n\n')[1]
        assert reproducer.count('\n') == 3
        with pytest.raises(Mismatch):
            exec(reproducer)
    exec(reproducer)


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


@pytest.mark.parametrize('args', [['--seconds', '0'], ['--seconds', 'nan'], ['--seed', 'x'], ['--only', 'GRU'],
                                  ['--engine', 'fast'], ['--what']])
def test_bad_arguments(args, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(args)
    assert capsys.readouterr().err.count('error:') == 1

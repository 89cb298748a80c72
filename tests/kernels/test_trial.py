"""The choice by measuring, with NumPy engines in place of a GPU's and a clock that is made up."""

import collections
import contextlib
import dataclasses
import json
import os
import threading

import numpy
import pytest

from chainer_lstm.kernels import cuda
from chainer_lstm.kernels.engines import auto
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from chainer_lstm.kernels.engines.trial import Backward, Forward, Trials, key_of
from chainer_lstm.kernels.engines.verdicts import VerdictFile, cache_folder
from tests.kernels import cases, cuda_on_cpu, fibres, persistent_cases
from tests.kernels.persistent_cases import Case

IDENTITY = {'device': 'a test', 'source': '1'}
CASE = Case(5, (3, 3, 1), directions=(False, True))


class Fake(NumpyEngine):
    """Computes as NumPy does, with an error relative to each number."""

    def __init__(self, cost, error=0.0, raises=None, supported=True):
        self.cost, self.error, self.raises, self.supported = cost, error, raises, supported
        self.calls = 0
        self.late = False

    def supports(self, cell, dtype, shape, direction):
        return self.supported

    def timed_out(self):
        found, self.late = self.late, False
        return found

    def sequence_forward(self, layers, keep):
        self._begin()
        gates = super().sequence_forward(layers, keep)
        states = [layer.rows.inner(state) for layer in layers for state in layer.states]
        for x in (*gates, *states):
            x *= 1 + self.error
        return gates

    def sequence_backward(self, layers, gates, gradients):
        self._begin()
        found = super().sequence_backward(layers, gates, gradients)
        for x in (*gates, *(x for state in found for x in state)):
            x *= 1 + self.error
        return found

    def _begin(self):
        self.calls += 1
        if self.raises is not None:
            raise self.raises


class Device:
    def __init__(self, recording=False, broken=None):
        self.recording, self.broken = recording, broken

    def capturing(self):
        return self.recording

    def synchronize(self):
        if self.broken is not None and self.broken.calls:
            raise RuntimeError('an illegal memory access')

    def seconds(self, call):
        call()
        return call.args[0].cost * 1e-3


def answer():
    return Fake(2.0)


def job(direction='forward', case=CASE, edit=None):
    """-> a job of new arrays"""
    inputs = persistent_cases.make(case)
    if edit is not None:
        edit(inputs[0])
    layers, gradients = persistent_cases.jobs(numpy, case, inputs)
    if direction == 'forward':
        return Forward(layers, True)
    gates = NumpyEngine().sequence_forward(layers, True)
    return Backward(layers, gates, gradients)


def run(trials, engines, given=None, precision='highest'):
    """-> the arrays of results, and how often each engine was called"""
    given = job() if given is None else given
    before = [engine.calls for engine in engines]
    found = given.results(trials.run(key_of(given, precision), given, *engines))
    return found, tuple([engine.calls - n for engine, n in zip(engines, before)])


def expected(given):
    return given.results(given.run(NumpyEngine()))


def trials_in(folder, device=None, **identity):
    return Trials(device or Device(), VerdictFile({**IDENTITY, **identity}, folder))


TRIED, CANDIDATE, ANSWER = (4, 4), (0, 1), (1, 0)  # calls: a run of each, and three that are timed
CHECKED = (1, 1)


@pytest.mark.parametrize('direction', ['forward', 'backward'])
@pytest.mark.parametrize(
    ('cost', 'kind', 'then'), [(1.0, 'faster', CANDIDATE), (3.0, 'slower', ANSWER)]
)
def test_time_decides(tmp_path, direction, cost, kind, then):
    trials, engines = trials_in(tmp_path), (answer(), Fake(cost, error=1e-6))
    for calls in (TRIED, then, then):
        given = job(direction)
        found, seen = run(trials, engines, given)
        numpy.testing.assert_allclose(
            numpy.concatenate([x.ravel() for x in found]),
            numpy.concatenate([x.ravel() for x in expected(job(direction))]),
            rtol=0 if calls != CANDIDATE else 1e-5,
        )
        assert seen == calls
    assert run(trials_in(tmp_path), engines, job(direction))[1] == (
        CHECKED if kind == 'faster' else ANSWER
    )
    (verdict,) = trials.verdicts.values()
    assert verdict.kind == kind
    assert verdict.why.startswith(f'{2 / cost:.2f} times as fast')


@pytest.mark.parametrize(
    ('precision', 'error', 'wrong'),
    [
        ('highest', 1e-3, True),
        ('highest', numpy.nan, True),
        ('high', 1e-3, False),
        ('high', 0.1, True),
        ('medium', 0.1, True),
    ],
)
@pytest.mark.parametrize('direction', ['forward', 'backward'])
def test_disagreement_is_reported_once(tmp_path, direction, precision, error, wrong):
    engines = answer(), Fake(1.0, error)
    if not wrong:
        trials = trials_in(tmp_path)
        assert run(trials, engines, job(direction), precision)[1] == TRIED
        assert run(trials, engines, job(direction), precision)[1] == CANDIDATE
        return
    with pytest.warns(RuntimeWarning, match=r'differ by .* report this .*show_config'):
        found, seen = run(trials_in(tmp_path), engines, job(direction), precision)
    numpy.testing.assert_equal(found, expected(job(direction)))
    assert seen[1] == 1
    # later, in another process too, without another warning
    for trials in (trials_in(tmp_path), trials_in(tmp_path)):
        assert run(trials, engines, job(direction), precision)[1] == ANSWER


@pytest.mark.parametrize(
    ('error', 'kind'),
    [
        (ValueError('The specified grid size exceeds the limit'), 'refused'),
        (RuntimeError('cudaErrorCooperativeLaunchTooLarge'), 'refused'),
        (MemoryError('out of memory'), 'refused'),
        (TypeError('a bug'), 'wrong'),
    ],
    ids=['grid', 'launch', 'memory', 'bug'],
)
def test_error_of_the_candidate(tmp_path, error, kind):
    trials, engines = trials_in(tmp_path), (answer(), Fake(1.0, raises=error))
    warns = pytest.warns(RuntimeWarning, match='a bug')
    with warns if kind == 'wrong' else contextlib.nullcontext():
        found, seen = run(trials, engines)
    numpy.testing.assert_equal(found, expected(job()))
    assert seen == (1, 1)
    assert run(trials, engines)[1] == ANSWER
    # what is refused here may fit in another process
    later = run(trials_in(tmp_path), (answer(), Fake(1.0)))[1]
    assert later == (TRIED if kind == 'refused' else ANSWER)


def test_lack_of_memory_while_times_are_taken(tmp_path):
    class Large(Fake):
        def _begin(self):
            super()._begin()
            if self.calls == 2:
                raise MemoryError

    trials, engines = trials_in(tmp_path), (answer(), Large(1.0))
    found, _ = run(trials, engines)
    numpy.testing.assert_equal(found, expected(job()))
    assert run(trials, engines)[1] == ANSWER


def test_kernel_that_breaks_the_device(tmp_path):
    engines = answer(), Fake(1.0, raises=RuntimeError('an illegal memory access'))
    trials = trials_in(tmp_path, Device(broken=engines[1]))
    with (
        pytest.warns(RuntimeWarning, match='illegal'),
        pytest.raises(RuntimeError, match='illegal'),
    ):
        run(trials, engines)
    assert run(trials_in(tmp_path), (answer(), Fake(1.0)))[1] == ANSWER


def test_time_out_in_a_trial(tmp_path):
    class Late(Fake):
        def _begin(self):
            super()._begin()
            self.late = True

    engines = answer(), Late(1.0)
    with pytest.warns(RuntimeWarning, match='timed out'):
        run(trials_in(tmp_path), engines)
    assert run(trials_in(tmp_path), engines)[1] == ANSWER


def test_time_out_later(tmp_path):
    trials, engines = trials_in(tmp_path), (answer(), Fake(1.0))
    assert [run(trials, engines)[1] for _ in range(2)] == [TRIED, CANDIDATE]
    engines[1].late = True
    with pytest.raises(RuntimeError, match='timed out.*NaN'):
        run(trials, engines)
    for after in (trials, trials_in(tmp_path)):
        assert run(after, engines)[1] == ANSWER


def test_verdicts_are_kept_and_checked_once_a_process(tmp_path):
    engines = answer(), Fake(1.0)
    assert run(trials_in(tmp_path), engines)[1] == TRIED
    trials = trials_in(tmp_path)
    assert [run(trials, engines)[1] for _ in range(2)] == [CHECKED, CANDIDATE]
    with pytest.warns(RuntimeWarning, match='differ'):
        run(trials_in(tmp_path), (answer(), Fake(1.0, 0.5)))
    assert run(trials_in(tmp_path), engines)[1] == ANSWER
    assert run(trials_in(tmp_path, source='2'), engines)[1] == TRIED


def test_refused_here_is_not_refused_everywhere(tmp_path):
    engines = answer(), Fake(1.0)
    run(trials_in(tmp_path), engines)
    trials, refusing = trials_in(tmp_path), (engines[0], Fake(1.0, raises=ValueError('the grid')))
    assert [run(trials, refusing)[1] for _ in range(2)] == [(1, 1), ANSWER]
    assert run(trials_in(tmp_path), engines)[1] == CHECKED


def test_float16_rounds_at_each_step(tmp_path):
    layers, _ = persistent_cases.jobs(numpy, CASE, persistent_cases.make(CASE), 'e')
    trials = trials_in(tmp_path)
    assert run(trials, (answer(), Fake(1.0, 1e-2)), Forward(layers, True))[1] == TRIED


@pytest.mark.parametrize(
    'text',
    ['', '{', '[]', '{"identity": 1}', 'verdicts', 'null', 'binary', 'other kinds', 'another one'],
)
def test_file_that_is_corrupt(tmp_path, text):
    path = VerdictFile(IDENTITY, tmp_path).path
    texts = {
        'verdicts': json.dumps({'identity': IDENTITY, 'verdicts': [1, 2]}),
        'another one': json.dumps({'identity': {}, 'verdicts': {str(key()): ['slower', '']}}),
        'other kinds': json.dumps({'identity': IDENTITY, 'verdicts': {str(key()): ['good', '']}}),
    }
    path.write_bytes(b'\xff\xfe' if text == 'binary' else texts.get(text, text).encode())
    engines = answer(), Fake(1.0)
    assert run(trials_in(tmp_path), engines)[1] == TRIED
    assert run(trials_in(tmp_path), engines)[1] == CHECKED


def key():
    return key_of(job(), 'highest')


@pytest.mark.parametrize('folder', ['a file', 'no folder'])
def test_folder_that_cannot_be_written(tmp_path, folder):
    (tmp_path / 'a file').write_text('')
    engines = answer(), Fake(1.0)
    trials = trials_in(tmp_path / 'a file' / 'below' if folder == 'a file' else None)
    assert [run(trials, engines)[1] for _ in range(2)] == [TRIED, CANDIDATE]


def test_processes_add_to_one_file(tmp_path):
    trials = [trials_in(tmp_path) for _ in range(2)]
    for k, each in enumerate(trials):
        run(each, (answer(), Fake(1.0)), job(case=CASE._replace(units=5 + k)))
    assert len(VerdictFile(IDENTITY, tmp_path).read()) == 2
    assert {path.suffix for path in tmp_path.iterdir()} <= {'.json', '.lock'}


def test_file_that_cannot_be_replaced(tmp_path, monkeypatch):
    def replace(*paths):
        raise PermissionError('in use')

    monkeypatch.setattr(os, 'replace', replace)
    trials, engines = trials_in(tmp_path), (answer(), Fake(1.0))
    assert [run(trials, engines)[1] for _ in range(2)] == [TRIED, CANDIDATE]
    assert {path.suffix for path in tmp_path.iterdir()} <= {'.lock'}


def nan(inputs):
    inputs.x[0] = numpy.nan


def zeros(inputs):
    for x in (inputs.x, inputs.h0, inputs.c0, inputs.gh, inputs.gh_last, inputs.gc_last):
        x[...] = 0


@pytest.mark.parametrize(('direction', 'edit'), [('forward', nan), ('backward', zeros)])
def test_nothing_is_proven_by_nan_or_zeros(tmp_path, direction, edit):
    case = CASE._replace(directions=(False,))
    trials, engines = trials_in(tmp_path), (answer(), Fake(1.0))
    assert run(trials, engines, job(direction, case, edit))[1] == (1, 1)
    assert run(trials, engines, job(direction, case))[1] == TRIED
    assert run(trials, engines, job(direction, case))[1] == CANDIDATE
    trials = trials_in(None)
    seen = [run(trials, engines, job(direction, case, edit))[1] for _ in range(4)]
    assert seen == [(1, 1)] * 3 + [ANSWER]
    assert not trials_in(None).verdicts


def test_sequence_that_magnifies_rounding_proves_nothing(tmp_path, recwarn):
    def explode(inputs):
        inputs.weights['U'] *= 30

    case = Case(20, (200,) * 3)
    engines = answer(), Fake(1.0, 1e-2)
    run(trials := trials_in(tmp_path), engines, job('forward', case, explode))
    (verdict,) = trials.verdicts.values()
    assert verdict.kind == 'undecided'
    assert not recwarn.list


def test_what_the_candidate_does_not_support(tmp_path):
    trials, engines = trials_in(tmp_path), (answer(), Fake(1.0, supported=False))
    assert [run(trials, engines)[1] for _ in range(2)] == [ANSWER] * 2
    assert not list(tmp_path.iterdir())


def test_no_trial_while_a_graph_is_captured(tmp_path):
    device, engines = Device(recording=True), (answer(), Fake(1.0))
    trials = trials_in(tmp_path, device)
    assert run(trials, engines)[1] == ANSWER
    device.recording = False
    assert run(trials, engines)[1] == TRIED
    device.recording = True
    assert run(trials, engines)[1] == CANDIDATE


def test_threads_at_once(tmp_path):
    """One of them makes the trial, the others do not wait for it."""
    others = []

    class Waits(Device):
        def seconds(self, call):
            if not others:
                thread = threading.Thread(target=lambda: others.append(run(trials, others_engines)))
                thread.start()
                thread.join(60)
            return super().seconds(call)

    trials, engines, others_engines = (
        trials_in(tmp_path, Waits()),
        *[(answer(), Fake(1.0)) for _ in range(2)],
    )
    assert run(trials, engines)[1] == TRIED
    ((found, seen),) = others
    assert seen == ANSWER
    numpy.testing.assert_equal(found, expected(job()))


def test_long_calls_are_timed_once(tmp_path):
    engines = Fake(3.6e6), Fake(7.2e6)
    assert run(trials_in(tmp_path), engines)[1] == (2, 2)


@pytest.mark.parametrize(
    ('lengths', 'batch', 'steps'),
    [((1,), 8, 1), ((3, 2), 8, 2), ((17,) * 9, 16, 16), ((400, *(3,) * 16), 24, 16)],
    ids=str,
)
def test_key(lengths, batch, steps):
    found = key_of(job(case=Case(5, lengths)), 'high')
    assert found == ('forward', 'lstm', 'f', 'high', 5, batch, steps, 1)


@pytest.fixture
def auto_engine(monkeypatch, tmp_path):
    """The engine of 'auto' with the CUDA source on the CPU, its trials, and how often kernels were
    launched since the last look.
    """
    reason = fibres.missing() or cuda_on_cpu.missing()
    if reason:
        pytest.skip(reason)
    cuda_on_cpu.engine(monkeypatch)
    persistent = fibres.engine(monkeypatch)

    class Stepwise(auto.StepwiseEngine, fibres.FibreEngine):
        pass

    stepwise = Stepwise()
    stepwise.cost, persistent.cost = 2.0, 1.0
    trials = trials_in(tmp_path)
    launches = collections.Counter()
    for engine, module, name in (
        (stepwise, cuda, 'stage_kernel'),
        (persistent, cuda, 'sequence_kernel'),
    ):
        kernel = getattr(module, name)

        def counted(*args, engine=engine, kernel=kernel, **how):
            launches[engine] += 1
            return kernel(*args, **how)

        monkeypatch.setattr(module, name, counted)
    monkeypatch.setattr(auto, 'StepwiseEngine', lambda *args, **how: stepwise)
    monkeypatch.setattr(auto, 'PersistentEngine', lambda *args, **how: persistent)
    monkeypatch.setattr(auto, 'current_trials', lambda: trials)
    engine = auto.AutoEngine('highest')
    return engine, trials, lambda: [launches.pop(e, 0) for e in (stepwise, persistent)]


def test_auto_engine(auto_engine):
    engine, trials, launched = auto_engine
    inputs = persistent_cases.make(CASE)
    expected = persistent_cases.run(NumpyEngine(), numpy, CASE, inputs, 'd')
    for tried, served in ((True, False), (False, True)):
        found = persistent_cases.run(engine, numpy, CASE, inputs)
        for actual, correct in zip(found, expected):
            cases.assert_close(actual, correct, (0, 3e-5))
        stepwise, persistent = launched()
        assert (stepwise > 0, persistent > 0) == (tried, True)
        assert served == (persistent == 4)  # packing and recurrence, forward and backward
    assert [verdict.kind for verdict in trials.verdicts.values()] == ['faster'] * 2


def test_auto_engine_and_gradients_of_c(auto_engine):
    engine, trials, launched = auto_engine
    layers, given = persistent_cases.jobs(numpy, CASE, persistent_cases.make(CASE))
    gates = engine.sequence_forward(layers, True)
    launched()
    with_c = [dataclasses.replace(g, output=_with_c(g.output)) for g in given]
    engine.sequence_backward(layers, gates, with_c)
    stepwise, persistent = launched()
    assert stepwise and not persistent
    assert [key.direction for key in trials.verdicts] == ['forward']


def _with_c(output):
    return output._replace(c=numpy.ones_like(output.h))


@pytest.mark.parametrize('lengths', [(), (0, 0)], ids=str)
def test_auto_engine_and_nothing_to_compute(auto_engine, lengths):
    engine, trials, launched = auto_engine
    case = Case(5, lengths)
    persistent_cases.run(engine, numpy, case, persistent_cases.make(case))
    assert launched() == [0, 0]
    assert not trials.verdicts


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv('CHAINER_LSTM_CACHE_DIR', str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv('CHAINER_LSTM_CACHE_DIR')
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    assert cache_folder() == tmp_path / '.cache' / 'chainer_lstm'

"""--test of every example but the PTB's, which has tests of its own:
a few seconds, all files, and what they say.
"""

import json

import chainer
import numpy
import pytest

from tests.support.examples import load

TEXT = 'The time traveller went on through the time machine; it went with him.\n' * 30
TIME_MACHINE = 'time_machine/train_time_machine.py'


@pytest.fixture
def text(tmp_path):
    path = tmp_path / 'text.txt'
    path.write_text(TEXT)
    return path


def results(folder):
    return json.loads((folder / 'results.json').read_text())


@pytest.mark.parametrize('sampling', ['sequential', 'random'])
def test_time_machine(run, text, tmp_path, sampling):
    status, printed, _ = run(
        TIME_MACHINE, '--test', '--data', text, '--sampling', sampling, '-o', tmp_path
    )
    assert status == 0
    found = results(tmp_path)
    assert len(found['perplexity']) == 10
    assert found['perplexity'][-1] < found['perplexity'][0] < 40
    assert printed.splitlines()[-3].startswith(f'perplexity {found["perplexity"][-1]:.2f}, ')
    assert [len(line) for line in printed.splitlines()[-2:]] == [
        len('time traveller') + 50,
        len('traveller') + 50,
    ]
    assert (tmp_path / 'perplexity.png').read_bytes().startswith(b'\x89PNG')


def test_time_machine_from_the_weights_of_the_gates(run, text, tmp_path):
    status, _, _ = run(TIME_MACHINE, '--test', '--data', text, '--gates', '-o', tmp_path)
    assert status == 0
    assert results(tmp_path)['perplexity'][-1] < 20


@pytest.mark.slow
def test_time_machine_from_scratch(run, text, tmp_path):
    status, printed, _ = run(TIME_MACHINE, '--test', '--data', text, '--scratch', '-o', tmp_path)
    assert status == 0
    differences = [
        float(line.split()[5])
        for line in printed.splitlines()
        if line.startswith('equations and link differ')
    ]
    assert len(differences) == 2
    assert max(differences) < 1e-5
    scratch = results(tmp_path)['perplexity']
    run(TIME_MACHINE, '--test', '--data', text, '--gates', '-o', tmp_path)
    numpy.testing.assert_allclose(scratch, results(tmp_path)['perplexity'], rtol=1e-4)


def by_equations(p, x):
    """The scores (T * B, V) of the tutorial's equations in float64."""
    h = c = numpy.zeros((x.shape[1], len(p['b_i'])))
    scores = []
    for ids in x:
        gates = {}
        for g in 'ifoc':
            pre = numpy.array([p[f'W_x{g}'][k] for k in ids]) + h @ p[f'W_h{g}'] + p[f'b_{g}']
            gates[g] = numpy.tanh(pre) if g == 'c' else 1 / (1 + numpy.exp(-pre))
        c = gates['f'] * c + gates['i'] * gates['c']
        h = gates['o'] * numpy.tanh(c)
        scores.append(h @ p['W_hq'] + p['b_q'])
    return numpy.concatenate(scores)


@pytest.mark.parametrize('form', ['scratch', 'link'])
def test_scratch_and_link_equal_the_equations(form):
    module = load(TIME_MACHINE)
    with chainer.using_config('dtype', numpy.float64):
        scratch = module.ScratchModel(5, 4)
    random = numpy.random.RandomState(0)
    for param in scratch.params():
        param.array[...] = random.uniform(-1, 1, param.shape)
    x = random.randint(5, size=(6, 3))
    expected = by_equations({path[1:]: p.array for path, p in scratch.namedparams()}, x)
    with chainer.using_config('dtype', numpy.float64):
        model = scratch if form == 'scratch' else module.with_link(scratch)
    numpy.testing.assert_allclose(model(x[:4]).array, expected[:12], rtol=1e-12)
    for k in (4, 5):  # from the state before it, step by step
        step = model(x[k]).array
        assert step.dtype == numpy.float64
        numpy.testing.assert_allclose(step, expected[3 * k : 3 * k + 3], rtol=1e-12)


@pytest.mark.parametrize(
    'options', [[], ['--peephole', 'diagonal'], ['--tutorial', '--peephole', 'diagonal']]
)
def test_reber(run, tmp_path, options):
    status, printed, _ = run('reber/train_reber.py', '--test', '-o', tmp_path, *options)
    assert status == 0
    found = results(tmp_path)
    assert found['error'][-1] < found['error'][0]
    assert 0 <= found['exact'] <= found['legal'] <= 1
    assert sum(' after B' in line for line in printed.splitlines()) == 10
    assert (tmp_path / 'error.png').exists()
    tutorial = '--tutorial' in options
    assert found['options']['batchsize'] == (1 if tutorial else 20)
    assert found['options']['gradclip'] == (None if tutorial else 1)


def examples_of(module, n):
    return module.embedded_reber(n, numpy.random.RandomState(0))


def test_success_on_strings_counts_strings_and_not_symbols():
    module = load('reber/train_reber.py')
    examples = examples_of(module, 50)
    module.predict = lambda model, xs: [0.9 * t for _, t in examples]
    assert module.success(None, examples) == {'legal': 1, 'exact': 1, 'long-range': 1}

    def one_string_wrong(model, xs):
        found = [0.9 * t for _, t in examples]
        found[7][-2] = found[7][-2, [0, 2, 1, 3, 4, 5, 6]]  # T for P, or P for T
        found[8][3] *= 0.5  # the likeliest is legal, though below 0.5
        return found

    module.predict = one_string_wrong
    assert module.success(None, examples) == {'legal': 0.98, 'exact': 0.96, 'long-range': 0.98}


@pytest.mark.parametrize('peephole', ['full', 'diagonal'])
def test_predictions_of_reber_belong_to_their_strings(peephole):
    module = load('reber/train_reber.py')
    model = module.ReberModel(3, peephole)
    xs = [x for x, _ in examples_of(module, 6)]
    for x, p in zip(xs, module.predict(model, xs)):
        assert p.shape == x.shape
        numpy.testing.assert_allclose(p, module.predict(model, [x])[0], rtol=1e-5)


@pytest.mark.parametrize('peephole', ['full', 'diagonal'])
def test_initial_state_of_reber_is_learned(peephole):
    module = load('reber/train_reber.py')
    model = module.ReberModel(3, peephole)
    loss = module.F.sum(model([x for x, _ in examples_of(module, 1)]))
    model.cleargrads()
    loss.backward()
    assert abs(model.lstm.c0.grad).min() > 0
    assert abs(model.lstm.h0.grad).min() > 0


def test_error_of_reber_is_of_the_outputs_of_strings():
    """With weights that stay as they are, and against NumPy."""
    module = load('reber/train_reber.py')
    model, examples = module.ReberModel(3), examples_of(module, 7)
    optimizer = chainer.optimizers.SGD(0).setup(model)
    p = module.predict(model, [x for x, _ in examples])
    losses = [-numpy.mean(numpy.log(numpy.where(t, p, 1 - p))) for p, (_, t) in zip(p, examples)]
    found = module.train_epoch(model, optimizer, examples, 1)
    assert found == pytest.approx(numpy.mean(losses), rel=1e-5)
    weighted = numpy.average(losses, weights=[len(t) for _, t in examples])
    found = module.train_epoch(model, optimizer, examples, 7)
    assert found == pytest.approx(weighted, rel=1e-5)


def test_error_without_memory_of_the_second_symbol():
    module = load('reber/train_reber.py')
    examples = examples_of(module, 5)
    losses = []
    for _, t in examples:
        p = t.astype(float)
        p[-2, [1, 2]] = 0.5  # T and P
        losses.append(-numpy.mean(numpy.log(numpy.where(t, p, 1 - p))))
    assert module.without_memory(examples) == pytest.approx(numpy.mean(losses))


@pytest.mark.parametrize('peephole', ['full', 'diagonal'])
def test_weights_of_the_reber_tutorial(peephole):
    module = load('reber/train_reber.py')
    model = module.ReberModel(4, peephole)
    module.set_tutorial_weights(model)
    W, b, U, *peepholes = (w.array for w in model.lstm.l0.cell_weights())
    if peephole == 'diagonal':
        peepholes = [numpy.diag(P) for P in peepholes]
    matrices = [array[gate::4] for array in (W, U) for gate in range(4)]
    for matrix in (*matrices, *peepholes, model.out.W.array):
        assert numpy.linalg.svd(matrix)[1][0] == pytest.approx(1, rel=1e-5)
    assert (b[0::4] == 0).all()
    assert ((b[2::4] > 0) & (b[2::4] < 1)).all()
    assert (abs(b[1::2]) < 0.5).all()


def test_adding(run, tmp_path):
    status, printed, _ = run('adding/train_adding.py', '--test', '-o', tmp_path)
    assert status == 0
    found = results(tmp_path)
    assert len(found['error']) == 20
    assert found['test error'] < found['error'][0]
    assert 'always 1: 0.16667' in printed


def test_sums_of_the_adding_problem():
    x, t = load('adding/train_adding.py').draw(40, 7)
    assert (x[:, :3, 1].sum(axis=1) == 1).all()
    assert (x[:, 3:, 1].sum(axis=1) == 1).all()
    numpy.testing.assert_allclose(
        t[:, 0], [sum(a for a, marked in row if marked) for row in x], rtol=1e-6
    )


@pytest.mark.parametrize(
    ('script', 'args', 'message'),
    [
        (TIME_MACHINE, ['--data', 'no/such/file'], 'No such file'),
        (TIME_MACHINE, ['--unit', '0'], 'expected a number from 1'),
        ('reber/train_reber.py', ['--device', 'native'], 'native'),
        ('adding/train_adding.py', ['--length', '1'], 'expected a number from 2'),
    ],
)
def test_wrong_options_end_with_one_line_and_status_2(run, tmp_path, script, args, message):
    status, _, complaint = run(script, '-o', tmp_path, *args)
    assert status == 2
    assert message in complaint.splitlines()[-1]
    assert 'Traceback' not in complaint

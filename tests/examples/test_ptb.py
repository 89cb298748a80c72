"""The scripts on a text of a few hundred words."""

import json
import os
import subprocess
import sys

import chainer
import numpy
import pytest

from tests.support.examples import EXAMPLES, load

SMALL = ['--unit', '8', '--bproplen', '5', '--batchsize', '4']


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    random = numpy.random.RandomState(0)
    for part, lines in (('train', 60), ('valid', 10), ('test', 10)):
        (folder / f'{part}.txt').write_text(
            ''.join(
                'the {} sees a {}\n'.format(*random.choice(['dog', 'cat', 'bird'], 2))
                for _ in range(lines)
            )
        )
    return folder


@pytest.fixture
def script(run):
    return lambda name, *args: run(f'ptb/{name}.py', *args)


@pytest.fixture
def train(script, data, tmp_path):
    def run(*args, out=tmp_path):
        return script('train_ptb', '--data', data, '--out', out, *SMALL, *args)

    return run


@pytest.fixture
def trained(train, tmp_path):
    assert train('--epoch', 1)[0] == 0
    return tmp_path / 'model.npz'


@pytest.mark.slow
def test_training_leaves_log_plot_snapshot_model_and_text(train, tmp_path):
    status, printed, _ = train('--epoch', 4, '--dropout', 0, '--init', 0.5, '--batchsize', 5)
    assert status == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        'log',
        'perplexity.png',
        'model.npz',
        'model.vocab.txt',
        'snapshot_iter_44',
        'snapshot_iter_58',
    }
    assert 'vocabulary: 7' in printed
    assert 'test perplexity: ' in printed
    last = json.loads((tmp_path / 'log').read_text())[-1]
    assert last['val_perplexity'] < 3  # of 7 words
    assert last['words/sec'] > 0


@pytest.mark.slow
def test_resumed_run_ends_with_the_same_bits(train, tmp_path):
    options = [
        '--preset',
        'medium',
        *SMALL,
        '--decay-after',
        1,
    ]  # dropout .5 and a falling learning rate
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    assert train(*options, '--epoch', 4, out=whole)[0] == 0
    assert train(*options, '--epoch', 2, out=parts)[0] == 0
    status, printed, _ = train(*options, '--epoch', 4, '--resume', out=parts)
    assert status == 0
    assert 'resumed from' in printed
    with numpy.load(whole / 'model.npz') as expected, numpy.load(parts / 'model.npz') as resumed:
        assert sorted(expected.files) == sorted(resumed.files)
        for key in expected.files:
            numpy.testing.assert_array_equal(resumed[key], expected[key])


@pytest.mark.slow
@pytest.mark.parametrize('options', [[], ['--bproplen', 7]], ids=['chunks of 5', 'chunks of 7'])
def test_stepwise_gives_the_same_losses(train, tmp_path, options):
    logs = []
    for name, args in (('chunks', []), ('steps', ['--stepwise'])):
        status, _, _ = train('--epoch', 3, '--dropout', 0, *options, *args, out=tmp_path / name)
        assert status == 0
        logs.append(json.loads((tmp_path / name / 'log').read_text()))
    assert len(logs[0]) == len(logs[1]) > 3
    for chunks, steps in zip(*logs):
        assert chunks.keys() == steps.keys()
        for key in chunks.keys() & {'iteration', 'main/loss', 'validation/main/loss'}:
            assert chunks[key] == pytest.approx(steps[key], rel=1e-5)
    assert 'validation/main/loss' in logs[0][-1]


def test_presets_are_those_of_zaremba():
    module = load('ptb/train_ptb.py')
    found = {
        name: (
            p['unit'],
            p['bproplen'],
            p['epoch'],
            p['dropout'],
            p['init'],
            p['gradclip'],
            1 / p['decay'],
            p['decay_after'],
        )
        for name, p in module.PRESETS.items()
    }
    assert found == {
        'chainer': (650, 35, 39, 0.5, 0.1, 5, 1, 39),
        'small': (200, 20, 13, 0, 0.1, 5, 2, 4),
        'medium': (650, 35, 39, 0.5, 0.05, 5, pytest.approx(1.2), 6),
        'large': (1500, 35, 55, 0.65, 0.04, 10, pytest.approx(1.15), 14),
    }


def test_options_of_chainers_example_are_taken(script, data, tmp_path):
    status, _, _ = script(
        'train_ptb',
        '--data',
        data,
        '-b',
        4,
        '-l',
        5,
        '-e',
        1,
        '-d',
        -1,
        '-c',
        5,
        '-o',
        tmp_path,
        '-u',
        8,
        '-m',
        tmp_path / 'here.npz',
        '--test',
    )
    assert status == 0
    assert (tmp_path / 'here.npz').exists()
    assert (tmp_path / 'here.vocab.txt').exists()
    args = load('ptb/train_ptb.py').parser().parse_args(['--gpu', '-r', 'snapshot'])
    assert (args.device, args.resume) == ('0', 'snapshot')
    assert load('ptb/train_ptb.py').parser().parse_args(['-g', '3']).device == '3'


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--data', 'no/such/folder'], 'expected ptb.train.txt or train.txt in the folder'),
        (['--unit', '0'], 'argument --unit/-u: expected a number from 1'),
        (['--unit', 'many'], "invalid int value: 'many'"),
        (['--dropout', '1'], 'expected a number from 0 up to 1'),
        (['--preset', 'huge'], "invalid choice: 'huge'"),
        (['--batchsize', '100000'], 'expected a batch size between 1 and'),
        (['--resume', '--out', 'no/such/folder'], 'expected the folder of a run to resume in'),
        (['--resume', 'no_such_snapshot'], 'no_such_snapshot'),
        (['--device', 'native'], 'native'),
    ],
)
def test_wrong_options_end_with_one_line_and_status_2(train, args, message):
    status, _, complaint = train(*args)
    assert status == 2
    assert message in complaint.splitlines()[-1]
    assert 'Traceback' not in complaint


def test_gpu_where_there_is_none(train):
    if chainer.backends.cuda.available:
        pytest.skip('CuPy is usable here')
    status, _, complaint = train('--gpu')
    assert status == 2
    assert complaint.startswith('train_ptb.py: error: --gpu 0: expected a GPU that CuPy can use')
    assert complaint.endswith(', or leave --gpu out\n')
    assert complaint.count('\n') == 1


def test_resume_with_another_size_is_refused(trained, train):
    status, _, complaint = train('--epoch', 2, '--unit', 9, '--resume')
    assert status == 2
    assert 'expected shape' in complaint


@pytest.mark.slow
def test_help_teaches():
    printed = subprocess.run(
        [sys.executable, EXAMPLES / 'ptb' / 'train_ptb.py', '--help'],
        text=True,
        check=True,
        capture_output=True,
        env={**os.environ, 'PYTHONPATH': str(EXAMPLES.parent)},
    ).stdout
    assert '--preset medium --gpu 0' in printed


def test_text_from_a_model(trained, script):
    status, printed, _ = script(
        'gentxt', '-m', trained, '-p', 'the dog', '--length', 6, '--sample', 2
    )
    assert status == 0
    lines = printed.splitlines()
    assert len(lines) == 2
    assert all(line.startswith('the dog') for line in lines)
    assert (
        script('gentxt', '-m', trained, '-p', 'the dog', '--length', 6, '--sample', 2)[1] == printed
    )
    assert script('gentxt', '-m', trained, '--sample', -1)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['-p', 'the wolf'], "expected words of the vocabulary in --primetext, got ['wolf']"),
        (['--unit', '9'], 'expected --unit 8, as in the model, got 9'),
        (['--temperature', '0'], 'expected a positive temperature, got 0'),
    ],
)
def test_wrong_options_of_gentxt(trained, script, args, message):
    status, _, complaint = script('gentxt', '-m', trained, *args)
    assert status == 2
    assert message in complaint


def test_gentxt_with_another_vocabulary(trained, script, tmp_path):
    other = tmp_path / 'words.txt'
    other.write_text('a\nb\n')
    status, _, complaint = script('gentxt', '-m', trained, '--vocab', other)
    assert status == 2
    assert 'expected a vocabulary of 7 words, as in the model, got 2' in complaint


def test_gentxt_without_a_model(script, tmp_path):
    status, _, complaint = script('gentxt', '-m', tmp_path / 'model.npz')
    assert status == 2
    assert 'No such file' in complaint

"""Command lines that are refused: one line on stderr, status 2, and no file."""

import contextlib
import functools
import io
import pathlib
import sys
from unittest import mock

import chainer
import numpy
import pytest

from chainer_lstm.models import RNNForLM
from tests.support import ROOT
from tests.support.examples import load

sys.path.insert(0, str(ROOT / 'benchmarks'))

import goals
import gpu
import language_model
import layers

TRAIN, GENTXT, TIME_MACHINE, REBER, ADDING = (
    'ptb/train_ptb.py',
    'ptb/gentxt.py',
    'time_machine/train_time_machine.py',
    'reber/train_reber.py',
    'adding/train_adding.py',
)
SMALL = ('--data', 'texts', '--unit', '3', '--epoch', '1', '--bproplen', '2', '--batchsize', '2')
MODEL = ('-m', 'model.npz')
TEXT = ('--data', 'texts/train.txt')
NUMBER = 'expected a number from 1'

LINES = {
    TRAIN: [
        ('--data', 'argument --data: expected one argument'),
        ('--data none', "expected ptb.train.txt or train.txt in the folder 'none', found neither"),
        ('--data words', "in the folder 'words', found neither"),
        *(
            (' '.join((*SMALL, options)), message)
            for options, message in (
                ('--unit 0', f'argument --unit/-u: {NUMBER} up to inf, got 0'),
                ('--unit 1.5', "invalid int value: '1.5'"),
                ('--unit many', "invalid int value: 'many'"),
                ('--layer -1', f'{NUMBER} up to inf, got -1'),
                ('--bproplen 0', NUMBER),
                ('--epoch 0', NUMBER),
                ('--batchsize 0', NUMBER),
                ('--decay-after 0', NUMBER),
                ('--batchsize 100', 'expected a batch size between 1 and the 80 words, got 100'),
                ('--dropout 1', 'argument --dropout: expected a number from 0 up to 1, got 1'),
                ('--dropout nan', 'got nan'),
                ('--dropout -1', 'got -1'),
                ('--init nan', 'argument --init: expected a number from 0'),
                ('--init inf', 'got inf'),
                ('--gradclip -1', 'argument --gradclip/-c: .* got -1'),
                ('--gradclip 0', 'expected a finite number above 0, got 0'),
                ('--decay nan', 'got nan'),
                ('--lr x', "argument --lr: invalid float value: 'x'"),
                ('--seed -1', 'argument --seed: .* got -1'),
                ('--seed 4294967296', 'up to 4294967296, got 4294967296'),
                ('--device native', "'native'"),
                ('--gpu x', "expected --device to be -1, N or @cupy:N, got 'x'"),
                ('--graph', "expected --gpu beside --graph, got the device '-1'"),
                ('--preset huge', "argument --preset: invalid choice: 'huge'"),
                ('--out words', "File exists: 'words'"),
                ('--out words/x', "Not a directory: 'words/x'"),
                ('--model words/x', "'words'"),
                ('--model texts', "expected a file for --model, got the folder 'texts'"),
                ('--resume none', "No such file or directory: 'none'"),
                ('--resume texts', "Is a directory: 'texts'"),
                ('--resume words', 'expected an npz file: File is not a zip file'),
                (
                    '--resume hostile.npz',
                    'x: expected numbers, got pickled objects, which are not loaded',
                ),
                ('--resume model.npz', 'updater/iterator:main/batch_size is not in the npz file'),
                (
                    '--resume --out none',
                    "expected the folder of a run to resume in 'none', found none",
                ),
                ('--turbo', 'unrecognized arguments: --turbo'),
                ('more', 'unrecognized arguments: more'),
            )
        ),
    ],
    GENTXT: [
        ('', 'the following arguments are required: --model/-m'),
        ('-m none', "No such file or directory: 'none'"),
        ('-m words', "expected an npz file of a model in 'words'"),
        ('-m texts', "Is a directory: 'texts'"),
        ('-m hostile.npz', 'x: expected numbers, got pickled objects, which are not loaded'),
        ('-m cut.npz', "expected an npz file of a model in 'cut.npz'"),
        *(
            (' '.join((*MODEL, options)), message)
            for options, message in (
                ('--vocab none', "'none'"),
                ('--vocab texts', "Is a directory: 'texts'"),
                ('--vocab latin', 'utf-8'),
                (
                    '--vocab words',
                    'expected a vocabulary of 4 words, as in the model, got 1; see --vocab',
                ),
                ('--vocab no_eos', '--primetext: expected words, as the vocabulary has no <eos>'),
                ('-p zebra', r"expected words of the vocabulary in --primetext, got \['zebra'\]"),
                ('--length -1', 'argument --length: expected a number from 0'),
                ('--length x', "invalid int value: 'x'"),
                ('--temperature 0', 'expected a positive temperature, got 0.0'),
                ('--temperature nan', 'got nan'),
                ('--seed -1', 'argument --seed/-s: .* got -1'),
                ('--unit 9', 'expected --unit 3, as in the model, got 9'),
                ('--device abacus', "'abacus'"),
                ('--sample x', "argument --sample: invalid int value: 'x'"),
            )
        ),
    ],
    TIME_MACHINE: [
        ('--data none', "No such file or directory: 'none'"),
        ('--data texts', "Is a directory: 'texts'"),
        ('--data latin', "expected text in UTF-8 in 'latin'"),
        ('--data digits', "expected letters in 'digits', got none"),
        *(
            (' '.join((*TEXT, options)), message)
            for options, message in (
                ('--max-tokens 0', NUMBER),
                ('--sampling backwards', "invalid choice: 'backwards'"),
                ('--bproplen 0', NUMBER),
                ('--lr nan', 'got nan'),
                ('--out words', "File exists: 'words'"),
                ('--scratch --unit 0', NUMBER),
            )
        ),
    ],
    REBER: [
        ('--strings 0', NUMBER),
        ('--epoch x', "invalid int value: 'x'"),
        ('--unit -2', 'got -2'),
        ('--batchsize 0', NUMBER),
        ('--lr -1', 'got -1'),
        ('--gradclip nan', 'got nan'),
        ('--gradclip 0', 'above 0, got 0'),
        ('--out words', "'words'"),
        ('--device abacus', "'abacus'"),
    ],
    ADDING: [
        ('--length 1', 'expected a number from 2'),
        ('--unit 0', NUMBER),
        ('--iteration 0', NUMBER),
        ('--lr inf', 'got inf'),
        ('--out words/x', "Not a directory: 'words/x'"),
        ('--batchsize x', "invalid int value: 'x'"),
    ],
    layers: [
        ('--shapes', 'expected at least one argument'),
        ('--shapes 1/2', 'four numbers from 1 such as .* got 1/2'),
        ('--shapes 0/1/2/3', 'got 0/1/2/3'),
        ('--runs 0', 'argument --runs: expected a number from 1, got 0'),
        ('--runs x', 'got x'),
        ('--peers keras', 'expected chainer, torch, chainer,torch or none, got keras'),
        ('--engine cuda', "invalid choice: 'cuda'"),
        ('--out words', 'argument --out: File exists: words'),
        ('--turbo', 'unrecognized arguments: --turbo'),
    ],
    language_model: [
        ('--runs -1', 'got -1'),
        ('--peers keras', 'got keras'),
        ('--out words/x', 'argument --out: Not a directory: words/x'),
        ('more', 'unrecognized arguments: more'),
    ],
    goals: [
        ('--rows sep', 'expected names of steps, .*, got sep'),
        ('--out words', 'argument --out: File exists: words'),
    ],
    gpu: [
        ('--only half', "invalid choice: 'half'"),
        ('--out words', 'argument --out: File exists: words'),
    ],
}


class Refused(Exception):
    """A command line ended with status 2; the text is all that it printed."""


def refused(main):
    """Calls a command line's main function; what ends with status 2 is raised with what it printed.

    Raises:
        Refused: the status was 2, and one line was printed, on stderr.
        AssertionError: another status, more lines or another place.
    """
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main()
    except SystemExit as error:
        status = error.code
    printed = err.getvalue()
    assert (status, out.getvalue(), printed.count('\n')) == (2, '', 1), (
        status,
        out.getvalue(),
        printed,
    )
    raise Refused(printed)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """What the options name: a folder of texts, a model,
    and files that are not what they should be.
    """
    monkeypatch.chdir(tmp_path)
    folder = pathlib.Path('texts')
    folder.mkdir()
    for part in ('train', 'valid', 'test'):
        (folder / f'{part}.txt').write_text('a b c\n' * 20)
    for name, content in {
        'words': b'a\n',
        'latin': b'\xff\xfe',
        'digits': b'1 2 3',
        'no_eos': b'a\nb\nc\nd\n',
        'model.vocab.txt': b'a\nb\nc\n<eos>\n',
    }.items():
        pathlib.Path(name).write_bytes(content)
    pathlib.Path('model.npz').write_bytes(model())
    pathlib.Path('cut.npz').write_bytes(model()[:-40])
    numpy.savez('hostile.npz', x=numpy.asarray(print))


@functools.cache
def model():
    path = pathlib.Path('made.npz')
    chainer.serializers.save_npz(str(path), RNNForLM(4, 3))
    content = path.read_bytes()
    path.unlink()
    return content


@functools.cache
def example(path):
    return load(path)


def run(program, arguments):
    """As from the shell, with the arguments in ``sys.argv``."""
    if not isinstance(program, str):
        refused(lambda: program.main(arguments))
    else:
        with mock.patch.object(sys, 'argv', [program, *arguments]):
            refused(example(program).main)


def name(program):
    return program if isinstance(program, str) else program.__name__


@pytest.mark.parametrize(
    ('program', 'line', 'message'),
    [
        pytest.param(program, line, message, id=f'{name(program)} {line}')
        for program, lines in LINES.items()
        for line, message in lines
    ],
)
def test_command_line(files, refuses, program, line, message):
    # a language model that is begun before the error shows has drawn its weights
    draws = program in (TRAIN, GENTXT)
    refuses(lambda: run(program, line.split()), Refused, message, draws=draws)

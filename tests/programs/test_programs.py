"""Programs of Chainer 1.3 to 7.8 print what they printed with the Chainer of their time."""

import pathlib
import sys

import pytest

from tests.programs import record
from tests.programs.output import differences, run
from tests.support.interpreter import Environment

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = sorted(path.relative_to(HERE).as_posix() for path in HERE.glob('v*/*.py'))
LINE, CHANGED_LINE = 'import chainer.links as L\n', 'import chainer_lstm.links as L\n'


def recorded(program):
    return (HERE / program).with_suffix('.txt').read_text().split('\n\n', 1)[1]


def check(command, program, path=''):
    output, errors = run(command, PYTHONPATH=str(path))
    assert differences(output, recorded(program)) == []
    assert errors == ''


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    return Environment.with_libraries(tmp_path_factory.mktemp('installed'))


@pytest.mark.slow
@pytest.mark.parametrize('program', PROGRAMS)
def test_unchanged(program):
    options = ['--v1'] if program.startswith('v1') else []
    check([sys.executable, '-m', 'chainer_lstm', *options, str(HERE / program)], program, ROOT)


@pytest.mark.slow
@pytest.mark.parametrize(
    'program',
    [
        program
        for program in PROGRAMS
        if not program.startswith('v1') and LINE in (HERE / program).read_text()
    ],
)
def test_one_changed_line(program, installed, tmp_path):
    changed = tmp_path / 'program.py'
    changed.write_text((HERE / program).read_text().replace(LINE, CHANGED_LINE))
    check([str(installed.python), str(changed)], program)


@pytest.mark.parametrize(
    'found',
    ['loss 1.50000 of 3\n', 'loss  1.50010 of 3\n', 'loss 1.4999999 of 3\n', 'loss 1.5001 of 3\n'],
)
def test_close_numbers_are_equal(found):
    assert differences(found, 'loss 1.5000 of 3\n') == []


@pytest.mark.parametrize(
    'found',
    [
        'loss 1.50040 of 3\n',
        'loss 1.5000 of 4\n',
        'loss 1.5000\n',
        'loss nan of 3\n',
        'loss -1.5000 of 3\n',
        '',
        'loss 1.5000 of 3\nloss 1.5000 of 3\n',
    ],
)
def test_other_output_is_different(found):
    assert differences(found, 'loss 1.5000 of 3\n') != []


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--python', 'none'], "No such file or directory: 'none'"),
        (['--python', sys.executable], 'expected a genuine Chainer, got one with chainer_lstm'),
        ([], 'the following arguments are required: --python'),
    ],
)
def test_record_refuses(arguments, message, installed, capsys):
    arguments = [
        str(installed.python) if argument == sys.executable else argument for argument in arguments
    ]
    with pytest.raises(SystemExit, match='2'):
        record.main(arguments)
    assert message in capsys.readouterr().err

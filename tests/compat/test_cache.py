"""The code of the edited modules in ``__pycache__``."""

import os

import pytest

from chainer_lstm import compat
from tests.support.interpreter import fake_chainer, run

pytestmark = pytest.mark.slow  # a process or more for each test

EDITED = 'import chainer_lstm, chainer.variable as variable; print(variable.TEXT)'
PLAIN = 'import chainer.variable as variable; print(variable.TEXT)'
NOT_COMPILED = (
    'import importlib.machinery; importlib.machinery.SourceFileLoader.source_to_code = None\n'
)
OLD, NEW = compat.EDITS['chainer.variable'][0]


@pytest.fixture
def chainer(tmp_path):
    """Return a folder with a Chainer of one module that is edited, and one for its code."""
    fake_chainer(tmp_path, variable=f'TEXT = """{OLD}"""')
    return Cached(tmp_path)


class Cached:
    def __init__(self, folder):
        self.folder, self.pyc = folder, folder / 'pyc'
        self.source = folder / 'chainer' / 'variable.py'

    def run(self, *code, env=(), **kwargs):
        return run(
            *code,
            path=[self.folder],
            **kwargs,
            env={'PYTHONDONTWRITEBYTECODE': '', 'PYTHONPYCACHEPREFIX': str(self.pyc), **dict(env)},
        )

    def files(self):
        return sorted(path.name for path in self.pyc.rglob('variable.*'))


def test_code_is_compiled_once_and_not_taken_for_chainers(chainer):
    assert chainer.run(PLAIN) == OLD
    assert chainer.run(EDITED) == NEW
    assert len(chainer.files()) == 2
    assert chainer.run(NOT_COMPILED, EDITED) == NEW
    assert chainer.run(NOT_COMPILED, PLAIN) == OLD


def test_beside_the_source_without_a_prefix(chainer):
    assert chainer.run(EDITED, env={'PYTHONPYCACHEPREFIX': ''}) == NEW
    assert (
        len(
            list((chainer.folder / 'chainer' / '__pycache__').glob('variable.*-chainer_lstm-*.pyc'))
        )
        == 1
    )


@pytest.mark.parametrize('same', ['size', 'time'])
def test_source_that_changed_is_compiled_anew(chainer, same):
    assert chainer.run(EDITED) == NEW
    before = chainer.source.stat()
    text = chainer.source.read_text()
    chainer.source.write_text(text.replace('"""', "'''") if same == 'size' else text + '\n')
    os.utime(chainer.source, (before.st_atime, before.st_mtime + (10 if same == 'size' else 0)))
    assert 'NoneType' in chainer.run(NOT_COMPILED, EDITED)
    assert chainer.run(EDITED) == NEW
    assert chainer.run(NOT_COMPILED, EDITED) == NEW


def test_other_edits_have_code_of_their_own(chainer):
    other = (
        'from chainer_lstm import compat; '
        f'compat.EDITS["chainer.variable"] = (({OLD!r}, "other"),)\n'
    )
    assert [chainer.run(EDITED), chainer.run(other, EDITED), chainer.run(EDITED)] == [
        NEW,
        'other',
        NEW,
    ]
    assert len(chainer.files()) == 2


def test_optimized_code_is_apart(chainer):
    assert [chainer.run(EDITED, options=options) for options in ((), ('-O',), ('-OO',))] == [
        NEW
    ] * 3
    assert len(chainer.files()) == 3


@pytest.mark.parametrize(
    'env',
    [{'PYTHONDONTWRITEBYTECODE': '1'}, {'PYTHONPYCACHEPREFIX': os.devnull}],
    ids=['not to be written', 'cannot be written'],
)
def test_nothing_is_written(chainer, env):
    assert chainer.run(EDITED, env=env) == NEW
    assert chainer.files() == []


@pytest.mark.parametrize('size', [0, 8, 40])
def test_cut_off_files(chainer, size):
    """As Python does with its own: what has no whole header is compiled anew,
    any other is an error.
    """
    assert chainer.run(EDITED) == NEW
    (file,) = chainer.pyc.rglob('variable.*')
    file.write_bytes(file.read_bytes()[:size])
    printed = chainer.run(EDITED)
    assert printed == NEW if size < 16 else 'EOFError: marshal data too short' in printed


def test_chainer_that_changed_is_refused_though_its_code_is_there(chainer):
    assert chainer.run(EDITED) == NEW
    chainer.source.write_text('TEXT = 1\n')
    assert 'chainer.variable is not the one of Chainer 7.8.1' in chainer.run(EDITED)

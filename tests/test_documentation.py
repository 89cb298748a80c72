"""What the documents show is run or checked, block by block;
what they point to, and every public name, is there.
"""

import doctest
import importlib
import importlib.util
import io
import os
import pathlib
import pickle
import pkgutil
import re
import shlex
import subprocess
import sys
import textwrap

import chainer
import pytest

import chainer_lstm
from chainer_lstm.functions import config
from tests.support.engines import no_gpu

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted(ROOT.glob('docs/**/*.md'))]
DESIGN = [ROOT / 'docs' / 'design.md', *sorted(ROOT.glob('docs/design/*.md'))]
SOURCES = ('.cpp', '.cu', '.cuh', '.hpp', '.py')
EXAMPLES = sorted(ROOT.glob('examples/*/README.md'))
WITH_EXAMPLES = [
    path for path in sorted(ROOT.glob('chainer_lstm/**/*.py')) if '>>> ' in path.read_text('utf-8')
]
PUBLIC = (
    'cells',
    'datasets',
    'functions',
    'initializers',
    'interop',
    'links',
    'models',
    'optimizers',
    'training',
)
OPTIONAL = ('onnx', 'onnxruntime', 'torch')  # what a block may need and this environment may lack
FENCE = re.compile(r'^```(\S+)\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def blocks(path, *languages):
    """(language, line, text) of the fenced blocks of a document."""
    text = path.read_text(encoding='utf-8')
    return [
        (match[1], text.count('\n', 0, match.start(2)), match[2])
        for match in FENCE.finditer(text)
        if match[1] in languages
    ]


def commands(path):
    """The lines after a prompt, without their comments."""
    return [
        re.sub(r'  +#.*', '', line[2:])
        for _, _, text in blocks(path, 'console')
        for line in text.splitlines()
        if line.startswith('$ ')
    ]


def name(path):
    return path.relative_to(ROOT).as_posix()


def missing(text):
    """What a block needs and this machine has not, or None."""
    for package in OPTIONAL:
        if (
            re.search(rf'import {package}\b|export_{package}\b', text)
            and importlib.util.find_spec(package) is None
        ):
            return package
    return no_gpu() if '@cupy' in text else None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the blocks run: with files that genuine Chainer wrote,
    and a script of somebody who knows Chainer only.
    """
    monkeypatch.chdir(tmp_path)
    link = chainer.links.LSTM(3, 4)
    chainer.serializers.save_npz('old.npz', link)
    (tmp_path / 'old.pickle').write_bytes(pickle.dumps(link))
    (tmp_path / 'train.py').write_text(
        'import sys, chainer\nprint(sys.argv[1:], chainer.links.LSTM.__module__)\n'
    )
    return tmp_path


@pytest.mark.filterwarnings(
    'ignore::ResourceWarning'
)  # the files that the blocks open and leave to Python to close
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('path', PAGES, ids=name)
def test_python_runs(path, folder):
    """The blocks of a page in their order, as one program; ``>>>`` with what it prints."""
    scope, lacking = {'__name__': '__main__'}, set()
    before = dict(vars(chainer.global_config))
    try:
        for language, line, text in blocks(path, 'python', 'pycon'):
            if missing(text):
                lacking.add(missing(text))
            elif language == 'python':
                exec(compile('\n' * line + text, path, 'exec'), scope)
            else:
                test = doctest.DocTestParser().get_doctest(text, {}, name(path), str(path), line)
                test.globs, printed = scope, io.StringIO()
                runner = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST)
                assert not runner.run(test, out=printed.write, clear_globs=False).failed, (
                    printed.getvalue()
                )
    finally:
        chainer_lstm.uninstall()
        vars(chainer.global_config).update(before)
    if lacking:
        pytest.skip(f'all but the blocks that need what is not here: {", ".join(sorted(lacking))}')


@pytest.mark.parametrize('path', EXAMPLES, ids=name)
def test_python_of_an_example_is_in_its_script(path):
    scripts = ''.join(script.read_text(encoding='utf-8') for script in path.parent.glob('*.py'))
    for _, _, text in blocks(path, 'python'):
        for line in textwrap.dedent(text).splitlines():
            assert line == '...' or line.partition('  #')[0].strip() in scripts


@pytest.mark.parametrize('path', WITH_EXAMPLES, ids=name)
def test_docstring_examples_run(path):
    module = importlib.import_module(name(path.with_suffix('')).replace('/', '.'))
    assert not doctest.testmod(module).failed


@pytest.mark.parametrize(
    'command', sorted({command for path in (*PAGES, *EXAMPLES) for command in commands(path)})
)
def test_commands_are_right(command, folder):
    assert is_right(shlex.split(command))


def is_right(words):
    """Whether a command can be given so: ``-m chainer_lstm`` is run, of others the files,
    targets and options exist.
    """
    while '=' in words[0]:  # a variable of the environment
        words = words[1:]
    match words:
        case ['python', '-m', 'chainer_lstm', *_]:
            args = words[words.index('train.py') + 1 :]
            done = subprocess.run(
                [sys.executable, *words[1:]],
                env={**os.environ, 'PYTHONPATH': str(ROOT)},
                text=True,
                capture_output=True,
                check=True,
            )
            return done.stdout == f'{args} chainer_lstm.links.lstm\n'
        case ['python', '-m', 'pytest', *files]:
            return all((ROOT / file).exists() for file in files)
        case ['python', '-m', module, *_]:
            return importlib.util.find_spec(module)
        case ['mpiexec', '-n', count, *command]:
            return count.isdigit() and is_right(command)
        case ['python', 'train.py', *_]:
            return True  # the reader's
        case ['python', script, *args]:
            module = load(ROOT / script)
            return (module.parser().parse_args if hasattr(module, 'parser') else module.parse)(args)
        case ['make', target, *variables]:
            return all(
                (ROOT / file).exists()
                for variable in variables
                for file in re.findall(r'tests/\S+', variable)
            ) and re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.MULTILINE)
        case ['pip', 'install' | 'download', *args] | ['uv', 'pip', 'install', *args]:
            extras = {
                extra
                for arg in args
                for found in re.findall(r'\[(.+)\]', arg)
                for extra in found.split(',')
            }
            return extras <= set(
                re.findall(r'^(\w+) = \[', (ROOT / 'pyproject.toml').read_text(), re.MULTILINE)
            )
    return False  # a command of a kind that is not known here


def load(script):
    spec = importlib.util.spec_from_file_location('script', script)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(script.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(script.parent))
    return module


@pytest.mark.parametrize('path', [*PAGES, *EXAMPLES], ids=name)
def test_blocks_are_of_a_kind_that_is_tested(path):
    kinds = {match[1] for match in FENCE.finditer(path.read_text(encoding='utf-8'))}
    assert kinds <= {'python', 'pycon', 'console', 'text', '{toctree}'}


def test_picture_of_a_call_is_up_to_date():
    """Its names are those of the package, and the file is what the names draw."""
    pictures = load(ROOT / 'docs' / 'pictures.py')
    for name in filter(None, (box.name for box in pictures.BOXES.values())):
        if '/' in name:
            assert (ROOT / 'chainer_lstm' / name).is_file(), name
        else:
            pkgutil.resolve_name(f'chainer_lstm.{name}')
    svg = ROOT / 'docs' / 'design' / 'call.svg'
    assert svg.read_text(encoding='utf-8') == pictures.picture(), 'run python docs/pictures.py'


@pytest.mark.parametrize('path', DESIGN, ids=name)
def test_names_in_the_design_are_in_the_source(path):
    """A word in backquotes is the name of a file, or stands in one."""
    folders = [ROOT / folder for folder in ('benchmarks', 'chainer_lstm', 'tests')]
    files = [file for folder in folders for file in folder.rglob('*.*')]
    source = ''.join(file.read_text('utf-8') for file in files if file.suffix in SOURCES)
    words = {*re.findall(r'\w+', source), *(file.stem for file in files)}
    text = re.sub(FENCE, '', path.read_text(encoding='utf-8'))
    for code in re.findall(r'`([^`\n]+)`', text):
        assert {*re.findall(r'[A-Za-z_]\w+', code)} - {*SOURCES, 'name', 'Name'} <= words, code


def test_commands_that_are_wrong():
    """What would go unnoticed if the check took everything."""
    for command in (
        'make tset',
        'make test ARGS=tests/lniks',
        'python -m pytest tests/lniks',
        'python -m tests.nothing',
        "pip install '.[cuda42]'",
        'mpiexec -n two make test',
        'rm -r result',
    ):
        assert not is_right(shlex.split(command)), command
    with pytest.raises(SystemExit):
        is_right(['python', 'examples/ptb/train_ptb.py', '--pereset', 'small'])


@pytest.mark.parametrize('path', [*PAGES, *EXAMPLES], ids=name)
def test_links_lead_somewhere(path):
    for target in re.findall(r'\]\((?!http)([^)#]+)', path.read_text(encoding='utf-8')):
        assert (path.parent / target).exists(), target


def test_every_example_has_a_readme_with_a_command():
    assert len(EXAMPLES) == sum(folder.is_dir() for folder in (ROOT / 'examples').iterdir())
    assert all(commands(path) for path in EXAMPLES)


@pytest.mark.parametrize('module', PUBLIC)
def test_every_public_name_is_in_the_reference(module):
    page = (ROOT / 'docs' / 'reference' / f'{module}.rst').read_text()
    names = importlib.import_module(f'chainer_lstm.{module}').__all__
    found = re.findall(r'^.. (?:auto(?:class|function)|py:data):: (\w+)$', page, re.MULTILINE)
    assert sorted(found) == sorted(names)


def test_every_name_of_the_package_is_in_the_reference():
    page = (ROOT / 'docs' / 'reference' / 'package.rst').read_text()
    assert {*re.findall(r'^.. autofunction:: (\w+)$', page, re.MULTILINE)} == {
        'show_config',
        *chainer_lstm._INSTALLATION,
    }
    assert {*PUBLIC, 'kernels'} == {*chainer_lstm._MODULES}
    entries = {entry for entry in vars(chainer.global_config) if entry.startswith('lstm_')}
    assert entries and all(f'\n``{entry}``\n' in config.__doc__ for entry in entries)


def own(cls):
    """The public methods and properties that a class of this package defines or inherits from one
    that does.
    """
    for base in cls.__mro__:
        if base.__module__.startswith('chainer_lstm'):
            chainers = [
                each for each in cls.__mro__ if not each.__module__.startswith('chainer_lstm')
            ]
            for key, value in vars(base).items():
                if not key.startswith('_') and (
                    callable(value) or isinstance(value, (property, classmethod))
                ):
                    yield (
                        f'{base.__name__}.{key}',
                        value,
                        any(key in vars(each) for each in chainers),
                    )


@pytest.mark.parametrize('module', PUBLIC)
def test_every_public_name_has_a_docstring(module):
    """Methods of Chainer's that are overridden may be described there."""
    module = importlib.import_module(f'chainer_lstm.{module}')
    for public in module.__all__:
        value = getattr(module, public)
        assert value.__doc__, public
        for method, function, is_chainers in own(value) if isinstance(value, type) else ():
            assert function.__doc__ or is_chainers, method

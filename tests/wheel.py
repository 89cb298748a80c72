"""Check that the wheel works alone: ``python -m tests.wheel dist`` after ``make wheels``.

In an empty environment, in another folder and without a compiler, the wheel of this Python is
installed with what it needs, and the programs of README.md run on the native engine.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import venv

README = pathlib.Path(__file__).parents[1] / 'README.md'
BLOCK = re.compile(r'^```python\n(.*?)^```$', re.DOTALL | re.MULTILINE)
# in front of README's programs, which print what the comments beside their calls of print say
PROGRAM = """
import chainer_lstm
from chainer_lstm.kernels import native
assert 'site-packages' in chainer_lstm.__file__, chainer_lstm.__file__
assert native.library() is not None, 'expected the native engine, got a wheel without it'
"""


def wheel_in(folder):
    """The wheel of this Python in a folder."""
    tag = f'cp{sys.version_info.major}{sys.version_info.minor}'
    found = sorted(folder.glob(f'chainer_lstm-*-{tag}-*.whl'))
    if len(found) != 1:
        sys.exit(f'expected one wheel for {tag} in {folder}, got {len(found)}: run make wheels')
    return found[0]


def check_libraries(wheel):
    """That the wheel needs no library but those which every Linux of its age has."""
    shown = subprocess.run(
        [sys.executable, '-m', 'auditwheel', 'show', wheel], capture_output=True, text=True
    )
    tag = re.search(r'"(manylinux_\w+)"', shown.stdout)
    if shown.returncode != 0 or tag is None:
        sys.exit(f'expected a wheel for any Linux, auditwheel says: {shown.stdout}{shown.stderr}')
    return tag[1]


def check_readme(wheel, folder):
    """That a wheel runs README's programs where there is nothing else."""
    venv.create(folder, with_pip=True)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(('PYTHON', 'CHAINER', 'PIP_CONSTRAINT', 'PIP_BUILD_CONSTRAINT'))
    }
    environment.update(CC='false', CXX='false')
    blocks = BLOCK.findall(README.read_text('utf-8'))
    expected = [
        line for block in blocks for line in re.findall(r'^print\(.*?\s# (.*)$', block, re.M)
    ]

    def run(*arguments):
        return subprocess.run(
            [folder / 'bin' / 'python', *arguments],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.splitlines()

    run('-m', 'pip', 'install', '--quiet', '--find-links', wheel.parent, wheel)
    printed = run('-c', PROGRAM + '\n'.join(blocks))
    if not expected or printed != expected:
        sys.exit(f'expected README.md to print {expected}, got {printed}')


def main(folder):
    wheel = wheel_in(pathlib.Path(folder).resolve())
    tag = check_libraries(wheel) if sys.platform == 'linux' else sys.platform
    with tempfile.TemporaryDirectory() as environment:
        check_readme(wheel, pathlib.Path(environment))
    size = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {size:.1f} MB, {tag}; README's programs run with it alone")


if __name__ == '__main__':
    main(*sys.argv[1:])

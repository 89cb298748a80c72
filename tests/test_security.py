"""No line of the package, its examples and its benchmarks runs what a file or the network says,
or calls a shell.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(
    path.relative_to(ROOT)
    for folder in ('chainer_lstm', 'examples', 'benchmarks')
    for path in (ROOT / folder).rglob('*.py')
) + [
    pathlib.Path('_chainer_lstm_startup.py'),
    pathlib.Path('chainer_lstm.pth'),
    pathlib.Path('setup.py'),
]

# what runs code, programs or libraries, or reads from the network or from pickles
MODULES = {
    'code', 'ctypes', 'dill', 'http', 'imp', 'importlib', 'joblib', 'marshal', 'pickle', 'pty',
    'requests', 'runpy', 'shelve', 'socket', 'subprocess', 'tarfile', 'urllib', 'yaml',
}  # fmt: skip
BUILTINS = {'eval', 'exec', 'compile', '__import__'}
METHODS = {
    'os.system',
    'os.popen',
    '.load',
    '.loads',
    '.extract',
    '.extractall',
    '.source_to_code',
    '.exec_module',
}
# of these, what is there, and why
ALLOWED = {
    'chainer_lstm.pth': {
        'exec': 'a literal: a line of its own would have no room for a try statement'
    },
    'chainer_lstm/__init__.py': {'importlib': 'modules of this package'},
    'chainer_lstm/compat/__init__.py': {'importlib': "Chainer's modules, edited"},
    'chainer_lstm/compat/moved.py': {'importlib': 'modules of Chainer under their old names'},
    'chainer_lstm/compat/requirements.py': {'importlib': 'versions'},
    'chainer_lstm/configuration.py': {'importlib': 'versions'},
    'chainer_lstm/datasets/download.py': {
        'urllib': 'https, of files with a known hash',
        'http': 'its errors',
    },
    'chainer_lstm/gpu.py': {'importlib': 'whether there is CuPy'},
    'chainer_lstm/installation.py': {'importlib': "Chainer's modules"},
    'chainer_lstm/interop/npz_file.py': {
        '.load': 'arrays of a file from which no pickle is loaded'
    },
    'chainer_lstm/interop/loading.py': {'.load': 'as above'},
    'chainer_lstm/interop/sources.py': {
        '.load': 'tensors of a file of torch, which refuses all else: weights_only=True',
        'pickle': 'the error by which it does',
    },
    'chainer_lstm/interop/torch_module.py': {'.load': 'weights of a module'},
    'chainer_lstm/interop/weights.py': {'.load': 'arrays of a link'},
    'chainer_lstm/kernels/engines/cublas.py': {'ctypes': 'the library that CuPy has loaded'},
    'chainer_lstm/kernels/engines/numpy_updates.py': {'ctypes': 'addresses of arrays'},
    'chainer_lstm/kernels/native/__init__.py': {
        'ctypes': 'the library that was installed, and libc',
        'importlib': 'the name of that library, and the library as a module',
        '.exec_module': 'that library',
    },
    'chainer_lstm/kernels/native/missing.py': {
        'ctypes': 'why that library cannot be loaded',
        'importlib': 'where the package is installed',
        '.loads': "JSON, pip's note of where it came from",
        'urllib': 'the path in such an address',
    },
    'chainer_lstm/kernels/engines/verdicts.py': {'.loads': 'JSON, of what was measured'},
    'chainer_lstm/models/rnn_for_lm.py': {'.load': 'arrays that have been read'},
    'chainer_lstm/script/hints.py': {'runpy': 'its frames', 'importlib': 'its frames'},
    'chainer_lstm/script/own_code.py': {
        'importlib': "the user's modules",
        'runpy': 'to compile them as all others',
        'compile': "the user's script and modules",
    },
    'chainer_lstm/script/run.py': {
        'exec': "the user's script or module",
        'importlib': 'where it is',
    },
    'chainer_lstm/training/graphs.py': {'pickle': 'states of generators, to compare them'},
    'benchmarks/gpu.py': {
        'subprocess': 'itself, pytest and nvidia-smi, without a shell',
        'importlib': 'whether there is pytest',
        '.loads': 'JSON',
    },
    'benchmarks/gpu_device.py': {'importlib': 'CuPy'},
    'benchmarks/gpu_probes.py': {'importlib': 'torch'},
    'benchmarks/gpu_report.py': {'.loads': "JSON, the log of Chainer's LogReport"},
    'benchmarks/gpu_tasks.py': {
        'importlib': 'whether there is torch',
        'runpy': 'the PTB example',
    },
    'benchmarks/gpu_contestants.py': {'importlib': 'torch'},
    'benchmarks/language_model.py': {'importlib': 'torch'},
}


def dangerous(source):
    """The imports and calls of that kind, and every ``shell=`` and ``allow_pickle=``
    that is not False.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = (
                [node.module or '']
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
            yield from {name.split('.')[0] for name in names} & MODULES
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield from {name} & BUILTINS
            yield from (method for method in METHODS if name.endswith(method))
            yield from (
                f'{keyword.arg}='
                for keyword in node.keywords
                if keyword.arg in ('shell', 'allow_pickle')
                and ast.unparse(keyword.value) != 'False'
            )


@pytest.mark.parametrize('path', FILES, ids=str)
def test_only_what_is_allowed(path):
    found = set(dangerous((ROOT / path).read_text(encoding='utf-8')))
    assert found == set(ALLOWED.get(path.as_posix(), ())), (
        'say here why a new one is safe, drop those that are gone'
    )


def test_allowed_files_are_there():
    assert set(ALLOWED) <= {path.as_posix() for path in FILES}


@pytest.mark.parametrize(
    'source',
    [
        'import os; os.system(x)',
        'import subprocess\nsubprocess.run(x, shell=True)',
        'f(x, shell=flag)',
        'eval(x)',
        'import pickle',
        'from pickle import load',
        'numpy.load(x)',
        'numpy.save(x, y, allow_pickle=True)',
        'torch.load(x)',
        'import numpy.lib, dill',
        'tar.extractall()',
        '__import__(x)',
    ],
)
def test_what_would_be_found(source):
    assert list(dangerous(source))

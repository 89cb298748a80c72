"""The C++ of the CPU engine; everything else about the package is in pyproject.toml."""
from pathlib import Path

from setuptools import Extension
from setuptools import setup

FOLDER = Path('chainer_lstm/kernels/native')

setup(ext_modules=[Extension(
    'chainer_lstm.kernels.native._native',
    sorted(str(path) for path in FOLDER.glob('*.cpp')),
    depends=sorted(map(str, [*FOLDER.glob('*.hpp'), *Path('chainer_lstm/kernels/cuda').glob('*.cuh')])),
    language='c++',
    extra_compile_args=['-std=c++17', '-O3', '-Wno-psabi', '-fvisibility=hidden', '-pthread'],
    extra_link_args=['-pthread'],
    optional=True,  # without a compiler NumPy computes
)])

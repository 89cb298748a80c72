"""Build the C++ of the CPU engine, and install the .pth file.

Everything else about the package is in pyproject.toml.
"""

from distutils.command.install_data import install_data  # setuptools', which is imported before
from pathlib import Path

import setuptools

FOLDER = Path('chainer_lstm/kernels/native')


class InstallData(install_data):
    """Install ``data_files`` beside the package: Python reads .pth files only there."""

    def finalize_options(self):
        self.set_undefined_options('install', ('install_lib', 'install_dir'))
        super().finalize_options()


class Distribution(setuptools.Distribution):
    # editable_wheel installs data_files if there is a method of this name, and there is none
    has_data = setuptools.Distribution.has_data_files


setuptools.setup(
    distclass=Distribution,
    cmdclass={'install_data': InstallData},
    data_files=[('', ['chainer_lstm.pth'])],
    ext_modules=[
        setuptools.Extension(
            'chainer_lstm.kernels.native._native',
            sorted(str(path) for path in FOLDER.glob('*.cpp')),
            depends=sorted(
                map(str, [*FOLDER.glob('*.hpp'), *Path('chainer_lstm/cells').glob('*.cuh')])
            ),
            language='c++',
            extra_compile_args=[
                '-std=c++17',
                '-O3',
                '-g0',  # a wheel of a third of the size, built faster
                '-fno-math-errno',  # lets square roots be vectors
                '-Wno-psabi',
                '-fvisibility=hidden',
                '-pthread',
            ],
            extra_link_args=['-pthread'],
            optional=True,  # without a compiler the NumPy engine is used
        )
    ],
)

"""The libraries of the stand-in, and the process that CuPy uses them in."""

import collections
import contextlib
import ctypes
import functools
import importlib.util
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time

_FOLDER = 'CHAINER_LSTM_TEST_GPU_STAND_IN'  # environment variable: where the libraries are
_SOURCE = pathlib.Path(__file__).with_name('cuda.c')
_DRIVER = 'libcuda.so.1'
_LIBRARY = re.compile(r'U (\w+)@(lib(?:cublas|curand|cusolver|cusparse)\.so\.\d+)')
_NOT_RECORDED = re.compile(r'cu[a-z]+(Create|Destroy|Get|Set)')
_RUNTIME = re.compile(r'(\w+) [tT] (cuda[A-Z]\w*?)(?:_pt[sd][sz])?$', re.MULTILINE)
# mov rax, address; jmp rax
_JUMP = b'\x48\xb8%s\xff\xe0'
_PAGE = 4096


@functools.cache
def missing():
    """What this machine lacks for the stand-in, or None."""
    if sys.platform != 'linux' or platform.machine() != 'x86_64':
        return f'the stand-in is made for Linux on x86-64; this is {platform.platform()}'
    for tool in 'gcc', 'nm':
        if shutil.which(tool) is None:
            return f'no {tool} to make the stand-in with'
    try:
        import cupy
    except ImportError as error:
        return f'CuPy cannot be imported: {error}'
    if int(cupy.__version__.partition('.')[0]) < 14:
        return f'the stand-in is made for CuPy 14 and later, this is {cupy.__version__}'
    return None


def build(folder):
    """Make the libraries in a folder -> environment variables for ``install`` in a process."""
    _compile(_SOURCE.read_text(), folder / _DRIVER)
    functions = collections.defaultdict(set)
    for path in sorted(_backends().joinpath('cuda', 'libs').glob('*.so')):
        for function, library in _LIBRARY.findall(_nm('--dynamic', '--undefined-only', path)):
            functions[library].add(function)
            if function == 'cublasGemmEx':
                functions[library].add('cublasSetWorkspace_v2')  # that CuPy does without
    for library, names in functions.items():
        text = ''.join(map(_stub, sorted(names)))
        versions = folder / 'versions'
        versions.write_text(f'{library} {{ global: *; }};')
        _compile(
            f'void record(const char*);\n{text}',
            folder / library,
            f'-Wl,--version-script={versions}',
            f'-L{folder}',
            f'-l:{_DRIVER}',
        )
    return {
        **os.environ,
        _FOLDER: str(folder),
        'CUPY_ACCELERATORS': '',  # CUB has a runtime of its own
        'CUPY_CACHE_DIR': str(folder / 'cache'),
        'READTHEDOCS': 'True',  # lets CuPy take libraries that are loaded already
    }


def _stub(name):
    record = '' if _NOT_RECORDED.match(name) else f'record("{name}"); '
    return f'int {name}(void) {{ {record}return 0; }}\n'


def _compile(text, path, *options):
    command = ['gcc', '-x', 'c', '-O1', '-fPIC', '-shared', f'-Wl,-soname,{path.name}']
    subprocess.run([*command, '-o', path, '-', *options], input=text, text=True, check=True)


def _nm(*arguments):
    return subprocess.run(['nm', *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def _backends():
    (folder,) = importlib.util.find_spec('cupy_backends').submodule_search_locations
    return pathlib.Path(folder)


@functools.cache
def _cuda():
    return ctypes.CDLL(pathlib.Path(os.environ[_FOLDER], _DRIVER), mode=ctypes.RTLD_GLOBAL)


def install():
    """Let CuPy, which is not imported yet, use the stand-in in this process."""
    assert 'cupy' not in sys.modules
    cuda = _cuda()
    for library in pathlib.Path(os.environ[_FOLDER]).glob('*.so.*'):
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        if library.stem == 'libcublas.so':
            _set('version', 1000 * int(library.suffix[1:]))
    from cupy_backends.cuda.api import runtime

    with open('/proc/self/maps') as maps:
        base = min(int(line.split('-')[0], 16) for line in maps if runtime.__file__ in line)
    protect = ctypes.CDLL(None).mprotect
    everything = 7  # read, write, execute
    for offset, name in _RUNTIME.findall(_nm(runtime.__file__)):
        function = getattr(cuda, name, cuda.succeed)
        target = ctypes.cast(function, ctypes.c_void_p).value
        code = _JUMP % target.to_bytes(8, 'little')
        address = base + int(offset, 16)
        page = address // _PAGE * _PAGE
        assert protect(ctypes.c_void_p(page), ctypes.c_size_t(2 * _PAGE), everything) == 0
        ctypes.memmove(address, code, len(code))


def set_occupancy(blocks):
    """Let a multiprocessor hold so many blocks of a kernel."""
    _set('occupancy', blocks)


def _set(name, value):
    ctypes.c_int.in_dll(_cuda(), name).value = value


class Calls:
    """The calls of a block of code.

    Attributes:
        names: how often each kernel, product, copy and synchronization was called.
        seconds: of the host's processor.
    """

    def __init__(self):
        self.names = collections.Counter()
        self.seconds = 0.0

    def sum(self, pattern):
        """Return the number of calls whose whole name matches."""
        return sum(n for name, n in self.names.items() if re.fullmatch(pattern, name))

    def summary(self):
        """Return the numbers of launches, copies (fills among them) and synchronizations."""
        return {
            'launches': self.sum(r'[^\[].*'),
            'copies': self.sum(r'\[(.*copy.*|fill)\]'),
            'synchronizations': self.sum(r'\[(synchronization|waiting.*)\]'),
        }


@contextlib.contextmanager
def recorded():
    """Record the calls in a block of code."""
    cuda, calls = _cuda(), Calls()
    count = ctypes.c_int.in_dll(cuda, 'n_calls')
    count.value = 0
    start = time.thread_time()
    yield calls
    calls.seconds = time.thread_time() - start
    names = (ctypes.c_char_p * count.value).in_dll(cuda, 'calls')
    calls.names.update(name.decode() for name in names)

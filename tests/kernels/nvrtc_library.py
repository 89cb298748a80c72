"""An NVRTC by the path of its library, with the functions of CuPy's module."""

import ctypes
import pathlib


class NVRTCError(RuntimeError):
    """A call of NVRTC failed."""


class Library:
    """An NVRTC beside the one that CuPy loads.

    Args:
        path: of ``libnvrtc.so.*``.
    """

    NVRTCError = NVRTCError

    def __init__(self, path):
        for builtins in pathlib.Path(path).parent.glob('libnvrtc-builtins.so.*'):
            ctypes.CDLL(builtins)  # NVRTC would look for it in the system's folders alone
        self._library = ctypes.CDLL(path)

    def getVersion(self):
        numbers = ctypes.c_int(), ctypes.c_int()
        self._call('nvrtcVersion', *map(ctypes.byref, numbers))
        return tuple(number.value for number in numbers)

    def getSupportedArchs(self):
        count = ctypes.c_int()
        self._call('nvrtcGetNumSupportedArchs', ctypes.byref(count))
        found = (ctypes.c_int * count.value)()
        self._call('nvrtcGetSupportedArchs', found)
        return [*found]

    def createProgram(self, source, name, headers, include_names):
        assert not headers and not include_names
        handle = ctypes.c_void_p()
        text, name = source.encode(), name.encode()
        self._call('nvrtcCreateProgram', ctypes.byref(handle), text, name, 0, None, None)
        return handle

    def compileProgram(self, handle, options):
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        self._call('nvrtcCompileProgram', handle, len(given), given)

    def getProgramLog(self, handle):
        return self._text('ProgramLog', handle).decode()

    def getPTX(self, handle):
        return self._text('PTX', handle)

    def getCUBIN(self, handle):
        return self._text('CUBIN', handle)

    def destroyProgram(self, handle):
        self._call('nvrtcDestroyProgram', ctypes.byref(handle))

    def _text(self, name, handle):
        size = ctypes.c_size_t()
        self._call(f'nvrtcGet{name}Size', handle, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call(f'nvrtcGet{name}', handle, text)
        return text.raw.rstrip(b'\0') if name != 'CUBIN' else text.raw

    def _call(self, name, *arguments):
        result = self._library[name](*arguments)
        if result:
            raise NVRTCError(f'{name} returned {result}')

"""CUDA in the containers of an emulated machine, for programs that ask its driver: a `libcuda.so.1` that is not there.

A Python that starts with this folder's `sitecustomize.py` on its path finds one when it loads it with ctypes. The real
library is C; what it returns is all that can be told from within Python.
"""

from pathlib import Path

SITE_CUSTOMIZE = '''\
"""Loading libcuda by ctypes answers a stand-in."""

import ctypes

CU_INIT, GPUS = {cu_init}, {gpus}
real = ctypes.CDLL


class Function:
    argtypes = restype = None

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, *arguments):
        return self.answer(*arguments)


def count(pointer):
    ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = GPUS
    return CU_INIT


class Cuda:
    def __init__(self):
        self.cuInit = Function(lambda flags: CU_INIT)
        self.cuDeviceGetCount = Function(count)


def load(name, *arguments, **named):
    return Cuda() if name and "libcuda" in str(name) else real(name, *arguments, **named)


class Loading(real):
    def __new__(cls, name=None, *arguments, **named):
        return load(name, *arguments, **named)


ctypes.CDLL = Loading
ctypes.cdll = ctypes.LibraryLoader(Loading)
'''


def make(folder: Path, cu_init: int, gpus: int) -> None:
    """Writes it into the folder, to be put on PYTHONPATH."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE_CUSTOMIZE.format(cu_init=cu_init, gpus=gpus))

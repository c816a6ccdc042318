"""The emulated libraries from Python: what their own tests call."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_size_t, c_uint64, c_void_p
from pathlib import Path

import numpy as np

INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED = 1, 2, 3
INVALID_CONTEXT, INVALID_HANDLE, NOT_FOUND, NOT_READY = 201, 400, 500, 600
ILLEGAL_ADDRESS, LAUNCH_OUT_OF_RESOURCES, MISALIGNED, LAUNCH_FAILED = 700, 701, 716, 719
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, CAPTURE_UNJOINED = 900, 901, 904
CAPTURE_ISOLATION, CAPTURE_IMPLICIT, CAPTURED_EVENT = 905, 906, 907
NON_BLOCKING = 1
GLOBAL, RELAXED = 0, 2


def check(result: int) -> None:
    assert result == 0, f"error {result}"


class Gpu:
    """A context of the emulated driver, with helpers that fail on any error."""

    def __init__(self, libraries: Path) -> None:
        self.cuda = ctypes.CDLL(str(libraries / "libcuda.so.1"))
        self.nvrtc = ctypes.CDLL(str(libraries / "libnvrtc.so.13"))
        check(self.cuda.cuInit(0))
        self.context = c_void_p()
        check(self.cuda.cuDevicePrimaryCtxRetain(byref(self.context), 0))
        check(self.cuda.cuCtxSetCurrent(self.context))

    def close(self) -> None:
        check(self.cuda.cuDevicePrimaryCtxRelease_v2(0))

    def compile(self, source: str, *options: str) -> tuple[int, bytes, str]:
        """The result of the compilation, the image and the log."""
        program, size = c_void_p(), c_size_t()
        text = source.encode()
        check(self.nvrtc.nvrtcCreateProgram(byref(program), text, b"test.cu", 0, None, None))
        words = [word.encode() for word in ("--gpu-architecture=sm_90", *options)]
        array = (ctypes.c_char_p * len(words))(*words)
        result = self.nvrtc.nvrtcCompileProgram(program, len(words), array)
        check(self.nvrtc.nvrtcGetProgramLogSize(program, byref(size)))
        log = ctypes.create_string_buffer(size.value)
        check(self.nvrtc.nvrtcGetProgramLog(program, log))
        check(self.nvrtc.nvrtcGetCUBINSize(program, byref(size)))
        image = ctypes.create_string_buffer(size.value)
        check(self.nvrtc.nvrtcGetCUBIN(program, image))
        check(self.nvrtc.nvrtcDestroyProgram(byref(program)))
        return result, image.raw, log.value.decode()

    def load(self, image: bytes) -> c_void_p:
        module = c_void_p()
        check(self.cuda.cuModuleLoadData(byref(module), image))
        return module

    def function(self, module: c_void_p, name: str) -> c_void_p:
        function = c_void_p()
        check(self.cuda.cuModuleGetFunction(byref(function), module, name.encode()))
        return function

    def launch(self, function, grid, block, *arguments, shared=0, stream=None) -> int:
        pad = lambda shape: (*shape, 1, 1)[:3]  # noqa: E731
        pointers = (c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        return self.cuda.cuLaunchKernel(
            function, *pad(grid), *pad(block), shared, stream, pointers, None
        )

    def alloc(self, size: int) -> c_uint64:
        pointer = c_uint64()
        check(self.cuda.cuMemAlloc_v2(byref(pointer), c_size_t(size)))
        return pointer

    def pinned(self, count: int, dtype: str) -> np.ndarray:
        pointer, size = c_void_p(), count * np.dtype(dtype).itemsize
        check(self.cuda.cuMemHostAlloc(byref(pointer), c_size_t(size), 0))
        raw = (ctypes.c_char * size).from_address(pointer.value or 0)
        return np.frombuffer(raw, dtype=dtype)

    def put(self, pointer: c_uint64, array: np.ndarray, stream: c_void_p | None = None) -> None:
        size = c_size_t(array.nbytes)
        check(self.cuda.cuMemcpyHtoDAsync_v2(pointer, c_void_p(array.ctypes.data), size, stream))

    def get(self, array: np.ndarray, pointer: c_uint64, stream: c_void_p | None = None) -> int:
        size = c_size_t(array.nbytes)
        return self.cuda.cuMemcpyDtoHAsync_v2(c_void_p(array.ctypes.data), pointer, size, stream)

    def upload(self, array: np.ndarray) -> c_uint64:
        pointer = self.alloc(array.nbytes)
        self.put(pointer, array)
        return pointer

    def download(self, pointer: c_uint64, count: int, dtype: str) -> np.ndarray:
        array = np.empty(count, dtype)
        check(self.get(array, pointer))
        return array

    def stream(self, flags: int = NON_BLOCKING) -> c_void_p:
        stream = c_void_p()
        check(self.cuda.cuStreamCreateWithPriority(byref(stream), flags, 0))
        return stream

    def event(self) -> c_void_p:
        event = c_void_p()
        check(self.cuda.cuEventCreate(byref(event), 0))
        return event

    def begin_capture(self, stream: c_void_p, mode: int = RELAXED) -> None:
        check(self.cuda.cuStreamBeginCapture_v2(stream, mode))

    def end_capture(self, stream: c_void_p) -> c_void_p:
        """What was captured, ready to be launched."""
        graph, executable = c_void_p(), c_void_p()
        check(self.cuda.cuStreamEndCapture(stream, byref(graph)))
        check(self.cuda.cuGraphInstantiateWithFlags(byref(executable), graph, c_uint64()))
        check(self.cuda.cuGraphDestroy(graph))
        return executable

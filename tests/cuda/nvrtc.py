"""NVIDIA's own compiler through ctypes: needs the wheel nvidia-cuda-nvrtc, but no GPU.

It lives in a process of its own: beside the emulated compiler, whose functions have the same
names, it crashes.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cubin import kernels


@functools.cache
def library() -> Any:
    found = importlib.util.find_spec("nvidia.cu13")
    assert found is not None and found.submodule_search_locations, "pip install nvidia-cuda-nvrtc"
    folder = Path(next(iter(found.submodule_search_locations))) / "lib"
    # libnvrtc finds its built-ins only where the loader has them already.
    ctypes.CDLL(str(next(folder.glob("libnvrtc-builtins.so*"))), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(folder / "libnvrtc.so.13"))


@functools.cache
def worker() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def compile_source(
    source: str, architecture: str = "sm_80", frame_bytes: int = 32
) -> tuple[bytes, str]:
    """The machine code and the compiler's warnings; AssertionError with its log if it fails.

    Every kernel has to fit on a GPU with the blocks that it declares, and to keep what it computes
    with in registers: a frame of `frame_bytes`, in slow memory, is for a few of them.
    """
    code, log = worker().submit(compile_here, source, architecture).result()
    found = kernels(code)
    problems = [text for kernel in found for text in kernel.problems(architecture, frame_bytes)]
    assert found and not problems, problems
    return code, log


def compile_here(source: str, architecture: str) -> tuple[bytes, str]:
    nvrtc, program = library(), ctypes.c_void_p()
    size = ctypes.c_size_t()
    made = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None
    )
    assert made == 0
    options = [f"--gpu-architecture={architecture}", "--std=c++17", "-default-device"]
    names = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    result = nvrtc.nvrtcCompileProgram(program, len(options), names)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert result == 0, log.value.decode()
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    code = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, code)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return code.raw, log.value.decode()

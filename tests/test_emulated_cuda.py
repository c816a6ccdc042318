"""The emulated GPU itself: what tests of CUDA code rely on, through the real libraries' interface.

Each test has a context of its own, so an error that makes a context unusable ends with it.
"""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from ctypes import byref, c_float, c_int, c_int64, c_size_t, c_uint64, c_void_p
from pathlib import Path

import numpy as np
import pytest
from emulated_cuda.build import build
from emulated_cuda.client import (
    CAPTURE_IMPLICIT,
    CAPTURE_INVALIDATED,
    CAPTURE_ISOLATION,
    CAPTURE_UNJOINED,
    CAPTURE_UNSUPPORTED,
    CAPTURED_EVENT,
    GLOBAL,
    ILLEGAL_ADDRESS,
    INVALID_HANDLE,
    INVALID_VALUE,
    LAUNCH_FAILED,
    LAUNCH_OUT_OF_RESOURCES,
    MISALIGNED,
    NON_BLOCKING,
    NOT_FOUND,
    NOT_READY,
    OUT_OF_MEMORY,
    RELAXED,
    Gpu,
    check,
)

KERNELS = r"""
extern "C" __global__ void saxpy(int n, float a, const float* x, float* y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}

template <typename T>
__device__ T block_sum(T value) {
  __shared__ T partial[32];
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_down_sync(0xffffffffu, value, offset);
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  value = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : T(0);
  if (threadIdx.x < 32) {
    for (int offset = 16; offset > 0; offset /= 2) {
      value += __shfl_down_sync(0xffffffffu, value, offset);
    }
  }
  return value;
}

extern "C" __global__ void __launch_bounds__(256) sum(int n, const double* x, double* out) {
  double value = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    value += x[i];
  }
  value = block_sum(value);
  if (threadIdx.x == 0) atomicAdd(out, value);
}

// Reverses each block's part through dynamic shared memory; the barrier may be left out.
template <bool with_barrier>
__device__ void reverse_block(int* x) {
  int* buffer = static_cast<int*>(emulated_dynamic_shared());
  int* own = x + blockIdx.x * blockDim.x;
  buffer[threadIdx.x] = own[threadIdx.x];
  if (with_barrier) __syncthreads();
  own[threadIdx.x] = buffer[blockDim.x - 1 - threadIdx.x];
}
extern "C" __global__ void reverse(int* x) { reverse_block<true>(x); }
extern "C" __global__ void reverse_without_barrier(int* x) { reverse_block<false>(x); }

struct Pair { char first; long long second; };
extern "C" __global__ void warps(Pair pair, int* out) {
  int lane = threadIdx.x % 32;
  unsigned ballot = __ballot_sync(0xffffffffu, lane % 3 == 0);
  int up = __shfl_up_sync(0xffffffffu, lane, 1), swapped = __shfl_xor_sync(0xffffffffu, lane, 1);
  int first = __shfl_sync(0xffffffffu, lane, 0, 8);
  int all = __all_sync(0xffffffffu, lane < 32), any = __any_sync(0xffffffffu, lane == 40);
  int count = __syncthreads_count(lane == 1);
  int* row = out + 8 * threadIdx.x;
  row[0] = ballot; row[1] = up; row[2] = swapped; row[3] = first;
  row[4] = all; row[5] = any; row[6] = count; row[7] = pair.first + (int)pair.second;
}

extern "C" __global__ void histogram(const int* x, int n, unsigned* counts, int* largest) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  atomicAdd(&counts[x[i]], 1u);
  atomicMax(largest, x[i]);
}

extern "C" __global__ void last_block(int* ticket, int* last) {
  int number = atomicAdd(ticket, 1);
  __threadfence();
  if (number == gridDim.x - 1) *last = blockIdx.x;
}

extern "C" __global__ void shape(int* out) {
  int i = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + i] = 1000 * block + i;
}

extern "C" __global__ void past_the_end(float* x, int n) { x[n] = 1; }
extern "C" __global__ void misaligned(float* x) { *(double*)(x + 1) = 1; }
extern "C" __global__ void outside_array(float* x) {
  __shared__ float part[16];
  part[threadIdx.x] = x[0];
  x[threadIdx.x] = part[threadIdx.x / 2];
}
extern "C" __global__ void never_written(float* x) {
  __shared__ float part[64];
  x[threadIdx.x] = part[threadIdx.x];
}
extern "C" __global__ void stuck(int* x) {
  if (threadIdx.x == 3) return;
  __syncthreads();
  *x = 1;
}

extern "C" __global__ void functions(const float* x, float* out) {
  float v = x[threadIdx.x];
  float* row = out + 8 * threadIdx.x;
  row[0] = erfinvf(v); row[1] = rsqrtf(v); row[2] = lgammaf(v); row[3] = exp(v);
  row[4] = emulated_half_to_float(emulated_float_to_half(v));
  row[5] = emulated_bfloat_to_float(emulated_float_to_bfloat(v));
  row[6] = sinpif(v); row[7] = __uint_as_float(__brev(__float_as_uint(v)));
}
"""


@pytest.fixture(scope="module")
def libraries() -> Path:
    return build()


@pytest.fixture(scope="module")
def image(libraries: Path) -> bytes:
    gpu = Gpu(libraries)
    result, image, log = gpu.compile(KERNELS)
    gpu.close()
    assert result == 0, log
    return image


@pytest.fixture
def gpu(libraries: Path) -> Iterator[Gpu]:
    gpu = Gpu(libraries)
    yield gpu
    gpu.close()


@pytest.fixture
def kernels(gpu: Gpu, image: bytes) -> c_void_p:
    return gpu.load(image)


# ---- Kernels


def test_saxpy(gpu, kernels):
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 1000), "f4")
    on_x, on_y = gpu.upload(x), gpu.upload(y)
    saxpy = gpu.function(kernels, "saxpy")
    check(gpu.launch(saxpy, (4,), (256,), c_int(1000), c_float(2), on_x, on_y))
    np.testing.assert_array_equal(gpu.download(on_y, 1000, "f4"), 2 * x + y)


@pytest.mark.parametrize("threads", [32, 256])
def test_block_reduction(gpu, kernels, threads):
    x = np.arange(5000.0)
    out = gpu.upload(np.zeros(1))
    total = gpu.function(kernels, "sum")
    check(gpu.launch(total, (7,), (threads,), c_int(5000), gpu.upload(x), out))
    assert gpu.download(out, 1, "f8")[0] == x.sum()


def test_dynamic_shared_memory_and_a_missing_barrier(gpu, kernels):
    x = np.arange(128, dtype="i4")
    right = x.reshape(2, 64)[:, ::-1].ravel()
    for name, is_right in [("reverse", True), ("reverse_without_barrier", False)]:
        pointer = gpu.upload(x)
        function = gpu.function(kernels, name)
        check(gpu.launch(function, (2,), (64,), pointer, shared=256))
        assert np.array_equal(gpu.download(pointer, 128, "i4"), right) == is_right
    function = gpu.function(kernels, "reverse")
    too_much = 100 << 10
    assert gpu.launch(function, (1,), (64,), pointer, shared=too_much) == INVALID_VALUE
    check(gpu.cuda.cuFuncSetAttribute(function, 8, too_much))
    check(gpu.launch(function, (1,), (64,), pointer, shared=too_much))


def test_warp_operations(gpu, kernels):
    class Pair(ctypes.Structure):
        _fields_ = [("first", ctypes.c_char), ("second", c_int64)]

    threads = 48  # the second warp is not full
    out = gpu.alloc(4 * 8 * threads)
    check(gpu.launch(gpu.function(kernels, "warps"), (1,), (threads,), Pair(b"\2", 40), out))
    rows = gpu.download(out, 8 * threads, "u4").reshape(threads, 8)
    lanes = np.arange(threads) % 32
    ballot = sum(1 << lane for lane in range(0, 32, 3))
    half = ballot & 0xFFFF
    assert list(rows[:, 0]) == [ballot] * 32 + [half] * 16
    assert list(rows[:, 1]) == list(np.maximum(lanes - 1, 0))
    assert list(rows[:, 2]) == list(lanes ^ 1)
    assert list(rows[:, 3]) == list(lanes // 8 * 8)
    assert (rows[:, 4:] == [1, 0, 2, 42]).all()


def test_atomics(gpu, kernels):
    x = np.random.default_rng(1).integers(0, 10, 3000).astype("i4")
    counts, largest = gpu.upload(np.zeros(10, "u4")), gpu.upload(np.zeros(1, "i4"))
    histogram = gpu.function(kernels, "histogram")
    check(gpu.launch(histogram, (12,), (256,), gpu.upload(x), c_int(3000), counts, largest))
    np.testing.assert_array_equal(gpu.download(counts, 10, "u4"), np.bincount(x, minlength=10))
    assert gpu.download(largest, 1, "i4")[0] == 9


def test_blocks_run_in_no_fixed_order(gpu, kernels):
    last_block = gpu.function(kernels, "last_block")
    seen = set()
    for _ in range(8):
        ticket, last = gpu.upload(np.zeros(1, "i4")), gpu.alloc(4)
        check(gpu.launch(last_block, (50,), (1,), ticket, last))
        seen.add(gpu.download(last, 1, "i4")[0])
    assert len(seen) > 1 and all(0 <= block < 50 for block in seen)


def test_every_block_and_thread_runs_once(gpu, kernels):
    out = gpu.alloc(4 * 30 * 24)
    check(gpu.launch(gpu.function(kernels, "shape"), (2, 3, 5), (4, 3, 2), out))
    block, thread = np.divmod(np.arange(30 * 24), 24)
    np.testing.assert_array_equal(gpu.download(out, 30 * 24, "i4"), 1000 * block + thread)


def test_functions(gpu, kernels):
    x = np.array([0.1, 0.5, 0.75, 0.999, 1 / 3, 1e-3, 6e-8, 1e-7], "f4")
    out = gpu.alloc(4 * 8 * 8)
    check(gpu.launch(gpu.function(kernels, "functions"), (1,), (8,), gpu.upload(x), out))
    rows = gpu.download(out, 64, "f4").reshape(8, 8)
    assert np.allclose([math.erf(y) for y in rows[:, 0]], x, rtol=1e-6)
    assert np.allclose(rows[:, 1], 1 / np.sqrt(x), rtol=1e-6)
    assert np.allclose(rows[:, 2], [math.lgamma(y) for y in x], rtol=1e-6)
    assert np.allclose(rows[:, 3], np.exp(x), rtol=1e-6)
    np.testing.assert_array_equal(rows[:, 4], x.astype("f2").astype("f4"))
    assert np.allclose(rows[:, 5], x, rtol=2**-8)
    assert not (rows[:, 5].view("u4") & 0xFFFF).any()
    assert np.allclose(rows[:, 6], np.sin(np.pi * x.astype("f8")), rtol=1e-6)
    backwards = [int(f"{bits:032b}"[::-1], 2) for bits in x.view("u4")]
    assert list(rows[:, 7].copy().view("u4")) == backwards


def test_shared_memory_holds_nothing_at_first(gpu, kernels):
    pointer = gpu.upload(np.zeros(64, "f4"))
    check(gpu.launch(gpu.function(kernels, "never_written"), (1,), (64,), pointer))
    assert np.isnan(gpu.download(pointer, 64, "f4")).all()


def test_errors_of_kernels(gpu, image, capfd):
    x = np.zeros(64, "f4")
    for name, arguments, error, words in [
        ("past_the_end", [c_int(64)], ILLEGAL_ADDRESS, "0 bytes past the end of the 256 bytes"),
        ("misaligned", [], MISALIGNED, "misaligned"),
        ("outside_array", [], MISALIGNED, "an index outside an array in thread ("),
        ("stuck", [], LAUNCH_FAILED, "1 have exited, 31 wait at __syncthreads"),
    ]:
        kernels = gpu.load(image)
        pointer = gpu.upload(x)
        check(gpu.cuda.cuCtxSynchronize())
        check(gpu.launch(gpu.function(kernels, name), (1,), (32,), pointer, *arguments))
        assert gpu.cuda.cuCtxSynchronize() == error
        assert words in capfd.readouterr().err
        # The context is lost; releasing it makes a new one possible.
        assert gpu.cuda.cuMemAlloc_v2(byref(c_uint64()), c_size_t(4)) == error
        gpu.close()
        check(gpu.cuda.cuDevicePrimaryCtxRetain(byref(gpu.context), 0))


def test_errors_of_launches(gpu, kernels):
    saxpy, total = gpu.function(kernels, "saxpy"), gpu.function(kernels, "sum")
    arguments = c_int(0), c_float(0), c_uint64(), c_uint64()
    assert gpu.launch(saxpy, (1,), (1025,), *arguments) == INVALID_VALUE
    assert gpu.launch(saxpy, (0,), (1,), *arguments) == INVALID_VALUE
    assert gpu.launch(saxpy, (1, 65536), (1,), *arguments) == INVALID_VALUE
    assert gpu.launch(total, (1,), (512,), *arguments) == LAUNCH_OUT_OF_RESOURCES
    assert gpu.launch(saxpy, (1,), (1,), *arguments, stream=c_void_p(64)) == INVALID_HANDLE
    result = gpu.cuda.cuModuleGetFunction(byref(c_void_p()), kernels, b"nothing")
    assert result == NOT_FOUND
    check(gpu.cuda.cuModuleUnload(kernels))
    assert gpu.launch(saxpy, (1,), (1,), *arguments) == INVALID_HANDLE


def test_host_pointers_as_arguments(gpu, kernels, capfd):
    saxpy, on_host, good = gpu.function(kernels, "saxpy"), np.zeros(4, "f4"), gpu.alloc(16)
    end = c_uint64(good.value + 16)
    check(gpu.launch(saxpy, (1,), (1,), c_int(0), c_float(0), c_uint64(), end))
    address = c_uint64(on_host.ctypes.data)
    result = gpu.launch(saxpy, (1,), (1,), c_int(4), c_float(0), good, address)
    assert result == ILLEGAL_ADDRESS
    assert "saxpy: parameter 3 is no device pointer" in capfd.readouterr().err


def test_compiler(gpu):
    result, image, log = gpu.compile("__global__ void f(int* x) {\n  *x = nonsense;\n}")
    assert result == 6 and not image and "test.cu:2" in log and "nonsense" in log
    result, _, log = gpu.compile("", "--no-such-option")
    assert result == 5 and "--no-such-option" in log
    source = """
    // __global__ void in_a_comment(
    #ifdef SECOND
    extern "C" __global__ void second(int* x) { *x = VALUE; }
    #endif
    extern "C" __global__ __launch_bounds__(64, 2) void first(int* x) { *x = VALUE; }
    """
    result, image, log = gpu.compile(source, "-DVALUE=7", "--std=c++17", "--fmad=false")
    assert result == 0, log
    module, out = gpu.load(image), gpu.alloc(4)
    assert gpu.cuda.cuModuleGetFunction(byref(c_void_p()), module, b"second") == NOT_FOUND
    first, threads = gpu.function(module, "first"), c_int()
    check(gpu.cuda.cuFuncGetAttribute(byref(threads), 0, first))
    assert threads.value == 64
    check(gpu.launch(first, (1,), (1,), out))
    assert gpu.download(out, 1, "i4")[0] == 7


# ---- Memory


def test_memory(gpu, capfd):
    free, total = c_size_t(), c_size_t()
    check(gpu.cuda.cuMemGetInfo_v2(byref(free), byref(total)))
    assert total.value == 1 << 30
    pointer = gpu.alloc(1000)
    before = free.value
    check(gpu.cuda.cuMemGetInfo_v2(byref(free), byref(total)))
    assert before - free.value == 1000
    assert gpu.cuda.cuMemAlloc_v2(byref(c_uint64()), c_size_t(1 << 30)) == OUT_OF_MEMORY
    assert np.isnan(gpu.download(pointer, 250, "f4")).all()  # fresh memory
    check(gpu.cuda.cuMemsetD32Async(pointer, 5, c_size_t(250), None))
    assert (gpu.download(pointer, 250, "i4") == 5).all()
    assert gpu.get(np.empty(1001, "u1"), pointer) == ILLEGAL_ADDRESS
    assert "reach 0x" in capfd.readouterr().err
    kind = c_int()
    check(gpu.cuda.cuPointerGetAttribute(byref(kind), 2, c_uint64(pointer.value + 999)))
    assert kind.value == 2
    check(gpu.cuda.cuMemFree_v2(pointer))
    assert gpu.get(np.empty(1, "u1"), pointer) == ILLEGAL_ADDRESS
    assert "freed" in capfd.readouterr().err
    assert gpu.cuda.cuMemFree_v2(pointer) == INVALID_VALUE


def test_copies_of_pinned_and_pageable_memory(gpu):
    stream, pointer = gpu.stream(), gpu.alloc(16)
    pageable, pinned, out = np.zeros(4, "i4"), gpu.pinned(4, "i4"), gpu.pinned(4, "i4")
    for source, kept in [(pageable, True), (pinned, False)]:
        source[:] = 1
        gpu.put(pointer, source, stream)
        source[:] = 2  # too early for pinned memory
        out[:] = 0
        check(gpu.get(out, pointer, stream))
        assert (out == 0).all()  # nobody has waited
        check(gpu.cuda.cuStreamSynchronize(stream))
        assert (out == (1 if kept else 2)).all()
    check(gpu.get(pageable, pointer, stream))  # waits by itself
    assert (pageable == 2).all()


def test_registered_memory(gpu):
    array, pointer = np.zeros(4, "i4"), gpu.upload(np.ones(4, "i4"))
    address, size = c_void_p(array.ctypes.data), c_size_t(16)
    check(gpu.cuda.cuMemHostRegister_v2(address, size, 0))
    assert gpu.cuda.cuMemHostRegister_v2(address, size, 0) == 712
    check(gpu.get(array, pointer))
    assert (array == 0).all()
    check(gpu.cuda.cuCtxSynchronize())
    assert (array == 1).all()
    check(gpu.cuda.cuMemHostUnregister(address))
    assert gpu.cuda.cuMemHostUnregister(address) == 713


# ---- Streams


def test_events_order_streams(gpu):
    first, second, event = gpu.stream(), gpu.stream(), gpu.event()
    pointer, out = gpu.upload(np.zeros(1, "i4")), gpu.pinned(1, "i4")
    check(gpu.cuda.cuCtxSynchronize())
    out[:] = -1
    check(gpu.cuda.cuEventQuery(event))  # never recorded
    check(gpu.cuda.cuMemsetD32Async(pointer, 3, c_size_t(1), first))
    check(gpu.cuda.cuEventRecord(event, first))
    assert gpu.cuda.cuEventQuery(event) == NOT_READY
    check(gpu.get(out, pointer, second))
    check(gpu.cuda.cuStreamSynchronize(second))
    stale = out[0]
    check(gpu.cuda.cuMemsetD32Async(pointer, 4, c_size_t(1), first))
    check(gpu.cuda.cuEventRecord(event, first))
    check(gpu.cuda.cuStreamWaitEvent(second, event, 0))
    check(gpu.get(out, pointer, second))
    check(gpu.cuda.cuStreamSynchronize(second))
    assert out[0] == 4 and stale in (0, 3)
    check(gpu.cuda.cuEventQuery(event))


def test_queries_come_to_an_end(gpu):
    stream, event, pointer = gpu.stream(), gpu.event(), gpu.alloc(4)
    for _ in range(5):
        check(gpu.cuda.cuMemsetD32Async(pointer, 3, c_size_t(1), stream))
    check(gpu.cuda.cuEventRecord(event, stream))
    assert [gpu.cuda.cuEventQuery(event) for _ in range(8)] == [NOT_READY] * 6 + [0] * 2
    check(gpu.cuda.cuStreamQuery(stream))


@pytest.mark.parametrize("flags", [0, NON_BLOCKING])
def test_null_stream_waits_for_blocking_streams(gpu, flags):
    stream, pointer = gpu.stream(flags), gpu.upload(np.zeros(1, "i4"))
    check(gpu.cuda.cuCtxSynchronize())
    check(gpu.cuda.cuMemsetD32Async(pointer, 3, c_size_t(1), stream))
    assert gpu.download(pointer, 1, "i4")[0] == (0 if flags else 3)
    check(gpu.cuda.cuMemsetD32Async(pointer, 5, c_size_t(1), None))
    out = np.empty(1, "i4")
    check(gpu.get(out, pointer, stream))
    assert out[0] == (3 if flags else 5)


def test_elapsed_time_and_destruction(gpu):
    stream, start, end = gpu.stream(), gpu.event(), gpu.event()
    pointer, elapsed = gpu.alloc(1 << 20), c_float()
    check(gpu.cuda.cuEventRecord(start, stream))
    check(gpu.cuda.cuMemsetD8Async(pointer, 3, c_size_t(1 << 20), stream))
    check(gpu.cuda.cuEventRecord(end, stream))
    assert gpu.cuda.cuEventElapsedTime(byref(elapsed), start, end) == NOT_READY
    check(gpu.cuda.cuStreamDestroy_v2(stream))
    assert gpu.cuda.cuStreamSynchronize(stream) == INVALID_HANDLE
    check(gpu.cuda.cuEventSynchronize(end))
    check(gpu.cuda.cuEventElapsedTime(byref(elapsed), start, end))
    assert elapsed.value > 0
    check(gpu.cuda.cuEventDestroy_v2(start))
    assert gpu.cuda.cuEventQuery(start) == INVALID_HANDLE


# ---- Graphs


def test_capture_and_replay(gpu, kernels):
    stream, side, fork, join = gpu.stream(), gpu.stream(), gpu.event(), gpu.event()
    x, y = gpu.upload(np.ones(4, "f4")), gpu.upload(np.zeros(4, "f4"))
    saxpy = gpu.function(kernels, "saxpy")
    arguments = c_int(4), c_float(2), x, y
    gpu.begin_capture(stream, GLOBAL)
    check(gpu.launch(saxpy, (1,), (4,), *arguments, stream=stream))
    check(gpu.cuda.cuEventRecord(fork, stream))
    check(gpu.cuda.cuStreamWaitEvent(side, fork, 0))
    check(gpu.launch(saxpy, (1,), (4,), *arguments, stream=side))
    check(gpu.cuda.cuEventRecord(join, side))
    assert gpu.cuda.cuEventQuery(join) == CAPTURED_EVENT
    check(gpu.cuda.cuStreamWaitEvent(stream, join, 0))
    status = c_int()
    check(gpu.cuda.cuStreamIsCapturing(side, byref(status)))
    assert status.value == 1
    executable = gpu.end_capture(stream)
    check(gpu.cuda.cuStreamIsCapturing(side, byref(status)))
    assert status.value == 0
    assert (gpu.download(y, 4, "f4") == 0).all()
    for _ in range(3):
        check(gpu.cuda.cuGraphLaunch(executable, stream))
    check(gpu.cuda.cuStreamSynchronize(stream))
    assert (gpu.download(y, 4, "f4") == 12).all()
    check(gpu.cuda.cuGraphExecDestroy(executable))
    assert gpu.cuda.cuGraphLaunch(executable, stream) == INVALID_VALUE


def test_what_a_capture_does_not_permit(gpu):
    stream, other, event, graph = gpu.stream(0), gpu.stream(), gpu.event(), c_void_p()
    pointer, fill = gpu.alloc(4), gpu.cuda.cuMemsetD8Async
    assert gpu.cuda.cuStreamBeginCapture_v2(None, RELAXED) == CAPTURE_UNSUPPORTED

    gpu.begin_capture(stream)
    assert gpu.cuda.cuStreamSynchronize(stream) == CAPTURE_UNSUPPORTED
    assert fill(pointer, 0, c_size_t(1), stream) == CAPTURE_INVALIDATED
    assert gpu.cuda.cuStreamEndCapture(stream, byref(graph)) == CAPTURE_INVALIDATED

    gpu.begin_capture(stream)
    assert fill(pointer, 0, c_size_t(1), None) == CAPTURE_IMPLICIT
    assert gpu.cuda.cuStreamEndCapture(stream, byref(graph)) == CAPTURE_INVALIDATED

    check(gpu.cuda.cuEventRecord(event, other))
    gpu.begin_capture(stream)
    assert gpu.cuda.cuStreamWaitEvent(stream, event, 0) == CAPTURE_ISOLATION
    assert gpu.cuda.cuStreamEndCapture(stream, byref(graph)) == CAPTURE_INVALIDATED

    gpu.begin_capture(stream)
    check(gpu.cuda.cuEventRecord(event, stream))
    check(gpu.cuda.cuStreamWaitEvent(other, event, 0))
    check(fill(pointer, 0, c_size_t(1), other))
    assert gpu.cuda.cuStreamEndCapture(stream, byref(graph)) == CAPTURE_UNJOINED


def test_allocation_during_a_capture(gpu):
    stream, graph, mode = gpu.stream(), c_void_p(), c_int(RELAXED)
    gpu.begin_capture(stream, GLOBAL)
    check(gpu.cuda.cuThreadExchangeStreamCaptureMode(byref(mode)))
    assert mode.value == GLOBAL
    gpu.alloc(4)
    check(gpu.cuda.cuThreadExchangeStreamCaptureMode(byref(mode)))
    assert gpu.cuda.cuMemAlloc_v2(byref(c_uint64()), c_size_t(4)) == CAPTURE_UNSUPPORTED
    assert gpu.cuda.cuStreamEndCapture(stream, byref(graph)) == CAPTURE_INVALIDATED
    gpu.begin_capture(stream, RELAXED)
    gpu.alloc(4)
    check(gpu.cuda.cuStreamEndCapture(stream, byref(graph)))


# ---- Processes with other settings


def run_script(libraries: Path, script: str, **environment: str) -> str:
    head = "import ctypes; from ctypes import *; cuda = ctypes.CDLL(r'{}/libcuda.so.1')\n"
    text = head.format(libraries) + textwrap.dedent(script)
    result = subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_devices_and_their_memory(libraries):
    script = """
    count, context, pointer = c_int(), [c_void_p(), c_void_p()], c_uint64()
    print(cuda.cuDeviceGetCount(byref(count)), cuda.cuInit(0))
    print(cuda.cuDeviceGetCount(byref(count)), count.value)
    print(cuda.cuMemAlloc_v2(byref(pointer), c_size_t(4)))
    pointers = []
    for index in range(2):
        cuda.cuDevicePrimaryCtxRetain(byref(context[index]), index)
        cuda.cuCtxSetCurrent(context[index])
        print(cuda.cuMemAlloc_v2(byref(pointer), c_size_t(4096)), end=" ")
        pointers.append(c_uint64(pointer.value))
        print(cuda.cuMemAlloc_v2(byref(pointer), c_size_t(1)))
    cuda.cuMemsetD8Async(pointers[0], 9, c_size_t(4096), None)
    stream, event, out = c_void_p(), c_void_p(), create_string_buffer(1)
    cuda.cuCtxSetCurrent(context[0])
    cuda.cuEventCreate(byref(event), 0)
    cuda.cuMemsetD8Async(pointers[0], 7, c_size_t(4096), None)
    cuda.cuEventRecord(event, None)
    cuda.cuCtxSetCurrent(context[1])
    cuda.cuStreamWaitEvent(None, event, 0)
    print(cuda.cuMemcpyPeerAsync(pointers[1], context[1], pointers[0], context[0],
                                 c_size_t(4096), None))
    cuda.cuMemcpyDtoHAsync_v2(out, pointers[1], c_size_t(1), None)
    print(out.raw[0])
    """
    output = run_script(libraries, script, EMULATED_CUDA_DEVICES="2", EMULATED_CUDA_MEMORY="4096")
    assert output.split() == "3 0 0 2 201 0 2 0 2 0 7".split()


def test_eager_execution(libraries):
    script = """
    context, pointer, stream, host = c_void_p(), c_uint64(), c_void_p(), c_void_p()
    cuda.cuInit(0), cuda.cuDevicePrimaryCtxRetain(byref(context), 0)
    cuda.cuCtxSetCurrent(context), cuda.cuMemAlloc_v2(byref(pointer), c_size_t(4))
    cuda.cuStreamCreateWithPriority(byref(stream), 1, 0)
    cuda.cuMemHostAlloc(byref(host), c_size_t(4), 0)
    cuda.cuMemsetD8Async(pointer, 7, c_size_t(4), stream)
    cuda.cuMemcpyDtoHAsync_v2(host, pointer, c_size_t(4), stream)
    print(string_at(host, 1)[0])
    """
    assert run_script(libraries, script, EMULATED_CUDA_EAGER="1").strip() == "7"
    assert run_script(libraries, script, EMULATED_CUDA_EAGER="0").strip() == "255"

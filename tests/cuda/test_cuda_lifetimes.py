"""Memory, streams and captures whose order on a GPU goes wrong where a handle or an address is kept
too long, or not long enough."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import flambeau as fl
from flambeau import cuda

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason="no GPU, not even an emulated one")
COUNT = 1 << 16


def used_by(side: cuda.Stream) -> fl.Tensor:
    """Memory that work of another stream reads."""
    x = fl.full((COUNT,), 2.0, device="cuda")
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        x * 2
    x.record_stream(side)
    return x


def test_streams_are_handed_out_again() -> None:
    side = cuda.Stream()
    handle = side.cuda_stream
    del side
    assert cuda.Stream().cuda_stream == handle
    several = [cuda.Stream() for _ in range(3)]
    assert len({stream.cuda_stream for stream in several}) == 3


def test_memory_outlives_the_stream_that_used_it() -> None:
    side = cuda.Stream()
    x = used_by(side)
    del side
    del x
    z = fl.zeros(COUNT, device="cuda")
    cuda.synchronize()
    assert z.max().item() == 0.0


def test_memory_is_dropped_by_a_thread_without_a_context() -> None:
    kept = [used_by(cuda.Stream())]
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    assert (fl.ones(COUNT, device="cuda") + 1).sum().item() == 2 * COUNT


def test_memory_is_dropped_while_its_stream_is_captured() -> None:
    side, graph = cuda.Stream(), cuda.CUDAGraph()
    x, y = used_by(side), fl.ones(COUNT, device="cuda")
    cuda.synchronize()
    with cuda.graph(graph, stream=side):
        del x
        z = y + 1
    again = [fl.zeros(COUNT, device="cuda") for _ in range(3)]
    graph.replay()
    assert z.sum().item() == 2 * COUNT and again[0].max().item() == 0.0
    cuda.empty_cache()


def test_memory_of_a_graph_that_is_gone_is_not_used_before_its_last_replay() -> None:
    x = fl.ones(COUNT, device="cuda")
    graph, side = cuda.CUDAGraph(), cuda.Stream()
    with cuda.graph(graph, stream=side):
        y = x + 1
        z = y * 3
    graph.replay()
    out = z.clone()
    del graph, y, z
    with cuda.stream(side):  # nothing waits for the replay
        fl.zeros(COUNT, device="cuda")
    assert out.sum().item() == 6 * COUNT
    reserved = cuda.memory_reserved()
    cuda.empty_cache()
    assert cuda.memory_reserved() < reserved


def test_copies_of_memory_that_is_not_pinned_are_not_captured() -> None:
    x, host = fl.zeros(8, device="cuda"), fl.ones(8)
    with pytest.raises(RuntimeError, match="not pinned"), cuda.graph(cuda.CUDAGraph()):
        x.copy_(host, non_blocking=True)
    assert x.sum().item() == 0


def test_pinned_memory_of_a_captured_copy_is_not_reused() -> None:
    x, pinned = fl.zeros(8, device="cuda"), fl.ones(8).pin_memory()
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        x.copy_(pinned, non_blocking=True)
    del pinned
    others = [fl.full((8,), 7.0).pin_memory() for _ in range(4)]
    graph.replay()
    assert x.sum().item() == 8 and others[0][0].item() == 7


def test_pinned_memory_that_is_copied_again_and_again() -> None:
    pinned, x = fl.ones(8).pin_memory(), fl.empty(8, device="cuda")
    for _ in range(50):
        x.copy_(pinned, non_blocking=True)
    del pinned
    second = fl.full(
        (8,), 3.0
    ).pin_memory()  # may be the same memory, once the copies have happened
    assert x.sum().item() == 8 and second.sum().item() == 24


def driver_library() -> ctypes.CDLL:
    folder = os.environ.get("FLAMBEAU_CUDA_LIBRARIES")
    return ctypes.CDLL(str(Path(folder) / "libcuda.so.1") if folder else "libcuda.so.1")


def test_another_library_has_changed_the_context_of_the_thread() -> None:
    x = fl.ones(8, device="cuda")
    assert driver_library().cuCtxSetCurrent(None) == 0
    assert (x + 1).sum().item() == 16


def test_memory_that_another_library_has_locked_is_read_before_the_copy_returns() -> None:
    driver = driver_library()
    array = np.ones(4096, dtype=np.float32)
    cuda.init()
    fl.ones(1, device="cuda")
    where = ctypes.c_void_p(array.ctypes.data)
    assert driver.cuMemHostRegister_v2(where, ctypes.c_size_t(array.nbytes), 0) == 0
    try:
        x = fl.from_numpy(array).to("cuda")
        array[:] = 5
        assert x.sum().item() == 4096
    finally:
        assert driver.cuMemHostUnregister(where) == 0


FORK = """
import os
import flambeau as fl
from flambeau import cuda
x, side = fl.ones(100, device="cuda"), cuda.Stream()
x.record_stream(side)
cuda.synchronize()
child = os.fork()
if child == 0:
    del x, side
    try:
        fl.ones(1, device="cuda")
    except RuntimeError as error:
        os._exit(7 if "forked" in str(error) else 8)
    os._exit(9)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert (x + 1).sum().item() == 200
"""


def test_a_forked_process_says_what_is_wrong() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_end_of_a_process_with_everything_alive() -> None:
    text = """
import flambeau as fl
from flambeau import cuda
side, event, graph = cuda.Stream(), cuda.Event(), cuda.CUDAGraph()
x = fl.ones(100, device="cuda")
x.record_stream(side)
event.record(side)
with cuda.graph(graph):
    y = x + 1
graph.replay()
pinned = fl.ones(8).pin_memory()
z = pinned.to("cuda", non_blocking=True)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, done.stderr

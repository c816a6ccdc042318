"""CUDA and several processes: a forked child cannot use it, and says so; copies can be sent."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fl
from flambeau import cuda
from flambeau.utils.data import DataLoader, Dataset

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason="no GPU, not even an emulated one")

REFUSED = "Cannot re-initialize CUDA in forked subprocess"


def in_forked_child(call: Callable[[], Any], seconds: float = 60) -> Any:
    """What a call returns, or raises, in a child; AssertionError if it dies or hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found: Any = call()
        except BaseException as error:
            found = error
        os.write(writer, pickle.dumps(repr(found)))
        os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + seconds
    done, status = 0, 0
    while done == 0 and time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if done == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done == child and status == 0, f"the child hangs or died: {status}"
    with os.fdopen(reader, "rb") as file:
        return pickle.loads(file.read())


X = fl.arange(4.0, device="cuda" if cuda.is_available() else "cpu")

USES: dict[str, Callable[[], Any]] = {
    "compute": lambda: X + 1,
    "copy": lambda: X.cpu(),
    "print": lambda: repr(X),
    "make": lambda: fl.zeros(3, device="cuda"),
    "send": lambda: fl.ones(3).cuda(),
    "synchronize": cuda.synchronize,
    "stream": cuda.Stream,
    "default stream": cuda.default_stream,
    "event": lambda: cuda.Event().record(),
    "set device": lambda: cuda.set_device(0),
    "init": cuda.init,
    "statistics": cuda.memory_allocated,
    "properties": lambda: cuda.get_device_properties(0),
    "pin": lambda: fl.ones(3).pin_memory(),
    "share": lambda: X.__dlpack__(stream=1),
    "pickle": lambda: pickle.dumps(X),
}


@pytest.mark.parametrize("use", USES)
def test_a_forked_child_is_refused(use: str) -> None:
    found = in_forked_child(USES[use])
    assert found.startswith("RuntimeError") and REFUSED in found, found
    assert (X + 1).sum().item() == 10  # the parent goes on


def test_a_forked_child_may_do_without() -> None:
    def work() -> Any:
        global X
        kept, X = X, None
        del kept  # frees nothing of the parent's
        held.clear()
        cuda.empty_cache()
        fl.manual_seed(3)
        return cuda.is_initialized(), (fl.ones(3) * 2).tolist()

    pinned = fl.ones(3).pin_memory()
    side, graph = cuda.Stream(), cuda.CUDAGraph()
    with cuda.graph(graph):
        y = X * 2
    double = fl.compile(lambda x: x * 2)
    for _ in range(6):
        double(X)
    capsule = X.__dlpack__()
    held: list[Any] = [fl.ones(5).pin_memory(), cuda.Stream(), graph, y, double, capsule]
    del graph, y, double, capsule
    assert in_forked_child(work) == "(False, [2.0, 2.0, 2.0])"
    assert side.query() and pinned.is_pinned() and X.sum().item() == 6


class OnGpu(Dataset[Any]):
    """Samples that are on the GPU already."""

    def __init__(self) -> None:
        self.x = fl.arange(8.0, device="cuda")

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        return self.x[i]


def test_forked_loader_workers_are_refused() -> None:
    with pytest.raises(RuntimeError, match=REFUSED):
        next(iter(DataLoader(OnGpu(), batch_size=4, num_workers=1)))
    assert next(iter(DataLoader(OnGpu(), batch_size=4))).tolist() == [0, 1, 2, 3]


def doubled(queue: Any, answers: Any) -> None:
    """A spawned process: takes a tensor, sends another one."""
    x = queue.get(timeout=60)
    answers.put((str(x.device), x * 2))


def test_tensors_are_sent_to_spawned_processes_as_copies() -> None:
    context = multiprocessing.get_context("spawn")
    queue, answers = context.Queue(), context.Queue()
    process = context.Process(target=doubled, args=(queue, answers))
    process.start()
    queue.put(X)
    device, answer = answers.get(timeout=120)
    process.join(60)
    assert process.exitcode == 0 and device == "cuda:0"
    assert answer.device == X.device and answer.tolist() == [0, 2, 4, 6]
    assert X.tolist() == [0, 1, 2, 3]

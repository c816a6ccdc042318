"""Threads and memory: results, forks, limits, exhaustion."""

import os
import threading
from collections.abc import Iterator

import pytest

import flambeau
from flambeau import Tensor


@pytest.fixture(autouse=True)
def thread_count() -> Iterator[int]:
    count = flambeau.get_num_threads()
    yield count
    flambeau.set_num_threads(count)


def work(size: int = 300) -> Tensor:
    """Uses packed products, reductions and elementwise loops, large enough for several threads."""
    values = (flambeau.arange(size * size, dtype=flambeau.float32) % 17 - 8) / 3
    matrix = values.reshape(size, size)
    return (matrix @ matrix.t() + (matrix.t() @ matrix).tanh()).sum(0)


def test_results_do_not_depend_on_threads() -> None:
    results = []
    for count in (1, 2, 3, 8):
        flambeau.set_num_threads(count)
        assert flambeau.get_num_threads() == count
        results.append(work().tolist())
    assert all(result == results[0] for result in results)


def test_thread_count_is_positive() -> None:
    with pytest.raises(RuntimeError, match="positive"):
        flambeau.set_num_threads(0)


def test_forked_children_have_threads_of_their_own() -> None:
    flambeau.set_num_threads(3)
    expected = work().tolist()
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0 if work().tolist() == expected else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert work().tolist() == expected


def test_python_threads_share_the_pool() -> None:
    flambeau.set_num_threads(2)
    expected = work().tolist()
    found: list[list[float]] = []

    def repeat() -> None:
        for _ in range(5):
            found.append(work().tolist())

    threads = [threading.Thread(target=repeat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 20


def test_memory_exhausted() -> None:
    for size in (1 << 45, 1 << 58):
        with pytest.raises((RuntimeError, MemoryError), match=r"allocate: \d+ bytes requested"):
            flambeau.empty(size)
    assert flambeau.ones(10).sum().item() == 10


def test_memory_is_reused() -> None:
    """A loop over large tensors of changing sizes stays within a bound."""

    def resident_pages() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1])

    for rows in (1000, 900):
        flambeau.ones(rows, 1000)
    before = resident_pages()
    for i in range(200):
        flambeau.ones(1000 - i % 90, 1000)
    assert resident_pages() - before < 20_000_000 // os.sysconf("SC_PAGE_SIZE")

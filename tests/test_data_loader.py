"""DataLoader: in this process and with workers, and what happens when something goes wrong."""

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import flambeau as torch
from flambeau.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
    get_worker_info,
    random_split,
)
from flambeau.utils.data._transport import BatchReceiver, BatchSender, unpickle_batch

WORKERS = [0, 1, 3]


class Images(Dataset):
    """Large enough that batches travel in anonymous files."""

    def __init__(self, count: int = 17) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        image = torch.full((64, 64), float(index))
        return image, index, np.full((50, 50), index, dtype=np.float64), {"name": str(index)}


class Calls(Dataset):
    """Sample i is what a function makes of i."""

    def __init__(self, function, count: int = 8) -> None:
        self.function = function
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        return self.function(index)


class Stream(IterableDataset):
    def __init__(self, stops: list[int]) -> None:
        self.stops = stops

    def __iter__(self):
        info = get_worker_info()
        number = 0 if info is None else info.id
        return iter(range(100 * number, 100 * number + self.stops[number]))


@pytest.mark.parametrize("num_workers", WORKERS)
def test_batches_and_order(num_workers: int) -> None:
    loader = DataLoader(Images(), batch_size=4, num_workers=num_workers)
    assert len(loader) == len(iter(loader)) == 5
    seen = []
    for image, index, array, info in loader:
        assert image[:, 5, 7].tolist() == index.tolist() == array[:, 3, 9].tolist()
        assert array.dtype == torch.float64
        assert info["name"] == [str(i) for i in index.tolist()]
        image.add_(1)  # batches are the user's own memory
        seen += index.tolist()
    assert seen == list(range(17))


def test_spawned_workers() -> None:
    loader = DataLoader(Images(6), 2, num_workers=2, multiprocessing_context="spawn")
    assert [batch[1].tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("num_workers", WORKERS)
def test_drop_last_single_samples_and_samplers(num_workers: int) -> None:
    def values(**options):
        loader = DataLoader(range(7), num_workers=num_workers, **options)
        return [b.tolist() if isinstance(b, torch.Tensor) else b for b in loader], len(loader)

    assert values(batch_size=3, drop_last=True) == ([[0, 1, 2], [3, 4, 5]], 2)
    assert values(batch_size=None) == ([0, 1, 2, 3, 4, 5, 6], 7)
    assert values(batch_size=2, sampler=[4, 1, 0]) == ([[4, 1], [0]], 2)
    assert values(batch_sampler=[[6], [0, 1]]) == ([[6], [0, 1]], 2)
    assert values(batch_size=4, collate_fn=sum) == ([6, 15], 2)


@pytest.mark.parametrize("num_workers", WORKERS)
def test_shuffle_depends_only_on_the_seed(num_workers: int) -> None:
    torch.manual_seed(3)
    with_workers = [b.tolist() for b in DataLoader(range(20), 6, True, num_workers=num_workers)]
    then = torch.rand(3).tolist()
    torch.manual_seed(3)
    assert [b.tolist() for b in DataLoader(range(20), 6, True)] == with_workers
    assert torch.rand(3).tolist() == then


def test_streams() -> None:
    def batches(stops, **options):
        loader = DataLoader(Stream(stops), num_workers=len(stops) - 1, **options)
        return [b.tolist() if isinstance(b, torch.Tensor) else b for b in loader]

    assert batches([5], batch_size=2) == [[0, 1], [2, 3], [4]]
    assert batches([5], batch_size=2, drop_last=True) == [[0, 1], [2, 3]]
    assert batches([3], batch_size=None) == [0, 1, 2]
    uneven = batches([1, 5, 0], batch_size=2)
    assert uneven == [[0], [100, 101], [102, 103], [104]]
    assert batches([5, 2, 0], batch_size=None) == [0, 100, 1, 101, 2, 3, 4]


def test_whole_batch_reading_equals_sample_by_sample() -> None:
    dataset = TensorDataset(torch.arange(12.0).reshape(6, 2), torch.arange(6))
    subset = Subset(dataset, [5, 3, 1, 0])
    for source in (dataset, subset, random_split(dataset, [4, 2])[0]):
        quick = list(DataLoader(source, batch_size=3))
        slow = list(DataLoader(source, batch_size=3, collate_fn=lambda b: default_collate(b)))
        assert len(quick) == len(slow)
        for one, other in zip(quick, slow, strict=True):
            assert type(one) is type(other) is list
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    from_the_end = next(iter(DataLoader(dataset, 2, sampler=[-1, 0])))
    assert from_the_end[1].tolist() == [5, 0]
    with pytest.raises(IndexError):
        next(iter(DataLoader(dataset, 2, sampler=[0, 6])))
    batch = next(iter(DataLoader(dataset, batch_size=6)))
    batch[0].zero_()
    assert dataset.tensors[0].sum().item() == 66


def test_changed_tensor_dataset_is_read_through_its_own_method() -> None:
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            return tuple(2 * value for value in super().__getitem__(index))

    assert next(iter(DataLoader(Doubled(torch.arange(3)), 3)))[0].tolist() == [0, 2, 4]


def test_getitems_is_preferred() -> None:
    class Whole(Dataset):
        def __len__(self):
            return 4

        def __getitems__(self, indices):
            return [10 * index for index in indices]

    assert [b.tolist() for b in DataLoader(Whole(), 2)] == [[0, 10], [20, 30]]


def test_persistent_workers_keep_their_process() -> None:
    dataset = Calls(lambda index: os.getpid(), count=4)
    loader = DataLoader(dataset, num_workers=2, persistent_workers=True)
    first, second = ({b.item() for b in loader} for _ in range(2))
    assert first == second and len(first) == 2
    fresh = DataLoader(dataset, num_workers=2)
    assert {b.item() for b in fresh}.isdisjoint({b.item() for b in fresh})


def test_persistent_workers_after_an_abandoned_pass() -> None:
    loader = DataLoader(range(10), num_workers=2, persistent_workers=True, prefetch_factor=3)
    for _ in range(3):
        assert next(iter(loader)).item() == 0
    assert [b.item() for b in loader] == list(range(10))
    stream = DataLoader(Stream([2, 3]), num_workers=2, batch_size=None, persistent_workers=True)
    assert [list(stream), list(stream)] == [[0, 100, 1, 101, 102]] * 2


def test_worker_seeds() -> None:
    def draws(index):
        info = get_worker_info()
        return (
            info.id,
            info.num_workers,
            info.seed,
            torch.initial_seed(),
            random.random(),
            torch.rand(1).item(),
            np.random.rand(),
        )

    def collect():
        torch.manual_seed(11)
        loader = DataLoader(Calls(draws, 4), batch_size=None, num_workers=2)
        return [tuple(sample) for sample in loader]

    samples = collect()
    assert samples == collect()
    assert [sample[0] for sample in samples] == [0, 1, 0, 1] and samples[0][1] == 2
    base = samples[0][2]
    assert [sample[2] for sample in samples] == [base, base + 1, base, base + 1]
    assert all(sample[2] == sample[3] for sample in samples)
    for column in (4, 5, 6):
        assert len({sample[column] for sample in samples}) == 4
    assert get_worker_info() is None


def test_worker_init_fn(tmp_path: Path) -> None:
    loader = DataLoader(
        range(2), num_workers=2, worker_init_fn=lambda n: (tmp_path / str(n)).touch()
    )
    list(loader)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]

    def fail(number):
        raise OSError("no disk")

    with pytest.raises(OSError, match=r"Caught OSError in DataLoader worker process 0\."):
        list(DataLoader(range(2), num_workers=1, worker_init_fn=fail))


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError("bad sample"), ValueError),
        (KeyError("missing"), KeyError),
        (TwoArguments(1, 2), RuntimeError),
        (type("Local", (Exception,), {})("x"), RuntimeError),
    ],
)
def test_exception_of_a_worker(error: Exception, raised: type) -> None:
    def sample(index):
        if index == 2:
            raise error
        return index

    iterator = iter(DataLoader(Calls(sample, 5), num_workers=2))
    assert [next(iterator).item() for _ in range(2)] == [0, 1]
    with pytest.raises(raised) as caught:
        next(iterator)
    text = str(caught.value)
    assert f"Caught {type(error).__name__} in DataLoader worker process 0.\nOriginal" in text
    assert "raise error" in text and __file__ in text
    assert [b.item() for b in iterator] == [3, 4]


@pytest.mark.parametrize("num_workers", WORKERS)
def test_stop_iteration_of_an_indexed_dataset_is_no_end(num_workers: int) -> None:
    dataset = Calls(lambda index: next(iter([])) if index == 2 else index)
    with pytest.raises(RuntimeError, match=r"Calls raised StopIteration for \[2\]"):
        list(DataLoader(dataset, num_workers=num_workers))


def test_batch_that_cannot_be_sent() -> None:
    with pytest.raises(Exception, match=r"[Pp]ickle"):
        next(iter(DataLoader(Calls(lambda i: lambda: i), batch_size=None, num_workers=1)))
    graph = Calls(lambda i: torch.ones(2, requires_grad=True) * i)
    with pytest.raises(RuntimeError, match=r"detach"):
        next(iter(DataLoader(graph, batch_size=None, num_workers=1)))


def test_tensors_keep_dtype_shape_and_gradient_flag() -> None:
    made = [
        torch.zeros(0, 3),
        torch.tensor(5),
        torch.ones(300, 300).t()[1:],
        torch.ones(2, dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.ones(2, requires_grad=True),
    ]
    dataset = Calls(lambda i: made[i], len(made))
    for tensor, sent in zip(made, DataLoader(dataset, batch_size=None, num_workers=2), strict=True):
        assert sent.dtype == tensor.dtype and sent.shape == tensor.shape
        assert torch.equal(sent, tensor) and sent.requires_grad == tensor.requires_grad


def test_large_messages_in_both_directions() -> None:
    loader = DataLoader(
        Calls(lambda i: "x" * 100, 200_000), batch_size=50_000, num_workers=1, prefetch_factor=4
    )
    assert sum(len(batch) for batch in loader) == 200_000


@pytest.mark.parametrize("death", ["kill", "exit"])
def test_worker_death(death: str) -> None:
    def sample(index):
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL) if death == "kill" else os._exit(5)
        return index

    iterator = iter(DataLoader(Calls(sample), num_workers=2))
    expected = "killed by signal: Killed" if death == "kill" else "exited unexpectedly.* 5"
    with pytest.raises(RuntimeError, match=rf"DataLoader worker \(pid.* {expected}"):
        list(iterator)


def test_timeout() -> None:
    loader = DataLoader(Calls(lambda i: time.sleep(30)), num_workers=1, timeout=0.3)
    iterator = iter(loader)
    process = iterator._pool._processes[0]
    with pytest.raises(RuntimeError, match=r"timed out after 0\.3 seconds"):
        next(iterator)
    assert not process.is_alive()


def test_abandoned_iterator_ends_its_workers() -> None:
    iterator = iter(DataLoader(Images(100), num_workers=2))
    next(iterator)
    processes = iterator._pool._processes
    start = time.monotonic()
    del iterator
    gc.collect()
    assert not any(process.is_alive() for process in processes)
    assert time.monotonic() - start < 3


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_nothing_stays_open() -> None:
    list(DataLoader(Images(), 4, num_workers=2))
    before = open_files()
    batches = [b for _ in range(3) for b in DataLoader(Images(), 4, num_workers=2)]
    assert open_files() == before and len(batches) == 15


def test_shared_memory_is_used_again() -> None:
    ours, theirs = multiprocessing.Pipe()
    sender, receiver = BatchSender(theirs), BatchReceiver(ours)

    def hand_over(value: int):
        batch = [torch.full((300, 300), float(value)), np.full((200, 200), value)]
        sender.send(("label", value), batch)
        label, body, contents = receiver.receive()
        assert label == ("label", value)
        return unpickle_batch(body, contents)

    for value in range(20):
        hand_over(value)
    assert sender._made == 2
    kept = [hand_over(value) for value in range(5)]
    assert sender._made == 10
    for value, (tensor, array) in enumerate(kept):
        assert tensor[17, 5].item() == value and array[199, 199] == value
    # A view keeps the memory of its batch.
    corner = kept[3][0][:2, :2]
    del kept, tensor, array
    hand_over(9)
    assert sender._made == 10 and corner.sum().item() == 12
    for value in range(20):
        hand_over(value)
    assert len(sender._slots) <= 12 and corner.sum().item() == 12


def test_collated_batches_need_no_copy() -> None:
    ours, theirs = multiprocessing.Pipe()
    sender, receiver = BatchSender(theirs), BatchReceiver(ours)
    batch = sender.empty((100, 300), torch.float32, 120_000)
    batch.fill_(3.0)
    sender.send((), {"whole": batch, "part": batch[:50]})
    received = unpickle_batch(*receiver.receive()[1:])
    batch[99, 0] = 4.0
    assert received["whole"][99, 0].item() == 4.0 and received["part"].sum().item() == 45_000
    assert sender.empty((2,), torch.float32, 8) is None


SCRIPT = """
import os, signal, sys, time
import flambeau as torch
from flambeau.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        time.sleep(0.01)
        return torch.zeros(100, 1000)

loader = iter(DataLoader(Slow(), num_workers=2))
next(loader)
print(*[p.pid for p in loader._pool._processes], flush=True)
{action}
"""


def run_script(action: str) -> tuple[int, list[int], str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(action=action)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    return done.returncode, [int(word) for word in done.stdout.split()], done.stderr


def are_gone(workers: list[int], seconds: float = 8) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        states = [Path(f"/proc/{pid}/stat") for pid in workers]
        if not any(s.exists() and s.read_text().split()[2] != "Z" for s in states):
            return True
        time.sleep(0.1)
    return False


def test_exit_with_a_running_loader_is_quiet() -> None:
    code, workers, errors = run_script("")
    assert code == 0 and errors == "" and are_gone(workers)


def test_interrupt_ends_everything() -> None:
    # Ctrl-C: the whole group gets the signal, while the loader waits for a batch.
    action = "os.setpgrp(); signal.raise_signal(signal.SIGINT)"
    code, workers, errors = run_script(action)
    assert code != 0 and errors.count("KeyboardInterrupt") == 1 and are_gone(workers)


def test_workers_of_a_killed_parent_end() -> None:
    code, workers, _ = run_script("os.kill(os.getpid(), signal.SIGKILL)")
    assert code == -signal.SIGKILL and are_gone(workers)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_workers": -1}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"prefetch_factor": 2}, ValueError),
        ({"num_workers": 1, "prefetch_factor": 0}, ValueError),
        ({"persistent_workers": True}, ValueError),
        ({"shuffle": True, "sampler": [1]}, ValueError),
        ({"batch_sampler": [[1]], "batch_size": 2}, ValueError),
        ({"batch_sampler": [[1]], "sampler": []}, ValueError),
        ({"batch_size": None, "drop_last": True}, ValueError),
        ({"batch_size": 0}, ValueError),
        ({"batch_size": 2.5}, ValueError),
        ({"multiprocessing_context": "fork"}, ValueError),
        ({"multiprocessing_context": "telepathy", "num_workers": 1}, ValueError),
        ({"multiprocessing_context": 3, "num_workers": 1}, TypeError),
    ],
)
def test_bad_options(options: dict, error: type) -> None:
    with pytest.raises(error, match=r"DataLoader|BatchSampler"):
        DataLoader(range(4), **options)


def test_bad_options_for_streams() -> None:
    for options in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match="IterableDataset"):
            DataLoader(Stream([2]), **options)


def test_fixed_attributes() -> None:
    loader = DataLoader(range(4))
    with pytest.raises(ValueError, match="batch_size"):
        loader.batch_size = 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without an accelerator")
def test_pinning_without_an_accelerator() -> None:
    with pytest.warns(UserWarning, match="no accelerator"):
        assert len(list(DataLoader(range(4), pin_memory=True))) == 4

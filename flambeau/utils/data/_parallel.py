"""The loader's side of worker processes: hands out tasks, returns batches in order."""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import socket
import time
import warnings
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flambeau.utils.data._transport import BatchReceiver, unpickle_batch
from flambeau.utils.data._worker import END, ERROR, WorkerPlan, worker_main

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext

_GRACE_SECONDS = 5.0

# What a file descriptor that has become readable means.
_ANSWER, _DEATH = 0, 1


class WorkerPool:
    """Processes that answer tasks with batches, each over a socket of its own.

    A socket per worker means that a worker killed at any moment holds no lock and spoils nobody
    else's messages; its death shows as the end of its socket.

    Args:
        plan: what every worker gets.
        context: the way processes are started.
        timeout: seconds to wait for an answer; 0 waits for ever.
    """

    def __init__(self, plan: WorkerPlan, context: BaseContext, timeout: float) -> None:
        self._timeout = timeout
        self._processes: list[Any] = []
        self._connections: list[Connection] = []
        self._receivers: list[BatchReceiver] = []
        self._selector = selectors.PollSelector()
        self._close = weakref.finalize(
            self, _close_pool, self._processes, self._connections, self._selector, os.getpid()
        )
        try:
            for worker in range(plan.num_workers):
                self._start(plan, worker, context)
        except BaseException:
            self.close()
            raise

    def _start(self, plan: WorkerPlan, worker: int, context: BaseContext) -> None:
        ours, theirs = context.Pipe(duplex=True)
        self._connections.append(ours)
        self._receivers.append(BatchReceiver(ours))
        # Only a fork copies our open sockets into the worker.
        inherited = list(self._connections) if context.get_start_method() == "fork" else []
        process = context.Process(  # type: ignore[attr-defined]
            target=worker_main, args=(plan, worker, theirs, inherited), daemon=True
        )
        try:
            with warnings.catch_warnings():
                # The core's threads survive a fork, which is what Python warns about here.
                warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
                process.start()
        finally:
            theirs.close()
        self._processes.append(process)
        self._selector.register(ours, selectors.EVENT_READ, (_ANSWER, worker))
        self._selector.register(process.sentinel, selectors.EVENT_READ, (_DEATH, worker))

    @property
    def closed(self) -> bool:
        """Whether the workers have been sent home."""
        return not self._close.alive

    def close(self) -> None:
        """Lets the workers finish the batch they are at, for a while, and ends them."""
        self._close()

    def _abort(self) -> None:
        for process in self._processes:
            process.terminate()
        self._close()

    def send(self, worker: int, task: tuple[Any, ...]) -> None:
        """Gives a worker a task.

        Raises:
            RuntimeError: the worker is dead.
        """
        try:
            self._connections[worker].send_bytes(pickle.dumps(task, 5))
        except OSError:
            raise self._death(worker) from None

    def receive(self) -> tuple[tuple[Any, ...], bytes, list[Any]]:
        """Waits for the next answer of any worker.

        Returns:
            The answer's label and the arguments of `unpickle_batch`.

        Raises:
            RuntimeError: a worker died, or none answered in time.
        """
        try:
            ready = self._selector.select(self._timeout or None)
        except BaseException:
            self._abort()
            raise
        if not ready:
            self._abort()
            raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
        # A dead worker's last answers come before its death.
        event: int
        worker: int
        event, worker = min(key.data for key, _ in ready)
        if event == _DEATH:
            raise self._death(worker)
        try:
            return self._receivers[worker].receive()
        except (EOFError, OSError):
            raise self._death(worker) from None
        except BaseException:
            self._abort()  # an answer read in part: nothing after it can be understood
            raise

    def _death(self, worker: int) -> RuntimeError:
        """Closes the pool and returns the error that tells how a worker ended."""
        process = self._processes[worker]
        process.join(_GRACE_SECONDS)
        code = process.exitcode
        self._abort()
        if code is not None and code < 0:
            name = signal.strsignal(-code) or f"signal {-code}"
            hint = "; is the machine out of memory?" if -code == signal.SIGKILL else ""
            return RuntimeError(
                f"DataLoader worker (pid {process.pid}) is killed by signal: {name}{hint}"
            )
        return RuntimeError(
            f"DataLoader worker (pid(s) {process.pid}) exited unexpectedly with exit code {code}; "
            "run with num_workers=0 to see where"
        )


def _close_pool(
    processes: list[Any],
    connections: list[Connection],
    selector: selectors.BaseSelector,
    owner: int,
) -> None:
    if os.getpid() != owner:
        return  # a forked copy of the pool
    selector.close()
    for connection in connections:
        # Workers of other loaders, forked later, have copies of this socket: closing ours alone
        # would not reach the other end.
        with socket.socket(fileno=os.dup(connection.fileno())) as ours:
            with contextlib.suppress(OSError):  # a dead worker's socket
                ours.shutdown(socket.SHUT_RDWR)
        connection.close()
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.terminate()
            process.join(1.0)
        if process.is_alive():
            process.kill()
            process.join()


class ParallelIterator:
    """The batches of a loader with workers, in the order of the sampler.

    Args:
        pool: the workers.
        index_sampler: what `len` of this iterator counts.
        num_workers: how many workers the pool has.
        prefetch: tasks that each has ahead.
        keep: whether the pool outlives a pass.
    """

    def __init__(
        self, pool: WorkerPool, index_sampler: Any, num_workers: int, prefetch: int, keep: bool
    ) -> None:
        self._pool = pool
        self._index_sampler = index_sampler
        self._num_workers = num_workers
        self._tasks_ahead = prefetch * num_workers
        self._keeps_workers = keep
        self._pass = 0

    @property
    def closed(self) -> bool:
        """Whether this iterator can make no further pass."""
        return self._pool.closed

    def start_pass(self, indices: Iterator[Any]) -> None:
        """Begins a pass; answers to tasks of an earlier one will be thrown away."""
        self._pass += 1
        self._indices = indices
        self._sent = 0
        self._workers = list(range(self._num_workers))  # those with data left, next one first
        self._assigned: dict[int, int] = {}  # task -> worker, oldest task first
        self._arrived: dict[int, tuple[str, bytes, list[Any]]] = {}
        for _ in range(self._tasks_ahead):
            self._assign()

    def _assign(self) -> None:
        if not self._workers:
            return
        try:
            chosen = next(self._indices)
        except StopIteration:
            return
        worker = self._workers.pop(0)
        self._workers.append(worker)
        self._assigned[self._sent] = worker
        self._pool.send(worker, (self._sent, self._pass, chosen))
        self._sent += 1

    def _take(self, task: int) -> tuple[str, bytes, list[Any]]:
        """Waits for the answer to `task`."""
        while task not in self._arrived:
            (worker, number, its_pass, kind), body, contents = self._pool.receive()
            if its_pass != self._pass:
                continue
            if kind == END and worker in self._workers:
                self._workers.remove(worker)
            self._arrived[number] = kind, body, contents
        del self._assigned[task]
        self._assign()
        return self._arrived.pop(task)

    def __next__(self) -> Any:
        while self._assigned and not self._pool.closed:
            kind, body, contents = self._take(next(iter(self._assigned)))
            if kind == END:
                continue
            batch = unpickle_batch(body, contents)
            if kind == ERROR:
                batch.throw()
            return batch
        if not self._keeps_workers:
            self._pool.close()
        raise StopIteration

    def __iter__(self) -> ParallelIterator:
        return self

    def __len__(self) -> int:
        return len(self._index_sampler)

"""The worker process of a loader: reads tasks, makes batches, sends them back.

The socket to the loader is the only tie between the two. When the loader closes it, or dies, the
worker ends.
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import flambeau
from flambeau.utils.data._fetch import batch_reader
from flambeau.utils.data._transport import BatchSender
from flambeau.utils.data._worker_info import WorkerInfo, become_worker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_ORPHAN_CHECK_SECONDS = 2.0

# What a worker answers to a task.
BATCH, END, ERROR = "batch", "end", "error"


class WorkerPlan(NamedTuple):
    """Everything a worker needs, sent to it once."""

    dataset: Any
    joins: bool
    collate_fn: Callable[[Any], Any]
    drop_last: bool
    worker_init_fn: Callable[[int], None] | None
    base_seed: int
    num_workers: int


class WorkerError:
    """An exception of a worker, in a form that can be sent and raised again."""

    def __init__(self, error: BaseException, worker: int) -> None:
        self.kind: type[BaseException] = type(error)
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.text = (
            f"Caught {self.kind.__name__} in DataLoader worker process {worker}.\nOriginal {trace}"
        )
        try:
            pickle.loads(pickle.dumps(self.kind))
        except Exception:
            self.kind = RuntimeError  # a class that only the worker knows

    def throw(self) -> None:
        """Raises the exception with the worker's traceback in its text."""
        text = _ReadableKey(self.text) if self.kind is KeyError else self.text
        try:
            error = self.kind(text)
        except Exception:
            # Its constructor wants something else than one text.
            raise RuntimeError(self.text) from None
        raise error


class _ReadableKey(str):
    """KeyError shows the repr of its key; this one's repr keeps the lines of a traceback."""

    def __repr__(self) -> str:
        return str(self)


def worker_main(
    plan: WorkerPlan, worker: int, connection: Connection, inherited: Sequence[Connection]
) -> None:
    """Runs a worker process until the loader goes away.

    Args:
        plan: what to do.
        worker: the number of this worker.
        connection: socket to the loader.
        inherited: the loader's own ends of its sockets, which a fork copied here.
    """
    # Ctrl-C reaches the whole process group; the loader alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in inherited:
        other.close()
    tasks: SimpleQueue[tuple[int, int, Any] | None] = SimpleQueue()
    threading.Thread(target=_receive_tasks, args=(connection, tasks), daemon=True).start()
    try:
        _answer_tasks(plan, worker, connection, tasks)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the loader does not want any more


def _receive_tasks(connection: Connection, tasks: SimpleQueue[Any]) -> None:
    """Moves tasks from the socket to the queue, so that the loader never waits to send one."""
    parent = os.getppid()
    while True:
        try:
            while not connection.poll(_ORPHAN_CHECK_SECONDS):
                # Other forked processes may keep a dead loader's socket open.
                if os.getppid() != parent:
                    os._exit(1)
            tasks.put(pickle.loads(connection.recv_bytes()))
        except (EOFError, OSError):
            tasks.put(None)
            return


def _answer_tasks(
    plan: WorkerPlan, worker: int, connection: Connection, tasks: SimpleQueue[Any]
) -> None:
    sender = BatchSender(connection)
    failure = _prepare(plan, worker, sender)
    current_pass, read, ended = -1, None, False
    while (task := tasks.get()) is not None:
        number, this_pass, indices = task
        answer: Any = None
        kind = BATCH
        try:
            if failure is not None:
                raise failure
            if this_pass != current_pass:
                current_pass, ended = this_pass, False
                read = batch_reader(plan.dataset, plan.joins, plan.collate_fn, plan.drop_last)
            if not ended:
                answer = read(indices)  # type: ignore[misc]
        except StopIteration:
            ended = True
        except Exception as error:
            kind, answer = ERROR, WorkerError(error, worker)
        if ended:
            kind = END
        try:
            sender.send((worker, number, this_pass, kind), answer)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # the batch cannot be pickled
            answer = WorkerError(error, worker)
            sender.send((worker, number, this_pass, ERROR), answer)


def _prepare(plan: WorkerPlan, worker: int, sender: BatchSender) -> Exception | None:
    """Seeds the generators and calls worker_init_fn; returns what was raised."""
    seed = plan.base_seed + worker
    become_worker(WorkerInfo(worker, plan.num_workers, seed, plan.dataset), sender.empty)
    try:
        # The workers divide the machine among themselves.
        flambeau.set_num_threads(1)
        random.seed(seed)
        flambeau.manual_seed(seed)
        if numpy := sys.modules.get("numpy"):
            low, high = plan.base_seed & 0xFFFFFFFF, plan.base_seed >> 32
            sequence = numpy.random.SeedSequence([worker, low, high, 0])
            numpy.random.seed(sequence.generate_state(4))
        if plan.worker_init_fn is not None:
            plan.worker_init_fn(worker)
    except Exception as error:
        return error
    return None

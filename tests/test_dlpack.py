"""Sharing memory with other libraries on the CPU: DLPack, and what a loan of memory forbids."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.compiler import CompileWarning
from flambeau.utils.dlpack import DLDeviceType, from_dlpack, to_dlpack

DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
]


# --- a producer in ctypes -------------------------------------------------------------------------


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _DELETER)]


class _Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", _DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_pointer_in = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_in.restype = ctypes.c_void_p
_pointer_in.argtypes = [ctypes.py_object, ctypes.c_char_p]
_set_name = ctypes.pythonapi.PyCapsule_SetName
_set_name.argtypes = [ctypes.py_object, ctypes.c_char_p]


class Producer:
    """A capsule over an array of floats; `deleted` counts the calls of its deleter."""

    def __init__(self, versioned: bool = True, flags: int = 0, major: int = 1, **fields: Any):
        self.memory = (ctypes.c_float * 6)(0, 1, 2, 3, 4, 5)
        self.deleted = 0
        self.shape = (ctypes.c_int64 * 2)(*fields.pop("shape", (2, 3)))
        self.strides = (ctypes.c_int64 * 2)(*fields.pop("strides", (3, 1)))
        self.managed: Any = _Versioned() if versioned else _Managed()
        self.managed.deleter = self.deleter = _DELETER(self._delete)
        if versioned:
            self.managed.major, self.managed.flags = major, flags
        tensor = self.managed.tensor
        tensor.data = ctypes.addressof(self.memory)
        tensor.device_type, tensor.ndim, tensor.lanes, tensor.code, tensor.bits = 1, 2, 1, 2, 32
        tensor.shape = ctypes.cast(self.shape, ctypes.POINTER(ctypes.c_int64))
        tensor.strides = ctypes.cast(self.strides, ctypes.POINTER(ctypes.c_int64))
        for name, value in fields.items():
            setattr(tensor, name, value)
        name = b"dltensor_versioned" if versioned else b"dltensor"
        self.capsule = _new_capsule(ctypes.addressof(self.managed), name, None)

    def _delete(self, _: int) -> None:
        self.deleted += 1


@pytest.mark.parametrize("versioned", [True, False])
def test_from_a_producer(versioned: bool) -> None:
    producer = Producer(versioned)
    x = torch.from_dlpack(producer.capsule)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]] and x.dtype == torch.float32
    x[1, 0] = 7
    assert producer.memory[3] == 7
    row = x[1]
    del x
    gc.collect()
    assert producer.deleted == 0 and row.tolist() == [7, 4, 5]
    with pytest.raises(RuntimeError, match="can be consumed once"):
        torch.from_dlpack(producer.capsule)
    del row
    assert producer.deleted == 1


def test_layouts_of_a_producer() -> None:
    moved = torch.from_dlpack(Producer(byte_offset=4, shape=(2, 2), strides=(2, 1)).capsule)
    assert moved.tolist() == [[1, 2], [3, 4]]
    turned = torch.from_dlpack(Producer(shape=(3, 2), strides=(1, 3)).capsule)
    assert turned.tolist() == [[0, 3], [1, 4], [2, 5]]
    empty = Producer(shape=(0, 3), data=None)
    assert torch.from_dlpack(empty.capsule).shape == (0, 3)
    none = Producer()
    none.managed.tensor.strides = None
    assert torch.from_dlpack(none.capsule).stride() == (3, 1)
    single = Producer(ndim=0)
    assert torch.from_dlpack(single.capsule).item() == 0
    pinned = Producer(device_type=3)
    assert torch.from_dlpack(pinned.capsule).device.type == "cpu"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 33}, "have no dtype here"),
        ({"lanes": 4}, "have no dtype here"),
        ({"code": 5, "bits": 64}, "have no dtype here"),
        ({"device_type": 10}, "device type 10"),
        ({"ndim": -1}, "-1 dimensions"),
        ({"shape": (-2, 3)}, "must not be negative"),
        ({"strides": (-3, 1)}, "must not be negative"),
        ({"strides": (1 << 61, 1)}, "reaches further"),
        ({"data": None}, "address 0"),
        ({"byte_offset": 2}, "no multiple of the 4 bytes"),
        ({"major": 2}, "version 1"),
    ],
)
def test_what_cannot_be_imported(fields: dict[str, Any], message: str) -> None:
    producer = Producer(**fields)
    with pytest.raises(BufferError, match=message):
        torch.from_dlpack(producer.capsule)
    assert producer.deleted == 0  # the capsule still belongs to the producer


def test_enormous_shapes_of_a_producer() -> None:
    with pytest.raises(RuntimeError):
        torch.from_dlpack(Producer(shape=(1 << 40, 1 << 40), strides=(0, 0)).capsule)


def test_read_only_memory_warns() -> None:
    producer = Producer(flags=1)
    with pytest.warns(UserWarning, match="read-only"):
        x = torch.from_dlpack(producer.capsule)
    assert x[0, 1].item() == 1


def test_deleter_may_be_absent() -> None:
    producer = Producer()
    producer.managed.deleter = _DELETER(0)
    x = torch.from_dlpack(producer.capsule)
    del x
    assert producer.deleted == 0


# --- capsules of ours -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (1, 9)])
def test_round_trip(dtype: Any, version: tuple[int, int] | None) -> None:
    x = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    capsule = x.__dlpack__(max_version=version)
    assert ("versioned" in repr(capsule)) == (version is not None and version[0] >= 1)
    y = torch.from_dlpack(capsule)
    assert y.dtype == dtype and torch.equal(x, y) and y.data_ptr() == x.data_ptr()
    y[0, 0] = 1
    assert x[0, 0].item() == 1


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[1:, ::2],
        lambda x: x.t(),
        lambda x: x[0, 0],
        lambda x: x[:0],
        lambda x: x[0].expand(4, 6),
        lambda x: x.reshape(1, 2, 1, 12),
    ],
)
def test_views_keep_their_layout(view: Any) -> None:
    x = view(torch.arange(24.0).reshape(4, 6))
    y = from_dlpack(to_dlpack(x))
    assert torch.equal(x, y) and y.shape == x.shape
    wide = [d for d in range(x.dim()) if x.shape[d] > 1]
    assert [y.stride(d) for d in wide] == [x.stride(d) for d in wide]
    assert x.numel() == 0 or y.data_ptr() == x.data_ptr()


def test_devices_and_copies() -> None:
    x = torch.arange(3.0)
    assert x.__dlpack_device__() == (1, 0) and x.__dlpack_device__()[0] is DLDeviceType.kDLCPU
    assert from_dlpack(x, copy=True).data_ptr() != x.data_ptr()
    assert from_dlpack(x, copy=False, device="cpu").data_ptr() == x.data_ptr()
    numbered = torch.ones(3, device="cpu:0")  # PyTorch's CPU has no number either
    assert str(numbered.device) == "cpu"
    assert from_dlpack(numbered.__dlpack__(dl_device=(1, 0), copy=False)).tolist() == [1, 1, 1]
    copied = x.__dlpack__(max_version=(1, 0), copy=True)
    managed = _Versioned.from_address(_pointer_in(copied, b"dltensor_versioned"))
    assert managed.flags == 2 and (managed.major, managed.tensor.ndim) == (1, 1)
    assert from_dlpack(x.__dlpack__(dl_device=(1, 0), copy=False)).data_ptr() == x.data_ptr()


def test_wrong_arguments() -> None:
    x = torch.ones(2)
    with pytest.raises(BufferError, match=r"require gradient, use tensor\.detach"):
        torch.ones(2, requires_grad=True).__dlpack__()
    assert from_dlpack(to_dlpack(torch.ones(2, requires_grad=True))).requires_grad is False
    with pytest.raises(TypeError, match="stream must be"):
        x.__dlpack__(stream="a")
    with pytest.raises(AssertionError, match="should be None on cpu"):
        x.__dlpack__(stream=5)
    with pytest.raises(BufferError, match="device type 7"):
        x.__dlpack__(dl_device=(7, 0))
    for wrong in ((1 << 40, 0), (2, -1), (1, 1 << 70)):
        with pytest.raises(BufferError, match="dl_device must be"):
            x.__dlpack__(dl_device=wrong)
    with pytest.raises(TypeError, match="expected a Tensor"):
        to_dlpack([1.0])  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="a DLPack capsule is required, got int"):
        torch.from_dlpack(3)
    with pytest.raises(RuntimeError, match="got 'other'"):
        torch.from_dlpack(_new_capsule(1, b"other", None))
    with pytest.raises(AssertionError, match="already a DLPack capsule"):
        torch.from_dlpack(x.__dlpack__(), copy=True)
    with pytest.raises(AssertionError, match="unsupported device type: float"):
        torch.from_dlpack(x, device=3.5)
    capsule = x.__dlpack__()
    torch.from_dlpack(capsule)
    with pytest.raises(RuntimeError, match="can be consumed once"):
        torch.from_dlpack(capsule)


def test_memory_lives_until_the_deleter_runs() -> None:
    x = torch.arange(1000.0)
    capsule = x.__dlpack__()
    del x
    gc.collect()
    noise = [torch.full((1000,), 7.0) for _ in range(50)]
    y = torch.from_dlpack(capsule)
    del capsule
    assert y.sum().item() == 499500 and len(noise) == 50


def test_capsules_that_nobody_consumes() -> None:
    x = torch.zeros(3)
    for _ in range(100):
        x.__dlpack__()
        x.__dlpack__(max_version=(1, 0))
    x.resize_(100)  # no loan is left
    assert x.shape == (100,)


def _address_of_managed(capsule: Any) -> int:
    address: int = _pointer_in(capsule, b"dltensor")
    _set_name(capsule, b"used_dltensor")
    return address


def _call_deleter(address: int) -> None:
    deleter = ctypes.cast(_Managed.from_address(address).deleter, ctypes.c_void_p).value
    assert deleter
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(deleter)(address)  # gives up Python's lock


def test_deleter_in_other_threads() -> None:
    tensors = [torch.full((4096,), float(i)) for i in range(200)]
    addresses = [_address_of_managed(x.__dlpack__()) for x in tensors]

    def work(mine: list[int]) -> None:
        for address in mine:
            _call_deleter(address)

    threads = [threading.Thread(target=work, args=(addresses[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(x[7].item() == i for i, x in enumerate(tensors))
    for x in tensors:
        x.resize_(10000)


_AT_THE_END = """
import atexit, ctypes, sys, threading
import flambeau as torch
pointer = ctypes.pythonapi.PyCapsule_GetPointer
pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
x = torch.ones(5000)
capsule = x.__dlpack__()
address = pointer(capsule, b"dltensor")
ctypes.pythonapi.PyCapsule_SetName(ctypes.py_object(capsule), b"used_dltensor")
del x, capsule
deleter = ctypes.cast(address, ctypes.POINTER(ctypes.c_void_p))[7]
libc = ctypes.CDLL(None)
if sys.argv[1] == "exit":  # the C library calls it when Python is gone
    atexit_of_c = libc.__cxa_atexit
    atexit_of_c.argtypes = [ctypes.c_void_p] * 3
    atexit_of_c(deleter, address, None)
else:  # a thread that is none of Python's calls it
    thread = ctypes.c_ulong()
    libc.pthread_create.argtypes = [ctypes.c_void_p] * 4
    libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
    libc.pthread_create(ctypes.byref(thread), None, deleter, address)
    libc.pthread_join(thread, None)
kept = torch.from_dlpack(torch.ones(3).__dlpack__())
print("done")
"""


@pytest.mark.parametrize("when", ["exit", "thread"])
def test_deleter_without_python(when: str) -> None:
    found = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", _AT_THE_END, when],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (found.returncode, found.stdout.strip()) == (0, "done"), found.stderr


def test_works_without_numpy() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "import flambeau as torch\n"
        "x = torch.arange(6, dtype=torch.int32).reshape(2, 3).t()\n"
        "y = torch.from_dlpack(x)\n"
        "y[0, 1] = 9\n"
        "assert x[0, 1].item() == 9 and torch.to_dlpack(x)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# --- NumPy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != torch.bfloat16])
def test_numpy_both_ways(dtype: Any) -> None:
    x = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    array = np.from_dlpack(x[:, 1:])
    assert array.dtype == np.dtype(str(dtype).removeprefix("torch."))
    assert array.tolist() == x[:, 1:].tolist()
    x[1, 1] = 0
    assert array[1, 0] == 0
    y = torch.from_dlpack(array)
    assert y.data_ptr() == x[:, 1:].data_ptr() and y.dtype == dtype
    y.zero_()
    assert not array.any() and x[1, 2].item() == 0


def test_numpy_arrays_live_as_long_as_needed() -> None:
    class Array(np.ndarray):
        pass

    array = np.arange(5.0).view(Array)
    gone = weakref.ref(array)
    x = torch.from_dlpack(array)
    del array
    gc.collect()
    assert gone() is not None and x.sum().item() == 10
    del x
    gc.collect()
    assert gone() is None


def test_numpy_arrays_that_do_not_fit() -> None:
    read_only = np.ones(3)
    read_only.flags.writeable = False
    with pytest.warns(UserWarning, match="read-only"):
        torch.from_dlpack(read_only)
    with pytest.raises(BufferError, match="strides must not be negative"):
        torch.from_dlpack(np.arange(3.0)[::-1])
    with pytest.raises(BufferError, match="no dtype here"):
        torch.from_dlpack(np.ones(2, np.uint16))
    with pytest.raises(BufferError, match="no dtype here"):
        torch.from_dlpack(np.ones(2, np.complex64))


class OldProducer:
    """From before version 1: `__dlpack__` takes no more than a stream."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def __dlpack__(self, stream: Any = None) -> Any:
        return self.tensor.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def test_old_producers() -> None:
    x = torch.arange(3.0)
    assert torch.from_dlpack(OldProducer(x)).data_ptr() == x.data_ptr()
    assert torch.from_dlpack(OldProducer(x), copy=True).data_ptr() != x.data_ptr()
    assert torch.asarray(OldProducer(x)).data_ptr() == x.data_ptr()
    assert torch.asarray(x.__dlpack__()).data_ptr() == x.data_ptr()
    assert torch.asarray(OldProducer(x), copy=True).data_ptr() != x.data_ptr()


# --- memory that others know may not move ---------------------------------------------------------


@pytest.mark.parametrize(
    "share",
    [
        lambda x: x.numpy(),
        lambda x: x.__dlpack__(),
        lambda x: x.data,
        lambda x: memoryview(x.untyped_storage()),
    ],
)
def test_shared_memory_does_not_grow(share: Any) -> None:
    x = torch.ones(3)
    shared = share(x)
    with pytest.raises(RuntimeError, match="clone"):
        x.resize_(100000)
    assert x.shape == (3,) and shared is not None
    del shared
    gc.collect()
    assert x.resize_(100000).shape == (100000,)


def test_numpy_keeps_the_memory_and_not_the_tensor() -> None:
    x = torch.full((1000,), 3.0)
    array = x.numpy()
    x.data = torch.zeros(2)
    noise = [torch.full((1000,), 7.0) for _ in range(50)]
    assert array.sum() == 3000 and len(noise) == 50
    del array
    gc.collect()
    assert x.resize_(1000).shape == (1000,)


def test_compiled_functions_do_not_hand_out_memory() -> None:
    seen = []

    def function(x: Any) -> Any:
        y = x * 2
        seen.append(np.from_dlpack(y).sum())
        return y + 1

    compiled = torch.compile(function)
    with pytest.warns(CompileWarning, match="DLPack"):
        for i in range(5):
            assert compiled(torch.full((3,), float(i))).tolist() == [2 * i + 1] * 3
    assert [float(s) for s in seen] == [6.0 * i for i in range(5)]

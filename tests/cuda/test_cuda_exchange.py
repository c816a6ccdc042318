"""GPU memory shared with other libraries: DLPack, `__cuda_array_interface__`, foreign streams."""

from __future__ import annotations

import ctypes
import gc
import threading
from typing import Any, ClassVar

import numpy as np
import pytest

import flambeau as fl
from flambeau import _core, cuda
from flambeau.utils.dlpack import DLDeviceType, to_dlpack

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason="no GPU, not even an emulated one")

DTYPES = [
    *(fl.bool, fl.uint8, fl.int8, fl.int16, fl.int32, fl.int64),
    *(fl.float16, fl.bfloat16, fl.float32, fl.float64),
]
VIEWS = [
    lambda x: x,
    lambda x: x[1:, ::2],
    lambda x: x.t(),
    lambda x: x[1, 2],
    lambda x: x[:, :0],
    lambda x: x[0].expand(5, 3),
]


def many(x: fl.Tensor) -> fl.Tensor:
    """Work that takes a while, and leaves x as it is."""
    for _ in range(30):
        x.add_(1)
    for _ in range(30):
        x.sub_(1)
    return x


# --- DLPack ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [None, (1, 0)])
def test_round_trip(dtype: Any, version: Any) -> None:
    base = fl.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype).to("cuda")
    assert base.__dlpack_device__() == (2, 0)
    assert base.__dlpack_device__()[0] is DLDeviceType.kDLCUDA
    for view in VIEWS:
        x = view(base)
        y = fl.from_dlpack(x.__dlpack__(max_version=version))
        assert (y.device, y.dtype, y.shape) == (x.device, x.dtype, x.shape)
        assert y.cpu().tolist() == x.cpu().tolist()
        assert x.numel() == 0 or y.data_ptr() == x.data_ptr()
    y = fl.from_dlpack(base)
    y.zero_()
    assert not base.any().item()


def test_memory_lives_until_the_deleter_runs() -> None:
    gc.collect()
    before = cuda.memory_allocated()
    x = fl.full((1 << 16,), 3.0, device="cuda")
    capsule = x.__dlpack__()
    del x
    assert cuda.memory_allocated() > before
    y = fl.from_dlpack(capsule)
    del capsule
    noise = [fl.zeros(1 << 16, device="cuda") for _ in range(4)]
    assert y.min().item() == 3.0 and len(noise) == 4
    del y, noise
    gc.collect()
    assert cuda.memory_allocated() == before
    to_dlpack(fl.ones(1 << 16, device="cuda"))  # nobody takes it
    assert cuda.memory_allocated() == before


def test_copies_to_where_the_consumer_wants_it() -> None:
    x = fl.arange(6.0, device="cuda")
    assert fl.from_dlpack(x, device="cpu").tolist() == list(range(6))
    assert fl.from_dlpack(x.cpu(), device="cuda").device == x.device
    assert fl.from_dlpack(x, copy=True).data_ptr() != x.data_ptr()
    assert fl.from_dlpack(x, copy=False, device="cuda:0").data_ptr() == x.data_ptr()
    assert np.from_dlpack(x, device="cpu").tolist() == list(range(6))
    capsule = fl.from_dlpack(x.__dlpack__(dl_device=(1, 0)))
    assert capsule.device.type == "cpu" and capsule.tolist() == list(range(6))
    sent = fl.from_dlpack(x.cpu().__dlpack__(dl_device=(2, 0), stream=1))
    assert sent.is_cuda and sent.tolist() == list(range(6))
    with pytest.raises(ValueError, match="without copying"):
        fl.from_dlpack(x, device="cpu", copy=False)
    with pytest.raises(BufferError, match="without a copy"):
        x.__dlpack__(dl_device=(1, 0), copy=False)
    with pytest.raises(RuntimeError, match="GPU"):
        x.__dlpack__(dl_device=(2, 77))


@pytest.mark.parametrize("named", [None, 1, 2, "handle"])
def test_the_consumer_waits_for_the_producer(named: Any) -> None:
    """The tensor is written in one stream and read in another without further waiting."""
    source, reader = cuda.Stream(), cuda.Stream()
    if named is None or named == 1:
        reader = cuda.default_stream()
    elif named == 2:
        reader = cuda.ExternalStream(2)
    with cuda.stream(source):
        x = many(fl.full((1 << 12,), 2.0, device="cuda"))
        capsule = x.__dlpack__(stream=reader.cuda_stream if named == "handle" else named)
    y = fl.from_dlpack(capsule)
    with cuda.stream(reader):
        z = y * 3
    reader.synchronize()
    with cuda.stream(reader):
        assert z.min().item() == z.max().item() == 6.0
    source.synchronize()


def test_minus_one_does_not_wait() -> None:
    source, reader = cuda.Stream(), cuda.Stream()
    with cuda.stream(source):
        x = many(fl.ones(1 << 12, device="cuda"))
        x.__dlpack__(stream=-1)
    event = reader.record_event()
    event.synchronize()
    assert not source.query()  # the reader's stream was not held up by it
    source.synchronize()


def test_from_dlpack_names_its_stream() -> None:
    asked: list[Any] = []

    class Producer:
        def __init__(self) -> None:
            self.tensor = fl.ones(3, device="cuda")

        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

        def __dlpack__(self, stream: Any = None, max_version: Any = None) -> Any:
            asked.append((stream, max_version))
            return self.tensor.__dlpack__(stream=stream, max_version=max_version)

    fl.from_dlpack(Producer())
    side = cuda.Stream()
    with cuda.stream(side):
        fl.from_dlpack(Producer())
    assert asked == [(1, (1, 0)), (side.cuda_stream, (1, 0))]


@pytest.mark.parametrize("stream", [0, -2, -1000])
def test_streams_that_mean_nothing(stream: int) -> None:
    with pytest.raises(AssertionError, match="unsupported stream"):
        fl.ones(1, device="cuda").__dlpack__(stream=stream)
    with pytest.raises(TypeError, match="stream must be"):
        fl.ones(1, device="cuda").__dlpack__(stream=True)


def test_a_stream_of_ours_that_reads_keeps_the_memory() -> None:
    """The consumer's last kernel is still queued when the memory becomes free."""
    reader = cuda.Stream()
    x = fl.full((1 << 16,), 2.0, device="cuda")
    y = fl.from_dlpack(x.__dlpack__(stream=reader.cuda_stream))
    del x
    with cuda.stream(reader):
        z = y * 2
        del y
    other = fl.zeros(1 << 16, device="cuda")
    reader.synchronize()
    assert z.min().item() == 4.0 and other.max().item() == 0.0


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    """DLManagedTensor, flat."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", _DELETER),
    ]


class Foreign:
    """Eight floats of a GPU from the cache, as another library would hand them over."""

    alive: ClassVar[list[Foreign]] = []  # until their deleter is called

    def __init__(self, length: int = 8, **fields: Any) -> None:
        self.pointer = cuda.caching_allocator_alloc(32)
        self.deleted = 0
        self.alive.append(self)
        self.shape = (ctypes.c_int64 * 1)(length)
        self.managed = Managed(self.pointer, 2, 0, 1, 2, 32, 1, ctypes.addressof(self.shape))
        self.managed.deleter = self.deleter = _DELETER(self._delete)
        for name, value in fields.items():
            setattr(self.managed, name, value)

    def _delete(self, _: int) -> None:
        self.deleted += 1
        self.alive.remove(self)
        cuda.caching_allocator_delete(self.pointer)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, **_: Any) -> Any:
        new = ctypes.pythonapi.PyCapsule_New
        new.restype = ctypes.py_object
        new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.managed), b"dltensor", None)


def test_memory_of_another_library() -> None:
    foreign = Foreign()
    x = fl.from_dlpack(foreign)
    x.copy_(fl.arange(8.0))
    assert x.data_ptr() == foreign.pointer and x.device == fl.device("cuda", 0)
    y = fl.from_dlpack(Foreign(length=4, byte_offset=16)).fill_(2)
    assert (x[:4] + y).tolist() == [2.0, 3.0, 4.0, 5.0]
    side = cuda.Stream()
    x.record_stream(side)
    del x
    assert foreign.deleted == 1 and len(Foreign.alive) == 1
    del y
    assert not Foreign.alive


def test_memory_goes_back_when_our_stream_is_done_with_it() -> None:
    """The other library uses it again at once, in the default stream."""
    foreign, side = Foreign(), cuda.Stream()
    with cuda.stream(side):
        x = fl.from_dlpack(foreign).fill_(2)
        y = x
        for _ in range(20):
            y = y + x
        del x
    assert foreign.deleted == 1 and side.query()
    fl.zeros(8, device="cuda")
    cuda.current_stream().wait_stream(side)
    assert y.tolist() == [42.0] * 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": ctypes.addressof(ctypes.create_string_buffer(64))}, "no memory of a GPU"),
        ({"byte_offset": 2}, "no multiple of the 4 bytes"),
        ({"device_type": 13}, "device type 13"),
        ({"data": None}, "address 0"),
    ],
)
def test_memory_that_is_not_what_it_is_said_to_be(fields: Any, message: str) -> None:
    foreign = Foreign(**fields)
    with pytest.raises(BufferError, match=message):
        fl.from_dlpack(foreign)
    foreign.alive.remove(foreign)
    assert foreign.deleted == 0
    assert fl.ones(3, device="cuda").sum().item() == 3  # the GPU is as usable as before
    cuda.caching_allocator_delete(foreign.pointer)


def test_a_gpu_that_is_not_there() -> None:
    foreign = Foreign(device_id=9)
    with pytest.raises(RuntimeError, match="there is no GPU number 9"):
        fl.from_dlpack(foreign)
    foreign.alive.remove(foreign)
    cuda.caching_allocator_delete(foreign.pointer)


def test_pinned_memory_says_so() -> None:
    x = fl.ones(3).pin_memory()
    assert x.__dlpack_device__() == (3, 0)
    assert fl.from_dlpack(x).data_ptr() == x.data_ptr() == np.from_dlpack(x).ctypes.data
    assert fl.from_dlpack(x, device="cpu", copy=False).data_ptr() == x.data_ptr()


def test_page_locked_memory_of_another_library() -> None:
    """The driver reads it when the copy happens, which is waited for."""
    driver = ctypes.CDLL(_core.cuda_library("driver")[0])
    array = np.ones(1 << 14, np.float32)
    address = ctypes.c_void_p(array.ctypes.data)
    assert driver.cuMemHostRegister_v2(address, ctypes.c_size_t(array.nbytes), 0) == 0
    try:
        for take in (fl.from_numpy, fl.from_dlpack):
            for non_blocking in (False, True):
                array[:] = 1
                x = take(array).to("cuda", non_blocking=non_blocking)
                array[:] = 7
                assert x.max().item() == 1
    finally:
        cuda.synchronize()
        assert driver.cuMemHostUnregister(address) == 0


def test_tensors_may_end_in_threads_that_never_used_the_gpu() -> None:
    side = cuda.Stream()
    box = [fl.ones(1 << 12, device="cuda") for _ in range(8)]
    for x in box:
        x.record_stream(side)
    del x
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    assert not box and fl.ones(1 << 12, device="cuda").sum().item() == 1 << 12


def test_shared_memory_does_not_grow() -> None:
    x = fl.ones(3, device="cuda")
    y = fl.from_dlpack(x)
    with pytest.raises(RuntimeError, match="clone"):
        x.resize_(100000)
    del y
    assert x.resize_(100000).shape == (100000,)


# --- __cuda_array_interface__ ---------------------------------------------------------------------


class Array:
    """An object of another library over the memory of a tensor."""

    def __init__(self, tensor: fl.Tensor, **changes: Any) -> None:
        self.tensor = tensor
        found = {**tensor.__cuda_array_interface__, **changes}
        self.__cuda_array_interface__ = {k: v for k, v in found.items() if v != "absent"}


def test_interface_of_tensors() -> None:
    x = fl.arange(6.0, device="cuda").reshape(2, 3)
    found = x.__cuda_array_interface__
    assert found["typestr"] == "<f4" and found["shape"] == (2, 3) and found["strides"] is None
    assert found["data"] == (x.data_ptr(), False) and found["version"] == 3
    assert found["stream"] == 1
    assert x.t().__cuda_array_interface__["strides"] == (4, 12)
    assert x[:, :0].__cuda_array_interface__["data"] == (0, False)
    side = cuda.Stream()
    with cuda.stream(side):
        assert x.__cuda_array_interface__["stream"] == side.cuda_stream
    names = {d: fl.zeros(1, dtype=d, device="cuda").__cuda_array_interface__ for d in DTYPES}
    for dtype, entry in names.items():
        if dtype != fl.bfloat16:
            assert np.dtype(entry["typestr"]) == fl.zeros(1, dtype=dtype).numpy().dtype
    assert names[fl.bfloat16]["typestr"] == "<V2"
    assert not hasattr(x.cpu(), "__cuda_array_interface__")
    with pytest.raises(AttributeError, match=r"non-CUDA tensor type: torch\.FloatTensor"):
        _ = x.cpu().__cuda_array_interface__
    with pytest.raises(RuntimeError, match="requires grad"):
        _ = x.clone().requires_grad_().__cuda_array_interface__
    with pytest.raises(RuntimeError, match="clone"):
        x.resize_(1000)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != fl.bfloat16])
def test_tensors_of_arrays(dtype: Any) -> None:
    base = fl.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype).to("cuda")
    for view in VIEWS:
        x = view(base)
        shared = fl.as_tensor(Array(x))
        assert (shared.dtype, shared.shape, shared.device) == (x.dtype, x.shape, x.device)
        assert shared.cpu().tolist() == x.cpu().tolist()
        assert x.numel() == 0 or shared.data_ptr() == x.data_ptr()
        copied = fl.tensor(Array(x))
        assert copied.cpu().tolist() == x.cpu().tolist() and copied.device == x.device
        assert x.numel() == 0 or copied.data_ptr() != x.data_ptr()
    assert fl.as_tensor(Array(base), dtype=fl.float64, device="cpu").tolist() == base.tolist()
    assert fl.tensor(Array(base), dtype=fl.float32, device="cpu").device.type == "cpu"
    assert fl.asarray(Array(base)).data_ptr() == base.data_ptr()


def test_arrays_live_as_long_as_needed() -> None:
    gc.collect()
    before = cuda.memory_allocated()
    x = fl.as_tensor(Array(fl.full((1 << 14,), 3.0, device="cuda")))
    noise = fl.zeros(1 << 14, device="cuda")
    assert x.sum().item() == 3 << 14 and noise.sum().item() == 0
    del x, noise
    gc.collect()
    assert cuda.memory_allocated() == before


def test_tensors_wait_for_the_stream_of_an_array() -> None:
    source = cuda.Stream()
    with cuda.stream(source):
        x = many(fl.full((1 << 12,), 2.0, device="cuda"))
        array = Array(x)
    assert fl.as_tensor(array).min().item() == 2.0
    assert fl.as_tensor(Array(x, stream=None)).shape == x.shape
    source.synchronize()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"shape": "absent"}, TypeError, "`shape` must be a tuple"),
        ({"shape": (2.0,)}, TypeError, "`shape` must be a tuple"),
        ({"shape": (-1,)}, ValueError, "must not be negative"),
        ({"typestr": "absent"}, TypeError, "no dtype for typestr None"),
        ({"typestr": "<c8"}, TypeError, "no dtype for typestr '<c8'"),
        ({"typestr": ">f4"}, TypeError, "no dtype for typestr '>f4'"),
        ({"typestr": "<V2"}, TypeError, "no dtype for typestr '<V2'"),
        ({"data": "absent"}, TypeError, "`data` must be"),
        ({"data": (0, False)}, ValueError, "resides on host memory"),
        ({"data": (id(Array), False)}, ValueError, "resides on host memory"),
        ({"strides": (4, 4)}, TypeError, "same length as shape"),
        ({"strides": (3,)}, ValueError, "not a multiple of the element byte size"),
        ({"strides": (-4,)}, ValueError, "must not be negative"),
        ({"mask": 5}, TypeError, "masked"),
        ({"stream": 0}, ValueError, "`stream` must be"),
        ({"stream": "a"}, ValueError, "`stream` must be"),
    ],
)
def test_arrays_that_do_not_fit(changes: Any, error: type[Exception], message: str) -> None:
    x = fl.ones(4, device="cuda")
    for function in (fl.as_tensor, fl.tensor):
        with pytest.raises(error, match=message):
            function(Array(x, **changes))
    with pytest.raises(TypeError, match="read only"):
        fl.as_tensor(Array(x, data=(x.data_ptr(), True)))


# --- streams and memory for others ----------------------------------------------------------------


def test_external_streams() -> None:
    own = cuda.Stream()
    foreign = cuda.ExternalStream(own.cuda_stream, device="cuda:0")
    assert foreign == own and isinstance(foreign, cuda.Stream) and foreign.device_index == 0
    with cuda.stream(foreign):
        assert cuda.current_stream() == own
        x = many(fl.ones(1 << 10, device="cuda"))
    foreign.synchronize()
    assert foreign.query() and x.sum().item() == 1 << 10
    del foreign
    own.synchronize()  # still there
    assert cuda.ExternalStream(1).cuda_stream == cuda.ExternalStream(0).cuda_stream == 0
    for wrong in (-1, "a", None, 2.5, True):
        with pytest.raises(TypeError, match="the handle of a stream"):
            cuda.ExternalStream(wrong)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="GPU"):
        cuda.ExternalStream(1, device=55)


def test_streams_that_are_gone_do_not_matter() -> None:
    """Memory that such a stream used becomes free later."""
    x = fl.ones(1 << 12, device="cuda")
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        y = x * 2
    cuda.current_stream().wait_stream(side)
    x.record_stream(side)
    handle = side.cuda_stream
    del side
    gc.collect()
    del x
    assert y.sum().item() == 2 << 12
    assert cuda.Stream().cuda_stream == handle  # kept for the next one
    if cuda.get_device_name() == "Emulated GPU":  # a real driver may follow the handle
        foreign = fl.ones(1 << 12, device="cuda")
        foreign.record_stream(cuda.ExternalStream(0x7777770))
        del foreign
    assert fl.ones(1 << 12, device="cuda").sum().item() == 1 << 12


def test_memory_for_others() -> None:
    gc.collect()
    before = cuda.memory_allocated()
    side = cuda.Stream()
    pointers = [
        cuda.caching_allocator_alloc(1000),
        cuda.caching_allocator_alloc(1000, "cuda:0", side),
        cuda.caching_allocator_alloc(1000, 0, side.cuda_stream),
        cuda.caching_allocator_alloc(0),
    ]
    assert len(set(pointers)) == 4 and cuda.memory_allocated() == before + 3 * 1024 + 512
    assert all(_core.cuda_device_of_pointer(p) == 0 for p in pointers)
    assert cuda.current_stream() == cuda.default_stream()
    for pointer in pointers:
        cuda.caching_allocator_delete(pointer)
    assert cuda.memory_allocated() == before
    for wrong in (pointers[0], 0, fl.ones(4, device="cuda").data_ptr()):
        with pytest.raises(RuntimeError, match="invalid device pointer"):
            cuda.caching_allocator_delete(wrong)
    with pytest.raises(ValueError, match="a number of bytes"):
        cuda.caching_allocator_alloc(-1)

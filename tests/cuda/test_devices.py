"""torch.cuda: devices, streams, events, memory, graphs, pinned memory."""

import pytest

import flambeau as fl
from flambeau import cuda
from flambeau.utils.data import DataLoader, TensorDataset

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason="no GPU, not even an emulated one")


def test_devices() -> None:
    assert cuda.device_count() >= 1 and cuda.current_device() == 0
    cuda.init()
    assert cuda.is_initialized()
    with cuda.device(0), cuda.device("cuda:0"), cuda.device(fl.device("cuda", 0)), cuda.device(-1):
        assert cuda.current_device() == 0
    with cuda.device_of(fl.ones(1)), cuda.device_of(fl.ones(1, device="cuda")):
        assert cuda.current_device() == 0
    cuda.set_device(0)
    cuda.set_device(-1)


def test_devices_that_are_not_there() -> None:
    for call in (cuda.set_device, cuda.synchronize, cuda.get_device_name, cuda.mem_get_info):
        for index in (99, 1000):
            with pytest.raises(RuntimeError, match=r"GPU|ordinal"):
                call(index)
        with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
            call("cpu")
        with pytest.raises(TypeError, match="required, got float"):
            call(1.5)


def test_properties() -> None:
    found = cuda.get_device_properties()
    assert found.name == cuda.get_device_name(0)
    assert (found.major, found.minor) == cuda.get_device_capability("cuda")
    assert cuda.get_arch_list() == [f"sm_{found.major}{found.minor}"]
    assert found.total_memory > 0 and found.warp_size == 32
    assert repr(found).startswith(f"_CudaDeviceProperties(name='{found.name}', major=")
    assert cuda.is_bf16_supported() and fl.version.cuda is not None


def test_streams() -> None:
    default, side = cuda.default_stream(), cuda.Stream()
    assert cuda.current_stream() == default and default.cuda_stream == 0
    with cuda.stream(side):
        assert cuda.current_stream() == side and side != default
        x = fl.ones(1000, device="cuda") * 3
        with cuda.stream(None), cuda.stream(default):
            assert cuda.current_stream() == default
        assert cuda.current_stream() == side
    assert cuda.current_stream() == default
    default.wait_stream(side)
    x.record_stream(default)
    assert (x + 1).sum().item() == 4000
    side.synchronize()
    assert side.query() and side.device == fl.device("cuda", 0)
    assert len({side, side, default}) == 2 and "cuda_stream=0x" in repr(side)
    least, greatest = cuda.Stream.priority_range()
    assert greatest <= least and cuda.Stream(priority=greatest).priority == greatest
    with side as entered:
        assert entered is side and cuda.current_stream() == side
    cuda.set_stream(side)
    cuda.set_stream(default)
    cuda.set_stream(None)


def test_memory_of_a_side_stream_is_not_reused_too_early() -> None:
    side = cuda.Stream()
    x = fl.full((1 << 16,), 2.0, device="cuda")
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        y = x * 2
    x.record_stream(side)
    del x
    z = fl.zeros(1 << 16, device="cuda")
    cuda.synchronize()
    assert y.min().item() == 4.0 and z.max().item() == 0.0


def test_record_stream_of_host_memory() -> None:
    with pytest.raises(RuntimeError, match="a tensor on a GPU is required"):
        fl.ones(1).record_stream(cuda.current_stream())


def test_events() -> None:
    start, end = (cuda.Event(enable_timing=True) for _ in range(2))
    assert start.query() and start.device is None
    start.record()
    fl.ones(100, device="cuda").exp()
    end.record(cuda.current_stream())
    end.wait()
    end.synchronize()
    assert end.query() and start.elapsed_time(end) >= 0
    assert start.device == fl.device("cuda", 0) and "torch.cuda.Event" in repr(start)
    plain = cuda.current_stream().record_event()
    cuda.Stream().wait_event(plain)
    with pytest.raises(RuntimeError, match="enable_timing=True"):
        plain.elapsed_time(end)
    with pytest.raises(RuntimeError, match="recorded before"):
        start.elapsed_time(cuda.Event(enable_timing=True))
    with pytest.raises(NotImplementedError, match="interprocess"):
        cuda.Event(interprocess=True)


def test_memory_is_counted() -> None:
    cuda.empty_cache()
    before = cuda.memory_allocated()
    x = fl.empty(1 << 20, dtype=fl.uint8, device="cuda")
    assert cuda.memory_allocated() == before + (1 << 20)
    cuda.reset_peak_memory_stats()
    y = fl.empty(1 << 20, dtype=fl.uint8, device="cuda")
    del y
    assert cuda.max_memory_allocated() >= cuda.memory_allocated("cuda:0") + (1 << 20)
    assert cuda.memory_reserved() >= cuda.memory_allocated()
    assert cuda.max_memory_reserved(0) >= cuda.memory_reserved(0)
    stats = cuda.memory_stats()
    assert stats["allocated_bytes.all.current"] == cuda.memory_allocated()
    del x
    assert cuda.memory_allocated() == before
    free, total = cuda.mem_get_info()
    assert 0 < free <= total
    summary = cuda.memory_summary()
    assert "in tensors" in summary and "out of memory" in summary
    assert "out of memory" not in cuda.memory_summary(abbreviated=True)
    assert cuda.get_allocator_backend() == "native"


def test_out_of_memory() -> None:
    assert cuda.OutOfMemoryError is fl.OutOfMemoryError
    assert issubclass(fl.OutOfMemoryError, RuntimeError)
    _, total = cuda.mem_get_info()
    with pytest.raises(fl.OutOfMemoryError, match="CUDA out of memory: tried to allocate"):
        fl.empty(2 * total, dtype=fl.uint8, device="cuda")
    cuda.empty_cache()
    cuda.set_per_process_memory_fraction(0.0)
    try:
        with pytest.raises(fl.OutOfMemoryError):
            fl.empty(64 << 20, dtype=fl.uint8, device="cuda")
    finally:
        cuda.set_per_process_memory_fraction(1.0)
    with pytest.raises(ValueError, match="Allowed range: 0~1"):
        cuda.set_per_process_memory_fraction(2.0)
    with pytest.raises(TypeError, match="must be `float`"):
        cuda.set_per_process_memory_fraction("all")


def test_accelerator() -> None:
    accelerator = fl.accelerator
    assert accelerator.is_available() and accelerator.device_count() == cuda.device_count()
    assert accelerator.current_accelerator() == fl.device("cuda")
    accelerator.set_device_index(0)
    assert accelerator.current_device_index() == 0
    with accelerator.device_index(0), accelerator.device_index(None):
        accelerator.synchronize()
    assert accelerator.current_stream() == cuda.current_stream()
    assert accelerator.memory_allocated() == cuda.memory_allocated()
    assert fl.float16 in accelerator.get_device_capability()["supported_dtypes"]


# --- pinned memory --------------------------------------------------------------------------


def test_pinned_memory() -> None:
    x = fl.arange(6.0).reshape(2, 3)
    pinned = x.t().pin_memory()
    assert pinned.is_pinned() and not x.is_pinned() and fl.equal(pinned, x.t())
    assert pinned.pin_memory() is pinned
    assert pinned[1:].is_pinned() and not pinned.clone().is_pinned()
    assert not fl.empty(0).pin_memory().is_pinned()
    there = pinned.to("cuda", non_blocking=True)
    back = there.to("cpu", non_blocking=True)
    cuda.synchronize()
    assert fl.equal(back, x.t()) and fl.equal(there.cpu(), x.t())
    with pytest.raises(RuntimeError, match="cannot pin 'cuda:0'"):
        there.pin_memory()


def test_factories_make_pinned_memory() -> None:
    for x in (
        fl.empty(3, pin_memory=True),
        fl.zeros(3, pin_memory=True),
        fl.tensor([1.0, 2.0], pin_memory=True),
        fl.rand(2, 2, pin_memory=True),
        fl.empty_like(fl.ones(2), pin_memory=True),
        fl.ones(2).new_zeros(2, pin_memory=True),
    ):
        assert x.is_pinned()
    assert not fl.empty(3, pin_memory=False).is_pinned()
    leaf = fl.ones(2, pin_memory=True, requires_grad=True)
    leaf.sum().backward()
    assert leaf.is_pinned() and fl.equal(leaf.grad, fl.ones(2))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_pins_its_batches(workers: int) -> None:
    data = TensorDataset(fl.arange(6.0), fl.arange(6))
    loader = DataLoader(data, batch_size=4, pin_memory=True, num_workers=workers)
    batches = list(loader)
    assert all(part.is_pinned() for batch in batches for part in batch)
    moved = [part.cuda(non_blocking=True) for batch in batches for part in batch]
    cuda.synchronize()
    assert fl.equal(fl.cat([moved[0], moved[2]]).cpu(), fl.arange(6.0))


# --- graphs ---------------------------------------------------------------------------------


def test_a_graph_runs_again_on_new_values() -> None:
    x = fl.ones(8, device="cuda")
    (x * 2 + 1).sum()  # compiles
    cuda.synchronize()
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        assert cuda.is_current_stream_capturing()
        y = x * 2 + 1
    assert not cuda.is_current_stream_capturing()
    for value in (1.0, 5.0):
        x.fill_(value)
        graph.replay()
        cuda.synchronize()
        assert fl.equal(y.cpu(), fl.full((8,), 2 * value + 1))
    graph.reset()
    with pytest.raises(RuntimeError, match="not been captured yet"):
        graph.replay()


def test_a_failed_capture_leaves_the_gpu_usable() -> None:
    x = fl.ones(8, device="cuda")
    with pytest.raises(ZeroDivisionError), cuda.graph(cuda.CUDAGraph()):
        1 / 0  # noqa: B018
    assert not cuda.is_current_stream_capturing()
    assert (x + 1).sum().item() == 16
    with pytest.raises(RuntimeError, match="default stream cannot be captured"):
        cuda.CUDAGraph().capture_begin()


def test_captures_begin_and_end() -> None:
    graph, before = cuda.CUDAGraph(), cuda.current_stream()
    with pytest.raises(RuntimeError, match="nothing is being captured"):
        graph.capture_end()
    x = fl.ones(8, device="cuda")
    x.mul(2)  # compiled before the capture
    cuda.set_stream(cuda.Stream())
    graph.capture_begin()
    y = x * 2
    cuda.set_stream(before)  # nobody but the graph has the stream now
    cuda.Stream().record_event().synchronize()  # of another stream
    assert x.sum().item() == 8
    graph.capture_end()
    x.fill_(3)
    graph.replay()
    assert y.sum().item() == 48


def test_graphed_callables() -> None:
    fl.manual_seed(0)
    weight = fl.rand(4).cuda().requires_grad_()

    def function(x):
        return x * weight + 1

    sample = fl.rand(4).cuda().requires_grad_()
    graphed = cuda.make_graphed_callables(function, (sample,))
    for _ in range(2):
        x = fl.rand(4).cuda().requires_grad_()
        result, expected = graphed(x), function(x)
        assert fl.allclose(result.cpu(), expected.cpu())
        gradient = fl.autograd.grad(result.sum(), x)[0]
        assert fl.allclose(gradient.cpu(), weight.detach().cpu())


# --- autocast -------------------------------------------------------------------------------


def test_autocast_on_the_gpu() -> None:
    x = fl.rand(4, 4).cuda().requires_grad_()
    with fl.autocast("cuda"):
        product = x @ x
        assert product.dtype is fl.float16
        assert product.softmax(1).dtype is fl.float32 and product.sum().dtype is fl.float32
        assert product.exp().dtype is fl.float32 and product.relu().dtype is fl.float16
        assert (fl.ones(2, 2) @ fl.ones(2, 2)).dtype is fl.float32  # on the CPU
        probabilities = product.sigmoid()
        with pytest.raises(RuntimeError, match="binary_cross_entropy_with_logits"):
            fl.nn.functional.binary_cross_entropy(probabilities, probabilities)
    product.float().sum().backward()
    assert x.grad.dtype is fl.float32
    with fl.autocast("cuda", dtype=fl.bfloat16):
        assert (x @ x).dtype is fl.bfloat16


def test_scaled_steps_on_the_gpu() -> None:
    weight = fl.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    optimizer, scaler = fl.optim.SGD([weight], lr=0.5), cuda.amp.GradScaler(init_scale=8.0)
    for factor, expected in ((1.0, [0.5, 1.5]), (float("inf"), [0.5, 1.5]), (1.0, [0.0, 1.0])):
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert weight.tolist() == expected
    assert scaler.get_scale() == 4.0

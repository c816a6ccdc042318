"""Static graphs on a GPU: built there, saved, and loaded from the CPU to the GPU and back."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flambeau as fl
from flambeau import cuda, nn
from flambeau.compiler import CompileError, Input, StaticGraph, load

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compiler"))
from damaged_graphs import damaged, join, split, survives
from saved_graphs import CASES, Case, draws, mlp, tensors

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason="no GPU, not even an emulated one")


def on_gpu(feed: dict[str, fl.Tensor]) -> dict[str, fl.Tensor]:
    return {name: x.cuda() for name, x in feed.items()}


def check_equal(found: Any, expected: Any, exact: bool = True) -> None:
    for got, want in zip(tensors(found), tensors(expected), strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape
        if exact:
            fl.testing.assert_close(got.cpu(), want.cpu(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_from_the_cpu_to_the_gpu_and_back(make: Callable[[], Case], tmp_path: Path) -> None:
    fl.manual_seed(0)
    case = make()
    is_exact = not any(node.random for node in case.graph.graph.nodes)
    case.graph.save(tmp_path / "cpu.graph")
    moved = load(tmp_path / "cpu.graph", device="cuda")
    assert moved.device == fl.device("cuda", 0) and case.graph.device == fl.device("cpu")
    state = moved.state_dict()
    assert all(x.is_cuda for x in state.values())
    for name, tensor in case.graph.state_dict().items():
        assert state[name].cpu().tolist() == tensor.tolist()
    moved.save(tmp_path / "gpu.graph")
    back = load(tmp_path / "gpu.graph", device="cpu")
    assert str(back.graph) == str(case.graph.graph)
    for _ in range(5):  # the last ones as a CUDA graph
        expected = case.graph.run(case.feed, numbers=None)
        numbers = case.graph.numbers
        result = moved.run(on_gpu(case.feed), numbers=numbers)
        assert all(x.is_cuda for x in tensors(result))
        check_equal(result, expected, is_exact)
        check_equal(back.run(case.feed, numbers=numbers), expected, is_exact)
    check_equal(list(moved.state_dict().values()), list(case.graph.state_dict().values()), is_exact)


def net() -> nn.Module:
    fl.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.0), nn.Linear(8, 1))


def training(device: str, model: nn.Module) -> StaticGraph:
    optimizer = fl.optim.Adam(model.parameters(), lr=0.05)

    def step(x: fl.Tensor, y: fl.Tensor) -> fl.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return StaticGraph(step, [Input((16, 6)), Input((16, 1))], device=device)


def test_training_on_the_gpu_goes_on_anywhere(tmp_path: Path) -> None:
    models = {device: net().to(device) for device in ("cpu", "cuda")}
    graphs = {device: training(device, model) for device, model in models.items()}
    x, y = fl.randn(16, 6), fl.randn(16, 1)
    losses: dict[str, list[float]] = {
        device: [graph.run(x.to(device), y.to(device)).item() for _ in range(6)]
        for device, graph in graphs.items()
    }
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-4)
    assert losses["cuda"][-1] < losses["cuda"][0]
    for a, b in zip(models["cpu"].parameters(), models["cuda"].parameters(), strict=True):
        fl.testing.assert_close(b.detach().cpu(), a.detach(), rtol=1e-4, atol=1e-5)
    graphs["cuda"].save(tmp_path / "a.graph")
    for device in (None, "cuda", "cpu"):
        resumed = load(tmp_path / "a.graph", device=device)
        assert resumed.device.type == (device or "cuda")
        feed = [t.to(resumed.device) for t in (x, y)]
        assert list(resumed.state_dict()) == list(graphs["cuda"].state_dict())
        further = [resumed.run(*feed, numbers=resumed.numbers).item() for _ in range(5)]
        assert further[-1] < further[0] < losses["cuda"][-1] * 1.01


def test_building_on_the_gpu_changes_nothing() -> None:
    model = net().cuda().train()
    model[2].p = 0.5
    before = [p.detach().clone() for p in model.parameters()]
    state = cuda.get_rng_state()
    graph = StaticGraph(model, Input((4, 6), name="x"))  # where the parameters are
    assert graph.device == fl.device("cuda", 0)
    assert cuda.get_rng_state().tolist() == state.tolist()
    for p, old in zip(model.parameters(), before, strict=True):
        assert p.tolist() == old.tolist() and p.grad is None
    x = fl.randn(4, 6, device="cuda")
    first, second = graph.run(x), graph.run(x)
    assert first.tolist() != second.tolist()  # dropout draws anew


def test_random_numbers_are_the_gpu_s(tmp_path: Path) -> None:
    draws().graph.save(tmp_path / "a.graph")
    graph = load(tmp_path / "a.graph", device="cuda")
    feed = on_gpu(draws().feed)
    results = []
    for seed in (3, 3, 4):
        cuda.manual_seed(seed)
        results.append([x.cpu().tolist() for x in tensors(graph.run(feed))])
    assert results[0] == results[1] != results[2]


def test_feeds_are_where_the_graph_is() -> None:
    graph = StaticGraph(lambda x: x * 2, Input((3,), name="x"), device="cuda")
    assert graph.run([1.0, 2.0, 3.0]).tolist() == [2, 4, 6]
    assert graph.run(fl.ones(3).numpy()).device.type == "cuda"
    with pytest.raises(RuntimeError, match="input 'x' must be on cuda:0, where the graph is"):
        graph.run(fl.ones(3))
    graph = StaticGraph(lambda x: x * 2, Input((3,), name="x"))
    with pytest.raises(RuntimeError, match="input 'x' must be on cpu"):
        graph.run(fl.ones(3, device="cuda"))
    example = StaticGraph(lambda x: x * 2, fl.ones(3, device="cuda"))
    assert example.device.type == "cuda" and example.run(fl.ones(3).cuda()).sum().item() == 6
    with pytest.raises(CompileError, match="several devices"):
        StaticGraph(lambda x: x.cpu() + 1, Input((3,)), device="cuda")


def test_devices_that_are_not_there(tmp_path: Path) -> None:
    mlp().graph.save(tmp_path / "a.graph")
    with pytest.raises(RuntimeError, match="no GPU number 40"):
        load(tmp_path / "a.graph", device="cuda:40")
    with pytest.raises(RuntimeError, match="Invalid device string"):
        load(tmp_path / "a.graph", device="tpu")
    header, contents = split((tmp_path / "a.graph").read_bytes())
    for wrong in ("tpu", "cuda:", "cuda:1000", "cuda:-1", "", 3, None, ["cuda"]):
        (tmp_path / "b.graph").write_bytes(join({**header, "device": wrong}, contents))
        with pytest.raises(RuntimeError, match="there is no device"):
            load(tmp_path / "b.graph")
    (tmp_path / "b.graph").write_bytes(join({**header, "device": "cuda:40"}, contents))
    with pytest.raises(RuntimeError, match="no GPU number 40"):
        load(tmp_path / "b.graph")
    assert load(tmp_path / "b.graph", device="cpu").device.type == "cpu"
    del header["device"]  # as files were before
    (tmp_path / "b.graph").write_bytes(join(header, contents))
    assert load(tmp_path / "b.graph").device.type == "cpu"


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_damaged_files_stay_harmless(make: Callable[[], Case], tmp_path: Path) -> None:
    randoms = random.Random(11)
    fl.manual_seed(5)
    case = make()
    case.graph.save(tmp_path / "a.graph")
    raw = (tmp_path / "a.graph").read_bytes()
    feed = on_gpu(case.feed)
    loaded = 0
    for _ in range(120):
        loaded += survives(
            damaged(raw, randoms), feed, tmp_path / "b.graph", case.finite, device="cuda"
        )
    assert loaded < 120
    check = load(tmp_path / "a.graph", device="cuda")
    assert check.device.type == "cuda" and fl.ones(3, device="cuda").sum().item() == 3

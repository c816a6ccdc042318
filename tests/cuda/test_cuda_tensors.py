"""Tensors on the GPU: making, showing, indexing, copying, saving; and what goes wrong."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import flambeau as fl

DTYPES = [
    *(fl.bool, fl.uint8, fl.int8, fl.int16, fl.int32, fl.int64),
    *(fl.float16, fl.bfloat16, fl.float32, fl.float64),
]


def same(got: Any, expected: Any) -> None:
    assert got.is_cuda and got.dtype == expected.dtype and got.shape == expected.shape
    a, b = np.array(got.double().tolist()), np.array(expected.double().tolist())
    np.testing.assert_array_equal(a, b)


def on_both(make: Any, *tensors: Any) -> None:
    """make(tensors...) gives the same on both devices, exactly."""
    expected = make(*tensors)
    got = make(*(x.to("cuda") for x in tensors))
    for a, b in zip(got, expected) if isinstance(got, (tuple, list)) else [(got, expected)]:
        same(a, b)


def test_making() -> None:
    for dtype in DTYPES:
        for made in (
            fl.tensor([[1, 0], [3, 4]], dtype=dtype, device="cuda"),
            fl.zeros(2, 3, dtype=dtype, device="cuda:0"),
            fl.ones(2, 3, dtype=dtype, device=0),
            fl.full((2,), 1, dtype=dtype, device="cuda"),
            fl.arange(3, dtype=dtype, device="cuda") if dtype != fl.bool else fl.ones(1).cuda(),
            fl.eye(3, dtype=dtype, device="cuda"),
        ):
            assert made.is_cuda and made.device == fl.device("cuda", 0)
    x = fl.ones(2, 3, device="cuda", dtype=fl.float64)
    for made in (
        *(fl.empty_like(x), fl.zeros_like(x), fl.ones_like(x), fl.full_like(x, 2)),
        *(x.new_empty(2), x.new_zeros(2), x.new_ones(2), x.new_full((2,), 3), x.new(2, 3)),
        *(x.new_tensor([1, 2]), x.type_as(x), fl.as_tensor(x), fl.asarray(x, copy=True)),
    ):
        assert made.is_cuda and made.dtype == fl.float64
    assert x.new_tensor([1], device="cpu").is_cpu and fl.zeros_like(x, device="cpu").is_cpu
    assert x.type() == "torch.cuda.DoubleTensor" and x.get_device() == 0


@pytest.mark.parametrize("dtype", [fl.int64, fl.float32, fl.float64, fl.float16])
def test_ranges(dtype: Any) -> None:
    for arguments in ((7,), (2, 9), (1, -8, -3), (0.5, 3.25, 0.25)):
        same(fl.arange(*arguments, dtype=dtype, device="cuda"), fl.arange(*arguments, dtype=dtype))
    for count in (0, 1, 2, 7):
        expected = fl.linspace(-1, 2, count, dtype=dtype)
        same(fl.linspace(-1, 2, count, dtype=dtype, device="cuda"), expected)
    same(fl.logspace(0, 2, 3, base=2, device="cuda"), fl.logspace(0, 2, 3, base=2))


def test_showing() -> None:
    x = fl.arange(6.0, device="cuda").reshape(2, 3)
    assert repr(x) == "tensor([[0., 1., 2.],\n        [3., 4., 5.]], device='cuda:0')"
    assert repr(fl.tensor(3, device="cuda")) == "tensor(3, device='cuda:0')"
    for shape in ((2000,), (40, 50), (8, 9, 20), (3, 400)):
        large = fl.arange(float(np.prod(shape))).reshape(shape)
        on_gpu = repr(large.to("cuda"))
        words = [text.split() for text in (on_gpu.replace(", device='cuda:0')", ")"), repr(large))]
        assert words[0] == words[1]
    assert str(fl.nn.Parameter(x)).startswith("Parameter containing:\ntensor([[0., 1., 2.]")
    assert f"{fl.tensor(1.5, device='cuda'):.2f}" == "1.50"


def test_values_for_python() -> None:
    x = fl.tensor([[1, 2], [3, 4]], device="cuda")
    assert x.tolist() == [[1, 2], [3, 4]] and x.t()[0].tolist() == [1, 3]
    assert int(x[1, 0]) == 3 and x.max().item() == 4 and bool((x > 0).all())
    assert fl.equal(x, x.clone()) and not fl.equal(x, x + 1) and fl.allclose(x / 2, x * 0.5)
    assert [int(row.sum()) for row in x] == [3, 7] and len(x) == 2 and 4 in x
    assert fl.tensor([fl.tensor(2.0, device="cuda"), 3.0]).tolist() == [2.0, 3.0]
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        x.numpy()
    with pytest.raises(TypeError, match=r"Tensor\.cpu\(\)"):
        np.asarray(x)
    assert x.numpy(force=True).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(BufferError, match="GPU"):
        memoryview(x.untyped_storage())


def test_index_expressions() -> None:
    x, rows = fl.arange(24.0).reshape(4, 6), fl.tensor([3, 0, -1])
    mask = x % 3 == 0
    for make in (
        lambda x, rows, mask: x[rows],
        lambda x, rows, mask: x[:, rows],
        lambda x, rows, mask: x[rows, rows],
        lambda x, rows, mask: x[rows[:, None], rows],
        lambda x, rows, mask: x[mask],
        lambda x, rows, mask: x[mask[:, 0]],
        lambda x, rows, mask: x[1:3, rows, None],
        lambda x, rows, mask: x[[0, 2]],
        lambda x, rows, mask: x[int(rows[0])],
        lambda x, rows, mask: x.t()[rows, 1:3],
    ):
        on_both(make, x, rows, mask)
    gpu = x.to("cuda")
    same(gpu[rows], x[rows])  # an index may stay on the CPU
    with pytest.raises(RuntimeError, match="indices should be either on cpu or on the same device"):
        x[rows.to("cuda")]

    def assigned(key: Any, value: Any) -> None:
        found = []
        for place in ("cpu", "cuda"):
            target = x.to(place).clone()
            target[key] = value
            found.append(target)
        same(found[1], found[0])

    assigned(rows, 5.0)
    assigned((slice(None), rows), fl.tensor(2.0))
    assigned(1, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assigned(rows[:2], [[1.0], [2.0]])
    assigned(slice(1, 3), fl.ones(2, 6))
    gpu[gpu > 20] = -1.0
    same(gpu, fl.where(x > 20, -1.0, x))


def test_devices_must_agree() -> None:
    x, y = fl.ones(3, device="cuda"), fl.ones(3)
    for call in (lambda: x + y, lambda: fl.cat([x, y]), lambda: x.gather(0, fl.tensor([0]))):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            call()
    same(x * fl.tensor(2.0), 2 * y)
    same(x.copy_(fl.arange(3.0)), fl.arange(3.0))


def test_wrong_indices_are_reported_and_the_gpu_goes_on() -> None:
    """With the exception type of the CPU, which is PyTorch's."""
    functional, one = fl.nn.functional, fl.ones(2, 1)
    for call in (
        lambda x, i: x[i],
        lambda x, i: x.index_put((i,), x[:2]),
        lambda x, i: x.index_select(0, i),
        lambda x, i: functional.embedding(i, x),
        lambda x, i: x.take(i + 3),
        lambda x, i: x.put(i + 3, x[:2, 0]),
        lambda x, i: x.index_fill(0, i, 1.0),
        lambda x, i: x.index_add(0, i, x[:2]),
        lambda x, i: x.index_copy(0, i, x[:2]),
        lambda x, i: x.gather(0, i[:, None]),
        lambda x, i: x.scatter(0, i[:, None], 1.0),
        lambda x, i: x.scatter_add(0, i[:, None], one.to(x.device)),
        lambda x, i: x.scatter_reduce(0, i[:, None], one.to(x.device), "prod"),
        lambda x, i: functional.one_hot(i, 3),
        lambda x, i: functional.nll_loss(x[:2], i),
    ):
        with pytest.raises((IndexError, RuntimeError)) as expected:
            call(fl.ones(3, 2), fl.tensor([0, 7]))
        x = fl.ones(3, 2, device="cuda")
        with pytest.raises(expected.type, match=r"index \d+ is out of bounds .* size [236]") as got:
            call(x, fl.tensor([0, 7], device="cuda"))
            fl.cuda.synchronize()
        assert got.type is expected.type
        assert x.sum().item() == 6
    with pytest.raises(IndexError):  # nothing to index
        fl.ones(0, 2, device="cuda")[fl.tensor([0], device="cuda")]


def test_copies_of_objects() -> None:
    x = fl.arange(6.0, device="cuda").reshape(2, 3)
    pair = copy.deepcopy([x, x[1]])
    same(pair[0], x.cpu())
    pair[0][1, 0] = 9
    assert pair[1][0].item() == 9 and x[1, 0].item() == 3  # the copies share their memory
    model = fl.nn.Linear(2, 2).cuda()
    other = copy.deepcopy(model)
    assert other.weight.is_cuda and other.weight is not model.weight
    same(other.weight.detach(), model.weight.detach().cpu())
    for protocol in (2, 5):
        same(pickle.loads(pickle.dumps(x.t(), protocol)), x.t().cpu())
    parameter = pickle.loads(pickle.dumps(fl.nn.Parameter(x)))
    assert isinstance(parameter, fl.nn.Parameter) and parameter.is_cuda


def test_files() -> None:
    x = fl.arange(6.0, device="cuda")
    model = fl.nn.BatchNorm1d(3).cuda()
    file = io.BytesIO()
    fl.save({"x": x, "part": x[2:4], "state": model.state_dict()}, file)
    for place, type_ in ((None, "cuda"), ("cpu", "cpu"), (fl.device("cuda"), "cuda")):
        file.seek(0)
        found = fl.load(file, map_location=place)
        tensors = [found["x"], found["part"], *found["state"].values()]
        assert all(t.device.type == type_ for t in tensors)
        assert found["x"].tolist() == [0, 1, 2, 3, 4, 5] and found["part"].tolist() == [2, 3]
        found["x"][2] = 7
        assert found["part"][0].item() == 7
    for place in ({"cuda:0": "cpu"}, lambda storage, location: storage):
        file.seek(0)
        assert fl.load(file, map_location=place)["x"].is_cpu
    file.seek(0)
    with pytest.raises(RuntimeError, match=r"CUDA device 5 but torch\.cuda\.device_count\(\) is"):
        fl.load(file, map_location="cuda:5")
    fl.nn.BatchNorm1d(3).load_state_dict(model.state_dict())  # from the GPU into the CPU


def test_files_where_there_is_no_gpu(tmp_path: Path) -> None:
    fl.save(fl.ones(2, device="cuda"), tmp_path / "x.pt")
    (tmp_path / "x.pickle").write_bytes(pickle.dumps(fl.ones(2, device="cuda")))
    code = """
import pickle, sys, flambeau
assert flambeau.load("x.pt", map_location="cpu").tolist() == [1.0, 1.0]
for read in (lambda: flambeau.load("x.pt"), lambda: pickle.load(open("x.pickle", "rb"))):
    try:
        read()
    except RuntimeError as error:
        assert "Attempting to deserialize object on a CUDA device but" in str(error), error
        assert "map_location=torch.device('cpu')" in str(error)
    else:
        raise AssertionError("no error")
"""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    environment["EMULATED_CUDA_DEVICES"] = "0"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)

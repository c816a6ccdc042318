"""Files of static graphs: they come back as they were, elsewhere too, or with a clear error."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_graphs import damaged, join, split, survives
from saved_graphs import CASES, Case, mlp, tensors, training

import flambeau as fl
from flambeau import _core, nn
from flambeau.compiler import Input, StaticGraph, load
from flambeau.nn import functional as F

HERE = Path(__file__).parent


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_round_trip(make: Callable[[], Case], tmp_path: Path) -> None:
    fl.manual_seed(0)
    case = make()
    case.graph.run(case.feed)
    case.graph.save(tmp_path / "a.graph")
    loaded = load(tmp_path / "a.graph")
    assert list(loaded.inputs) == list(case.graph.inputs)
    assert str(loaded.graph) == str(case.graph.graph)
    for seed in (1, 2):
        fl.manual_seed(seed)
        expected = case.graph.run(case.feed)
        fl.manual_seed(seed)
        found = loaded.run(case.feed)
        assert type(found) is type(expected)
        for a, b in zip(tensors(found), tensors(expected), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    state = loaded.state_dict()
    assert list(state) == list(case.graph.state_dict())
    for name, tensor in case.graph.state_dict().items():
        np.testing.assert_array_equal(state[name].numpy(), tensor.numpy())
    loaded.save(tmp_path / "b.graph")  # what was loaded can be saved
    case.graph.save(tmp_path / "a.graph")
    first, second = (split((tmp_path / f"{x}.graph").read_bytes()) for x in "ab")
    assert first == second


def test_nearly_every_primitive_is_in_some_file(tmp_path: Path) -> None:
    """The others are second derivatives, and what the passes turn into programs."""
    found = set()
    for make in CASES:
        make().graph.save(tmp_path / "a.graph")
        nodes = split((tmp_path / "a.graph").read_bytes())[0]["nodes"]
        found |= {node["call"]["primitive"] for node in nodes if "call" in node}
    names = set(_core.portable_names())
    assert found <= names and len(found) > 0.85 * len(names), names - found


def test_results_keep_their_structure(tmp_path: Path) -> None:
    case = training()
    case.graph.save(tmp_path / "a.graph")
    result = load(tmp_path / "a.graph").run(case.feed)
    assert list(result) == ["loss", "scores"] and result["scores"][1] == [3, "three", None]

    def function(x: fl.Tensor) -> Any:
        return {0: (x, float("inf"), True, "nan"), "b": [x * 2]}

    graph = StaticGraph(function, Input((1,)))
    graph.save(tmp_path / "a.graph")
    result = load(tmp_path / "a.graph").run([1.0])
    assert result[0][1:] == (float("inf"), True, "nan") and result["b"][0].item() == 2
    graph = StaticGraph(lambda x: {"x": x, "set": {1}}, Input((1,)))
    with pytest.raises(RuntimeError, match="returns a set"):
        graph.save(tmp_path / "b.graph")
    assert not (tmp_path / "b.graph").exists()


def test_in_another_process(tmp_path: Path) -> None:
    """With nothing but flambeau: neither the user's module nor NumPy is imported."""
    (tmp_path / "mine.py").write_text(
        "import flambeau as torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.linear = torch.nn.Linear(3, 2)\n"
        "    def forward(self, x):\n"
        "        return self.linear(x).tanh(), {'twice': x * 2}\n"
    )
    make = (
        "import sys; sys.path.insert(0, '.'); import flambeau as torch, mine\n"
        "torch.manual_seed(0); graph = torch.compiler.StaticGraph(\n"
        "    mine.Net(), torch.compiler.Input((2, 3)))\n"
        "graph.save('net.graph'); y, more = graph.run(torch.ones(2, 3))\n"
        "print(y.tolist(), more['twice'].tolist())"
    )
    use = (
        "import flambeau as torch, sys\n"
        "graph = torch.compiler.load('net.graph'); y, more = graph.run(torch.ones(2, 3))\n"
        "print(y.tolist(), more['twice'].tolist())\n"
        "assert not {'mine', 'numpy', 'pickle'} & set(sys.modules)"
    )
    root = str(Path(fl.__file__).parent.parent)
    texts = []
    for code in (make, use):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert done.returncode == 0, done.stderr
        texts.append(done.stdout)
        (tmp_path / "mine.py").unlink(missing_ok=True)
    assert texts[0] == texts[1]


def test_numbers_of_a_loaded_step(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    optimizer = fl.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: fl.Tensor) -> fl.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    graph = StaticGraph(step, Input((3, 2)))
    x = fl.randn(3, 2)
    graph.run(x)
    graph.save(tmp_path / "a.graph")
    loaded = load(tmp_path / "a.graph")
    assert loaded.numbers == graph.numbers and loaded.number_names == graph.number_names
    with pytest.raises(TypeError, match=r"numbers=\[...\]: SGD.lr"):
        loaded.run(x)
    with pytest.raises(ValueError, match="numbers are required"):
        loaded.run(x, numbers=[1.0] * 20)
    for _ in range(3):
        assert loaded.run(x, numbers=loaded.numbers).item() == graph.run(x).item()
    assert fl.equal(loaded.state_dict()["model.weight"], model.weight)


def test_gradients_are_kept(tmp_path: Path) -> None:
    parameter = fl.tensor([1.0, 2.0], requires_grad=True)
    parameter.grad = fl.ones(2)

    def accumulate(x: fl.Tensor) -> None:
        (parameter * x).sum().backward()

    graph = StaticGraph(accumulate, Input((2,)))
    assert parameter.grad.tolist() == [1, 1]
    graph.run([1.0, 2.0])
    assert parameter.grad.tolist() == [2, 3]
    graph.save(tmp_path / "a.graph")
    loaded = load(tmp_path / "a.graph")
    loaded.run([1.0, 1.0])
    leaf = next(
        b.tensor
        for n in loaded.graph.nodes
        for v in n.reads
        if (b := v.buffer).tensor is not None and b.kind == "gradient"
    )
    assert leaf.grad.tolist() == [3, 4] and parameter.grad.tolist() == [2, 3]


def test_tied_weights(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, ids: fl.Tensor) -> fl.Tensor:
            return self.head(self.embedding(ids))

    model = Tied()
    graph = StaticGraph(model, Input((4,), fl.int64))
    graph.save(tmp_path / "a.graph")
    state = load(tmp_path / "a.graph").state_dict()
    assert fl.equal(state["embedding.weight"], model.head.weight) and len(state) == 1


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    graph = StaticGraph(lambda x: fl.multinomial(x, 2), Input((3,), example=fl.ones(3)))
    with pytest.raises(RuntimeError, match="multinomial cannot be saved"):
        graph.save(tmp_path / "a.graph")
    assert not list(tmp_path.iterdir())


# --- damage ---------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    fl.manual_seed(0)
    path = tmp_path / "net.graph"
    mlp().graph.save(path)
    return path


def test_no_graph(tmp_path: Path, saved: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    for name in ("text", "empty"):
        with pytest.raises(RuntimeError, match="is not a saved graph"):
            load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    raw = bytearray(saved.read_bytes())
    raw[8] = 9
    saved.write_bytes(raw)
    with pytest.raises(RuntimeError, match="has version 9 of the format"):
        load(saved)


def test_flipped_and_cut_files(saved: Path) -> None:
    """A checksum covers every byte; no part of a file is a file."""
    raw = saved.read_bytes()
    randoms = random.Random(0)
    feed = {"x": fl.ones(4, 6)}
    for _ in range(600):
        wrong = bytearray(raw)
        wrong[randoms.randrange(len(raw))] ^= 1 << randoms.randrange(8)
        assert not survives(bytes(wrong), feed, saved)
    for _ in range(200):
        assert not survives(raw[: randoms.randrange(len(raw))], feed, saved)
    assert not survives(raw + b"x", feed, saved)
    assert survives(raw, feed, saved)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_wrong_entries(make: Callable[[], Case], tmp_path: Path) -> None:
    """Files with a right checksum that say something wrong."""
    fl.manual_seed(0)
    case = make()
    path = tmp_path / "a.graph"
    case.graph.save(path)
    raw = path.read_bytes()
    randoms = random.Random(1)
    for _ in range(250):
        survives(damaged(raw, randoms), case.feed, path, case.finite)


def test_wrong_entries_in_another_process() -> None:
    """Where a crash would be noticed."""
    root = str(Path(fl.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(HERE / "damaged_graphs.py"), "2", "1200"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1200 files")


def change(path: Path, edit: Callable[[Any], None]) -> None:
    header, contents = split(path.read_bytes())
    edit(header)
    path.write_bytes(join(header, contents))


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda h: h["nodes"].reverse(), "it reads what was not written"),
        (lambda h: h["values"][0].__setitem__(0, 99), "a whole number is required, got 99"),
        (lambda h: h["values"][0].__setitem__(3, 1), "leaves its buffer of"),
        (lambda h: h["nodes"][0]["call"].update(primitive="system"), "there is no primitive"),
        (lambda h: h["nodes"][0]["inputs"].pop(), "inputs are required"),
        (
            lambda h: h["nodes"][0].update(outputs=h["outputs"]),
            r"addmm: output 0 has shape \[4, 16\]",
        ),
        (lambda h: h["programs"][0]["instructions"].append(["add", 0, 99]), "cannot read value 99"),
        (lambda h: h["programs"][0]["instructions"].insert(0, ["go", 0]), "no instruction go"),
        (lambda h: h["buffers"][0].update(data=[1 << 40, 64]), "lie outside"),
        (lambda h: h.pop("nodes"), "nodes is missing"),
        (lambda h: h.update(result=["list", ["tensor"] * 3]), "has 3 tensors"),
        (lambda h: h["inputs"][0].update(shape=[1 << 40, 1 << 40]), "is too large"),
    ],
)
def test_errors_say_what_is_wrong(edit: Callable[[Any], None], text: str, saved: Path) -> None:
    change(saved, edit)
    with pytest.raises(RuntimeError, match=text):
        load(saved)


def test_deep_headers(saved: Path) -> None:
    header, contents = split(saved.read_bytes())
    deep = json.dumps(header).replace('"result": "tensor"', '"result": ' + "[" * 100_000)
    import struct
    import zlib

    from flambeau.compiler._graph_file import MAGIC, START, VERSION

    raw = deep.encode()
    lengths = struct.pack("<QQ", len(raw), len(contents))
    checksum = zlib.crc32(contents, zlib.crc32(raw, zlib.crc32(lengths)))
    start = START.pack(MAGIC, VERSION, checksum, len(raw), len(contents))
    saved.write_bytes(start + raw + contents)
    with pytest.raises(RuntimeError, match="its header cannot be read"):
        load(saved)


def test_indices_are_looked_at_in_every_run(tmp_path: Path) -> None:
    table = fl.randn(4, 2)
    graph = StaticGraph(lambda ids: F.embedding(ids, table), Input((3,), fl.int64))
    graph.save(tmp_path / "a.graph")
    loaded = load(tmp_path / "a.graph")
    with pytest.raises(IndexError, match="out of bounds"):
        loaded.run([0, 1, 4])
    assert loaded.run([0, 1, 3]).shape == (3, 2)
